"""Inputs to compare two models on: random, within what both models say of their inputs."""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph.runners import Runner, Spec

# Sizes for dimensions that a model leaves open, one row to try after the other: first of
# the batch, then of any further distinct dimension in turn. They differ, so that height is told
# from width, and begin with multiples of 16, which U-Nets and strided networks ask for.
_BATCH = (2, 1, 3)
_SIZES = ((64, 96, 80), (80, 64, 112), (96, 128, 64))
# What is tried where a network does not take those: larger ones, and squares, multiples of 32.
_FALLBACKS = ((128, 256, 192), (256, 128, 192), (224,), (64,), (32,), (256,), (512,), (8,), (1,))
# Integers are indices more often than anything else, and small ones are valid indices.
_INTEGERS = 8


def match_inputs(a: Runner, b: Runner) -> list[tuple[Spec, Spec]]:
    """Pairs of inputs, by name, or by position where the names are of two different kinds.

    Raises:
        ModelError: the models do not have the same inputs.
    """
    order = match_names([s.name for s in a.inputs], [s.name for s in b.inputs])
    if order is None:
        raise ModelError(
            f"the models have different inputs: {_listed(a)} in {a.label}, {_listed(b)} in "
            f"{b.label}"
        )
    pairs = [(spec, b.inputs[i]) for spec, i in zip(a.inputs, order, strict=True)]
    for left, right in pairs:
        if (left.dtype.kind in "iub") != (right.dtype.kind in "iub"):
            raise ModelError(
                f"the input {left.name!r} is {left.dtype} in {a.label} and {right.dtype} in "
                f"{b.label}"
            )
        clash = any(
            isinstance(m, int) and isinstance(n, int) and m != n
            for m, n in zip(left.shape, right.shape, strict=False)
        )
        if clash or len(left.shape) != len(right.shape):
            raise ModelError(
                f"the input {left.name!r} has shape {left.shape} in {a.label} and {right.shape} "
                f"in {b.label}"
            )
    return pairs


def match_names(a: Sequence[str], b: Sequence[str]) -> list[int] | None:
    """For each name in ``a`` its index in ``b``; None where their numbers differ.

    Exporters add ":0", or a signature's name before a slash; names that still differ are
    matched by position.
    """
    if len(a) != len(b):
        return None
    for plain in (str, lambda name: name.split(":")[0].rpartition("/")[2]):
        index = {plain(name): i for i, name in enumerate(b)}
        if len(index) == len(b) and index.keys() == {plain(name) for name in a}:
            return [index[plain(name)] for name in a]
    return list(range(len(a)))


def given(
    pairs: Sequence[tuple[Spec, Spec]], inputs: Mapping[str, np.ndarray] | str | os.PathLike
) -> list[np.ndarray]:
    """The arrays of a mapping or an .npz file, in the order of the models' inputs.

    Raises:
        ArgumentError: a name is missing or unknown, or a type would lose values.
        ModelError: the file is missing or no .npz file.
    """
    if isinstance(inputs, str | os.PathLike):
        path = os.fspath(inputs)
        try:
            with np.load(path, allow_pickle=False) as file:
                inputs = dict(file)
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{path}: not a readable .npz file: {error}") from error
    names = [spec.name for spec, _ in pairs]
    order = match_names(names, list(inputs))
    if order is None or (set(names) != set(inputs) and len(names) > 1):
        raise ArgumentError(
            f"expected one array for each of the inputs {', '.join(names)}, received "
            f"{', '.join(inputs) or 'none'}"
        )
    arrays = []
    for (spec, _), i in zip(pairs, order, strict=True):
        array = np.asarray(list(inputs.values())[i])
        if not np.can_cast(array.dtype, spec.dtype, "same_kind"):
            raise ArgumentError(
                f"the input {spec.name!r} is {spec.dtype}, received an array of {array.dtype}"
            )
        arrays.append(array.astype(spec.dtype, copy=False))
    return arrays


def shapes(pairs: Sequence[tuple[Spec, Spec]], sample: int) -> Iterator[list[tuple[int, ...]]]:
    """Shapes for all inputs: first those wanted for this sample, then others to fall back on."""
    groups = _groups(pairs)
    order = list(dict.fromkeys(group for dims in groups for group in dims if group is not None))
    batch = _BATCH[sample % len(_BATCH)]
    wanted = _SIZES[sample % len(_SIZES)]
    seen = set()
    for sizes in (wanted, *_FALLBACKS):
        cycle = itertools.cycle(sizes)
        chosen = {group: batch if group == _ANY_BATCH else next(cycle) for group in order}
        result = [
            tuple(chosen[g] if g is not None else size for g, size in zip(dims, fixed, strict=True))
            for dims, fixed in zip(groups, map(_static, pairs), strict=True)
        ]
        if tuple(result) not in seen:
            seen.add(tuple(result))
            yield result


_ANY_BATCH = "batch"


def _static(pair: tuple[Spec, Spec]) -> list[int]:
    """The size of each dimension that one of the models fixes, 0 for the others."""
    return [
        next((n for n in sizes if isinstance(n, int)), 0)
        for sizes in zip(pair[0].shape, pair[1].shape, strict=True)
    ]


def _groups(pairs: Sequence[tuple[Spec, Spec]]) -> list[list[str | None]]:
    """For each input and dimension what must have the same size: the symbol; None if static.

    A leading dimension is the batch, of all inputs; exporters name each as they like.
    """
    groups = []
    for number, (a, b) in enumerate(pairs):
        dims: list[str | None] = []
        for axis, size in enumerate(_static((a, b))):
            symbols = [n for n in (a.shape[axis], b.shape[axis]) if isinstance(n, str)]
            if size:
                dims.append(None)
            elif axis == 0:
                dims.append(_ANY_BATCH)
            else:
                dims.append(symbols[0] if symbols else f"{number}/{axis}")
        groups.append(dims)
    return groups


def random(pair: tuple[Spec, Spec], shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values that both models' types hold exactly, in the type of the first.

    Floats are normal with mean 0.2 (signs and offsets matter), integers indices below 8, bytes
    cover their range, as pixels do.
    """
    dtype = pair[0].dtype
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype == np.uint8:
        return np.asarray(rng.integers(0, 256, shape, dtype=np.uint8))
    if dtype.kind in "iu":
        return np.asarray(rng.integers(0, _INTEGERS, shape)).astype(dtype)
    narrowest = min((spec.dtype for spec in pair), key=lambda dtype: dtype.itemsize)
    return np.asarray(rng.normal(0.2, 1.0, shape)).astype(narrowest).astype(dtype)


def _listed(runner: Runner) -> str:
    return ", ".join(spec.name for spec in runner.inputs) or "none"
