"""Inputs to compare two models on: random, within what both models say of their inputs."""

import itertools
import math
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph.runners import Runner, Spec
from frn_onnx.graph.tolerance import is_float

Inputs = Mapping[str, np.ndarray] | str | os.PathLike
"""Arrays by input name, or the path of an .npz file that holds them; of a model of one input also
the array that ``numpy.savez`` was given without a name."""

_UNNAMED = "arr_0"
_ANY_BATCH = "batch"

# Sizes for dimensions that a model leaves open, one row to try after the other: first of
# the batch, then of any further distinct dimension in turn. They differ, so that height is told
# from width, and begin with multiples of 16, which U-Nets and strided networks ask for. By how
# many dimensions of an input are open: planes of some thousand positions are enough, and the
# longer a sum, the more rounding is in the original itself.
_BATCH = (2, 1, 3)
_SIZES = ((64, 96, 80), (80, 64, 112), (96, 128, 64))
_SIZES_OF_VOLUMES = ((16, 32, 48), (32, 48, 16), (48, 16, 32))
_SIZES_OF_MORE = ((4, 8, 12, 16), (8, 12, 16, 4), (12, 16, 4, 8))
# What is tried where a network does not take those: larger ones, and squares, multiples of 32.
_FALLBACKS = ((128, 256, 192), (256, 128, 192), (224,), (64,), (32,), (256,), (512,), (8,), (1,))
# No sample is larger, unless the model's own sizes are: positions in one plane, elements in all.
_MOST_POSITIONS, _MOST_ELEMENTS = 2**18, 2**25
# Integers are labels and indices more often than anything else: below 2 in the first sample, then
# below 4 and 8, and where the model takes none of those only 0, or only 1.
_INTEGERS = ((0, 2), (0, 4), (0, 8))
_FEWER_INTEGERS = ((0, 4), (0, 2), (0, 1), (1, 2))


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


def read(inputs: Inputs) -> Mapping[str, np.ndarray]:
    """The arrays by name.

    Raises:
        ModelError: the file is missing or no .npz file.
    """
    if isinstance(inputs, Mapping):
        return inputs
    try:
        with np.load(inputs, allow_pickle=False) as file:
            return dict(file)
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ModelError(f"{os.fspath(inputs)}: not a readable .npz file: {error}") from error


def given(pairs: Sequence[tuple[Spec, Spec]], inputs: Inputs) -> list[np.ndarray]:
    """The arrays of a mapping or an .npz file, in the order of the models' inputs.

    Raises:
        ArgumentError: a name is missing or unknown, a shape does not fit, or a type would lose
            values; names every such input.
        ModelError: the file is missing or no .npz file.
    """
    arrays = read(inputs)
    names = [spec.name for spec, _ in pairs]
    if len(names) == 1 and set(arrays) == {_UNNAMED}:
        arrays = {names[0]: arrays[_UNNAMED]}
    if set(names) != set(arrays):
        raise ArgumentError(
            f"expected one array for each of the inputs {', '.join(names)}, received "
            f"{', '.join(arrays) or 'none'}"
        )
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    problems = [_misfit(pair, arrays[pair[0].name]) for pair in pairs]
    if any(problems):
        raise ArgumentError("the inputs do not fit: " + "; ".join(filter(None, problems)))
    return [arrays[spec.name].astype(spec.dtype, copy=False) for spec, _ in pairs]


def _misfit(pair: tuple[Spec, Spec], array: np.ndarray) -> str | None:
    """What is wrong with an array for an input."""
    spec = pair[0]
    sizes = _static(pair)
    fits = array.ndim == len(sizes) and all(
        size in (0, n) for size, n in zip(sizes, array.shape, strict=True)
    )
    if not fits:
        shape = ", ".join(str(n or "?") for n in spec.shape)
        return f"{spec.name!r} has shape ({shape}), received {array.shape}"
    if spec.dtype.kind in "iub":
        with np.errstate(invalid="ignore"):
            fits = array.dtype.kind in "iub" and np.array_equal(array.astype(spec.dtype), array)
    else:
        fits = array.dtype.kind in "iub" or is_float(array.dtype)
    return None if fits else f"{spec.name!r} is {spec.dtype}, received an array of {array.dtype}"


def candidates(
    pairs: Sequence[tuple[Spec, Spec]], sample: int, rng: np.random.Generator
) -> Iterator[list[np.ndarray]]:
    """Random inputs: first those wanted for this sample, then others to fall back on."""
    integers = [_INTEGERS[sample % len(_INTEGERS)]]
    if any(spec.dtype.kind in "iu" for spec, _ in pairs):
        integers += [bounds for bounds in _FEWER_INTEGERS if bounds != integers[0]]
    for sizes in shapes(pairs, sample):
        for bounds in integers:
            yield [random(p, s, rng, bounds) for p, s in zip(pairs, sizes, strict=True)]


def shapes(pairs: Sequence[tuple[Spec, Spec]], sample: int) -> Iterator[list[tuple[int, ...]]]:
    """Shapes for all inputs: first those wanted for this sample, then others to fall back on."""
    groups = _groups(pairs)
    order = list(dict.fromkeys(group for dims in groups for group in dims if group is not None))
    batch = _BATCH[sample % len(_BATCH)]
    most = max((len(_open(dims)) for dims in groups), default=0)
    rows = _SIZES if most < 3 else _SIZES_OF_VOLUMES if most == 3 else _SIZES_OF_MORE
    found: list[list[tuple[int, ...]]] = []
    for sizes in (rows[sample % len(rows)], *_FALLBACKS):
        cycle = itertools.cycle(sizes)
        chosen = {group: batch if group == _ANY_BATCH else next(cycle) for group in order}
        result = [
            tuple(chosen[g] if g is not None else size for g, size in zip(dims, fixed, strict=True))
            for dims, fixed in zip(groups, map(_static, pairs), strict=True)
        ]
        positions = max((math.prod(chosen[g] for g in _open(dims)) for dims in groups), default=0)
        small = positions <= _MOST_POSITIONS and sum(map(math.prod, result)) <= _MOST_ELEMENTS
        # What the model itself makes large is tried at the smallest sizes there are.
        last = sizes is _FALLBACKS[-1] and not found
        if (small or last) and result not in found:
            found.append(result)
            yield result


def _open(dims: Sequence[str | None]) -> list[str]:
    """The dimensions of an input that are open, beside the batch."""
    return [group for group in dims if group is not None and group != _ANY_BATCH]


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


def random(
    pair: tuple[Spec, Spec],
    shape: tuple[int, ...],
    rng: np.random.Generator,
    integers: tuple[int, int] = _INTEGERS[-1],
) -> np.ndarray:
    """Values that both models' types hold exactly, in the type of the first.

    Floats are normal with mean 0.2 (signs and offsets matter), integers lie between the bounds
    (the second excluded). Bytes cover their range, as pixels do, unless the bounds are those of a
    fallback.
    """
    dtype = pair[0].dtype
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype == np.uint8 and integers in _INTEGERS:
        return np.asarray(rng.integers(0, 256, shape, dtype=np.uint8))
    if dtype.kind in "iu":
        return np.asarray(rng.integers(*integers, shape)).astype(dtype)
    narrowest = min((spec.dtype for spec in pair), key=lambda dtype: dtype.itemsize)
    return np.asarray(rng.normal(0.2, 1.0, shape)).astype(narrowest).astype(dtype)


def _listed(runner: Runner) -> str:
    return ", ".join(spec.name for spec in runner.inputs) or "none"
