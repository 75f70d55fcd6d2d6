"""Shapes and element types of values: what the file states, else what ONNX infers."""

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

FLOATS = frozenset(
    {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}
)


class Shapes:
    """Looks up shapes; where the file leaves some open, ONNX shape inference fills them in.

    Inference runs once, on a copy, so the model itself is left as it is and values that a
    rewrite makes later stand in for those they replace.
    """

    def __init__(self, model: ir.Model) -> None:
        self._inferred: dict[ir.Value, ir.Value] = {}
        self._stand_in: dict[ir.Value, ir.Value] = {}
        values = _values(model)
        if any(v.dtype is None or v.shape is None or not v.shape.is_static() for v in values):
            copy = model.clone()
            self._inferred = dict(zip(values, _values(copy), strict=True))
            ShapeInferencePass(check_type=False, strict_mode=False)(copy)

    def replaced(self, old: ir.Value, new: ir.Value) -> None:
        self._stand_in[new] = self._stand_in.get(old, old)

    def dtype(self, value: ir.Value) -> ir.DataType | None:
        if value.dtype is not None:
            return value.dtype
        inferred = self._inferred.get(self._stand_in.get(value, value))
        return None if inferred is None else inferred.dtype

    def of(self, value: ir.Value) -> tuple[int | str | None, ...] | None:
        """The size of each axis, a number, a name or None; None if not even the rank is known."""
        stated = value.shape
        if stated is not None and stated.is_static():
            return tuple(stated.dims)
        inferred = self._inferred.get(self._stand_in.get(value, value))
        other = None if inferred is None else inferred.shape
        if stated is None or other is None or len(stated) != len(other):
            stated = stated if stated is not None else other
            return None if stated is None else tuple(map(_dim, stated))
        return tuple(
            _dim(a) if isinstance(a, int) or not isinstance(b, int) else b
            for a, b in zip(stated, other, strict=True)
        )


def _dim(dim: int | ir.SymbolicDim) -> int | str | None:
    return dim if isinstance(dim, int) else dim.value


def _values(model: ir.Model) -> list[ir.Value]:
    values: list[ir.Value] = []
    for graph in model.graphs():
        values.extend(graph.inputs)
        values.extend(graph.initializers.values())
        for node in graph:
            values.extend(node.outputs)
    return values
