"""What is exported: one traced TensorFlow function with named inputs and outputs."""

import contextlib
import functools
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from frn_onnx.errors import ExportError

_KEPT_CHARACTERS = 600
# Keras writes some of its errors for a terminal.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(frozen=True)
class Source:
    """A traced function: a flat list of tensors in, a flat list of tensors out.

    Attributes:
        name: of the model.
        function: the traced function.
        original: the same, to be run; called with whether XLA compiles it.
        owner: what holds the variables and tables that the function reads.
        specs: shape and dtype of each input.
        input_names, output_names: as the model has them, each one once.
        frn_layers: path of each FRN layer, as often as it is used; None where layers are not
            known, as in a SavedModel.
    """

    name: str
    function: Any
    original: Callable
    owner: Any
    specs: Sequence[tf.TensorSpec]
    input_names: Sequence[str]
    output_names: Sequence[str]
    frn_layers: Sequence[str] | None

    @property
    def is_keras_model(self) -> bool:
        return self.frn_layers is not None

    def run(self, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The original model's outputs for ``inputs``, both in the order of the names."""
        tensors = [tf.constant(x) for x in inputs]
        try:
            results = self.original(False)(*tensors)
        except tf.errors.UnimplementedError:
            # On the CPU only XLA has grouped convolutions, and those with the channels first.
            results = self.original(True)(*tensors)
        return [y.numpy() for y in results]

    def weight_bytes(self) -> int:
        """Size of all variables that the function reads."""
        return sum(math.prod(v.shape) * v.dtype.size for v in self.function.graph.variables)


def trace(
    call: Callable,
    args: tuple,
    kwargs: dict,
    name: str,
    owner: Any,
    output_names: Sequence[str],
    frn_layers: list[str] | None,
) -> Source:
    """Traces ``call(*args, **kwargs)`` as a function of a flat list of tensors.

    Args:
        call: takes tensors, returns tensors, both in any structure.
        args, kwargs: of the call; each TensorSpec in them stands for an input, and anything
            else is passed as it is.
        name, owner, frn_layers: of the :class:`Source`.
        output_names: of outputs that have no key in a dict; where it ends, output_0, ...

    Raises:
        ExportError: the call fails.
    """
    leaves = keras.tree.flatten((args, kwargs))
    specs = [leaf for leaf in leaves if isinstance(leaf, tf.TensorSpec)]
    outputs: list[str] = []

    def flat(*tensors):
        values = iter(tensors)
        given = [next(values) if isinstance(leaf, tf.TensorSpec) else leaf for leaf in leaves]
        packed_args, packed_kwargs = keras.tree.pack_sequence_as((args, kwargs), given)
        result = keras.tree.flatten_with_path(call(*packed_args, **packed_kwargs))
        result = [(path, y) for path, y in result if y is not None]
        outputs[:] = [_output_name(path, i, output_names) for i, (path, _) in enumerate(result)]
        return [y for _, y in result]

    signature = [tf.TensorSpec(s.shape, s.dtype) for s in specs]

    @functools.cache
    def compiled(with_xla: bool | None):
        return tf.function(flat, input_signature=signature, autograph=False, jit_compile=with_xla)

    try:
        with _without_xla():
            function = compiled(None).get_concrete_function()
    except Exception as error:
        raise ExportError(
            f"export: {name!r} cannot be traced with inputs "
            f"{[(s.name, tuple(s.shape), s.dtype.name) for s in specs]}: {brief(error)}\nIf these "
            "are not its inputs, pass signature=[tf.TensorSpec(...)], one for each argument."
        ) from error
    inputs = [spec.name or f"input_{i}" for i, spec in enumerate(specs)]
    names = _distinct([*inputs, *outputs])
    return Source(
        name,
        function,
        compiled,
        owner,
        specs,
        names[: len(inputs)],
        names[len(inputs) :],
        # Running the original traces it once more.
        None if frn_layers is None else tuple(frn_layers),
    )


@contextlib.contextmanager
def _without_xla() -> Iterator[None]:
    """Keras compiles grouped convolutions with XLA: calls that nothing can open any more."""
    original = tf.function

    @functools.wraps(original)
    def function(*args, **kwargs):
        return original(*args, **{**kwargs, "jit_compile": None})

    tf.function = function
    try:
        yield
    finally:
        tf.function = original


def _output_name(path: tuple, index: int, given: Sequence[str]) -> str:
    """The key of an output in a dict, else the name the model has for it."""
    if any(isinstance(part, str) for part in path):
        return "_".join(str(part) for part in path)
    return given[index] if index < len(given) else f"output_{index}"


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, with _1, _2, ... after those that were there before."""
    result: list[str] = []
    for name in names:
        candidates = (name, *(f"{name}_{i}" for i in range(1, len(names) + 1)))
        result.append(next(c for c in candidates if c not in result))
    return result


def brief(error: Exception) -> str:
    """The text of an error in one line, cut where it goes on for pages."""
    text = " ".join(_COLOURS.sub("", str(error)).split())
    return text if len(text) <= _KEPT_CHARACTERS else text[:_KEPT_CHARACTERS] + " ..."
