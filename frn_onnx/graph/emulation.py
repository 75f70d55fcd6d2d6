"""Models in half precision, run in float32 and rounded after every operation.

So processors compute that have the type: they add up in float32, and round what they store. ONNX
Runtime's CPU provider has few kernels for bfloat16, and puts several operations on float16 into
float32 without rounding in between, where nothing overflows that would elsewhere.
"""

import numpy as np
import onnx_ir as ir

from frn_onnx.graph import functions, sites, tensors
from frn_onnx.graph.edit import FreeNames, take_over
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.op_types import TYPE_ATTRIBUTES, WIDE, is_tensor, retyped

HALVES = (ir.DataType.BFLOAT16, ir.DataType.FLOAT16)


def halves_in(model: ir.Model) -> list[ir.DataType]:
    """Those of the two types in which a model takes, holds or makes anything."""
    found = {value.dtype for value in model.graph.inputs}
    found |= {tensor.dtype for tensor in sites.tensors(model)}
    named = [
        node.attributes[name].value  # of another domain's op it may be anything
        for node in sites.nodes(model)
        for name in TYPE_ATTRIBUTES
        if name in node.attributes
    ]
    return [dtype for dtype in HALVES if dtype in found or dtype in named]


def emulated(model: ir.Model) -> ir.Model:
    """A copy that computes the same in float32, its functions inlined.

    Inputs and outputs in half precision are in float32, which holds their values.
    """
    copy = model.clone()
    functions.inline(copy)
    for narrow in halves_in(model):
        shapes = Shapes(copy)
        values = (value for node in sites.nodes(copy) for value in node.outputs)
        rounded = [v for v in values if is_tensor(v) and shapes.dtype(v) == narrow]
        for scope in sites.scopes(copy):
            _widen(scope, narrow)
        names = FreeNames(copy)
        for value in rounded:
            _round(value, narrow, names)
    return copy


def _widen(scope: sites.Scope, narrow: ir.DataType) -> None:
    """Makes float32 of all that is stated to be of a type."""

    def wide(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        def values() -> ir.Tensor:
            return ir.Tensor(tensors.read(tensor).numpy().astype(np.float32))

        return tensors.lazy(tensor, values, WIDE) if tensor.dtype == narrow else tensor

    constants = scope.graph.initializers.values()
    for value in (*scope.values(), *constants):
        value.type = retyped(value.type, narrow, WIDE)
    for value in constants:
        if value.const_value is not None:
            value.const_value = wide(value.const_value)
    for node in scope.graph:
        sites.change_tensors(node, wide)
        for name in TYPE_ATTRIBUTES:
            if name in node.attributes and node.attributes[name].value == narrow:
                node.attributes[name] = ir.AttrInt64(name, WIDE.value)


def _round(value: ir.Value, narrow: ir.DataType, names: FreeNames) -> None:
    """Puts a value through a type, under its own name."""
    node = value.producer()
    rounded = ir.node("Cast", [value], {"to": narrow.value})
    wide = ir.node("Cast", [rounded.outputs[0]], {"to": WIDE.value})
    take_over(value, wide.outputs[0])
    rounded.replace_input_with(0, value)
    value.name = names.free(f"{wide.outputs[0].name}/unrounded")
    rounded.outputs[0].name = names.free(f"{wide.outputs[0].name}/rounded")
    for cast in (rounded, wide):
        cast.name = names.free(cast.outputs[0].name)
    node.graph.insert_after(node, [rounded, wide])
