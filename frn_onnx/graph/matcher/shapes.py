"""Shapes and element types of values: what the file states, else what ONNX infers."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.errors import ModelError
from frn_onnx.graph import infer
from frn_onnx.graph.edit import FreeNames, add_initializer
from frn_onnx.graph.infer import Dims
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.unblock import channels, is_channels_last, is_reorder_output

FLOATS = frozenset(map(ir.DataType, op.DTYPES))

_UNKNOWN = infer.Typed()

# The ops whose result has a shape that depends on values of constants, beside all reductions.
_SHAPED_BY_VALUES = frozenset(
    {"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Reshape", "Resize", "Slice", "Split"}
    | {"Squeeze", "Tile", "TopK", "Unsqueeze", "Upsample"}
)


def is_wider(a: ir.DataType, b: ir.DataType) -> bool:
    """Whether one float type holds all values of another, and more."""
    return {a, b} <= FLOATS and a.bitwidth > b.bitwidth


def cast_to(node: ir.Node) -> ir.DataType | None:
    """The type that a Cast gives, whatever is stated of its output; None: no such type."""
    kind = node.attributes.get("to")
    with contextlib.suppress(TypeError, ValueError):
        return None if kind is None else ir.DataType(kind.as_int())
    return None


class Shapes:
    """Looks up shapes and types; where the file leaves some open, ONNX inference fills them in.

    Inference runs once, before anything is rewritten. The model itself stays as it is.

    Args:
        model: the model.
        needed: values whose shapes decide whether inference is run; None: it is.

    Attributes:
        is_inferred: whether it was run.
        problem: why inference failed; then what the file states has to do.
    """

    def __init__(self, model: ir.Model, needed: Iterable[ir.Value] | None = None) -> None:
        self._inferred: dict[ir.Value, infer.Typed] = {}
        self.problem: ModelError | None = None
        self.is_inferred = needed is None or not all(map(_is_stated, needed))
        if self.is_inferred:
            try:
                self._inferred = _inferred(model)
            except ModelError as error:
                self.problem = error

    def replaced(self, old: ir.Value, new: ir.Value) -> None:
        """Lets ``new``, which took the place of ``old``, have its shape and type."""
        if old in self._inferred:
            self._inferred[new] = self._inferred[old]

    def moved(self, value: ir.Value, perm: Sequence[int]) -> None:
        """Puts the axes of a value into another order."""
        if value.shape is not None:
            value.shape = ir.Shape([value.shape[axis] for axis in perm])
        dtype, dims = self._inferred.get(value, _UNKNOWN)
        if dims is not None:
            self._inferred[value] = infer.Typed(dtype, tuple(dims[axis] for axis in perm))

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        return self._inferred.get(value, _UNKNOWN).dtype if value.dtype is None else value.dtype

    def of(self, value: ir.Value) -> Dims | None:
        """The size of each axis, a number, a name or None; None if not even the rank is known."""
        inferred = self._inferred.get(value, _UNKNOWN).dims
        if value.shape is None:
            return inferred
        stated = infer.sizes(value.shape)
        if inferred is None or len(inferred) != len(stated):
            return stated
        return tuple(
            a if isinstance(a, int) or not isinstance(b, int) else b
            for a, b in zip(stated, inferred, strict=True)
        )


def _is_stated(value: ir.Value) -> bool:
    return (
        value.dtype is not None
        and value.shape is not None
        and all(isinstance(dim, int) or dim.value is not None for dim in value.shape)
    )


def _inferred(model: ir.Model) -> dict[ir.Value, infer.Typed]:
    """What ONNX infers, told what it does not find out by itself."""
    if not any(itertools.chain(_unseen_constants(model), _reordered(model))):
        return infer.types(model)
    copy, names = model.clone(), FreeNames(model)
    for node, index, array in list(_unseen_constants(copy)):
        name = names.free(f"{node.inputs[index].name}/value")
        node.replace_input_with(index, add_initializer(copy.graph, name, array))
    for y, shape in _reordered(copy):
        y.type, y.shape = ir.TensorType(ir.DataType.FLOAT), shape
    return infer.types(model, copy)


def _unseen_constants(model: ir.Model) -> Iterator[tuple[ir.Node, int, np.ndarray]]:
    """Shapes and axes that come out of constant chains: node, place of its input, value.

    ONNX looks into initializers and Constant nodes, and not behind a Cast or Concat of them:
    from the first mean over such axes on, not even the rank would be known.
    """
    constants = Constants(model)
    for node in model.graph.all_nodes():
        if node.op_type not in _SHAPED_BY_VALUES and not node.op_type.startswith("Reduce"):
            continue
        for index, value in enumerate(node.inputs):
            maker = None if value is None else value.producer()
            if maker is None or maker.op_type == "Constant":
                continue
            if (array := constants.get(value)) is not None:
                yield node, index, array


def _reordered(model: ir.Model) -> Iterator[tuple[ir.Value, ir.Shape]]:
    """The outputs of ONNX Runtime's own blocked convolutions, which ONNX does not know."""
    for node in model.graph.all_nodes():
        if is_reorder_output(node) and node.outputs:
            shape: list[int | None] = [None] * 4
            shape[3 if is_channels_last(node) else 1] = channels(node)
            yield node.outputs[0], ir.Shape(shape)
