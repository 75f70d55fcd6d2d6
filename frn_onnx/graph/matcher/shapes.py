"""Shapes and element types of values: what the file states, else what ONNX infers."""

import contextlib
from collections.abc import Iterable

import onnx_ir as ir

from frn_onnx.errors import ModelError
from frn_onnx.graph import infer
from frn_onnx.graph.edit import FreeNames, add_initializer
from frn_onnx.graph.matcher.constants import Constants

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
)

# The ops whose result has a shape that depends on values of constants, beside all reductions.
_SHAPED_BY_VALUES = frozenset(
    {"ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Reshape", "Resize", "Slice", "Split"}
    | {"Squeeze", "Tile", "TopK", "Unsqueeze", "Upsample"}
)

Dims = tuple[int | str | None, ...]


class Shapes:
    """Looks up shapes and types; where the file leaves some open, ONNX inference fills them in.

    Inference runs once, before anything is rewritten, on a copy without weights. The model
    itself stays as it is.

    Args:
        model: the model.
        needed: values whose shapes decide whether inference is run.
    """

    def __init__(self, model: ir.Model, needed: Iterable[ir.Value]) -> None:
        self._inferred: dict[ir.Value, ir.Value] = {}
        if not all(map(_is_stated, needed)):
            copy = model.clone()
            _state_constants(copy)
            _state_reordered(copy)
            # Shapes that contradict each other leave what the file states, which may do.
            with contextlib.suppress(ModelError):
                self._inferred = infer.twins(model, copy)

    def replaced(self, old: ir.Value, new: ir.Value) -> None:
        """Lets ``new``, which took the place of ``old``, have its shape and type."""
        if old in self._inferred:
            self._inferred[new] = self._inferred[old]

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        if value.dtype is not None:
            return value.dtype
        inferred = self._inferred.get(value)
        return None if inferred is None else inferred.dtype

    def cast_to(self, node: ir.Node) -> ir.DataType | None:
        """The type that a Cast gives, whatever is stated of its output; None: no such type."""
        kind = node.attributes.get("to")
        with contextlib.suppress(TypeError, ValueError):
            return None if kind is None else ir.DataType(kind.as_int())
        return None

    def of(self, value: ir.Value) -> Dims | None:
        """The size of each axis, a number, a name or None; None if not even the rank is known."""
        if value.shape is None:
            return self._inferred_dims(value)
        stated = tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
        inferred = self._inferred_dims(value)
        if inferred is None or len(inferred) != len(stated):
            return stated
        return tuple(
            a if isinstance(a, int) or not isinstance(b, int) else b
            for a, b in zip(stated, inferred, strict=True)
        )

    def _inferred_dims(self, value: ir.Value) -> Dims | None:
        inferred = self._inferred.get(value)
        return None if inferred is None or inferred.shape is None else infer.sizes(inferred.shape)


def _is_stated(value: ir.Value) -> bool:
    return (
        value.dtype is not None
        and value.shape is not None
        and all(isinstance(dim, int) or dim.value is not None for dim in value.shape)
    )


def _state_constants(model: ir.Model) -> None:
    """Gives nodes their shapes and axes as initializers where they come out of constant chains.

    ONNX looks into initializers and Constant nodes, and not behind a Cast or Concat of them:
    from the first mean over such axes on, not even the rank would be known.
    """
    constants, names = Constants(model), FreeNames(model)
    for node in model.graph.all_nodes():
        if node.op_type not in _SHAPED_BY_VALUES and not node.op_type.startswith("Reduce"):
            continue
        for index, value in enumerate(node.inputs):
            maker = None if value is None else value.producer()
            if maker is None or maker.op_type == "Constant":
                continue
            if (array := constants.get(value)) is not None:
                name = names.free(f"{value.name}/value")
                node.replace_input_with(index, add_initializer(model.graph, name, array))


def _state_reordered(model: ir.Model) -> None:
    """States what ONNX cannot infer: the outputs of ONNX Runtime's own blocked convolutions."""
    for node in model.graph.all_nodes():
        if (node.domain, node.op_type) == ("com.microsoft.nchwc", "ReorderOutput"):
            shape: list[int | None] = [None] * 4
            shape[3 if node.attributes.get_int("channels_last", 0) else 1] = (
                node.attributes.get_int("channels")
            )
            y = node.outputs[0]
            y.type, y.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape(shape)
