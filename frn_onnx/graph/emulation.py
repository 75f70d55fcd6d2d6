"""Models in bfloat16: checked, and run where there are no kernels.

ONNX Runtime has few on the CPU. There a model runs in float32, rounded after every operation, as
processors do it: they add up in float32, and round what they store.
"""

import numpy as np
import onnx
import onnx_ir as ir

from frn_onnx.errors import ModelError
from frn_onnx.graph import functions, protos, sites, tensors
from frn_onnx.graph.edit import FreeNames, take_over
from frn_onnx.graph.matcher.shapes import Shapes

NARROW, WIDE = ir.DataType.BFLOAT16, ir.DataType.FLOAT
# The attributes that name a type.
TYPE_ATTRIBUTES = ("to", "dtype")


def is_in(model: ir.Model) -> bool:
    """Whether a model takes, holds or makes anything in bfloat16."""
    return (
        any(value.dtype == NARROW for value in model.graph.inputs)
        or any(tensor.dtype == NARROW for tensor in sites.tensors(model))
        or any(
            node.attributes[name].value == NARROW
            for node in sites.nodes(model)
            for name in TYPE_ATTRIBUTES
            if name in node.attributes
        )
    )


def check(model: ir.Model) -> None:
    """Which ops take bfloat16 depends on the opset.

    Raises:
        ModelError: one of the model's does not.
    """
    try:
        light = protos.light_proto(model)
        onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"an op of the model does not take bfloat16 at opset {sites.opset(model)}: {error}; "
            "many take it from opset 22 on: convert the model with onnx.version_converter first"
        ) from error


def emulated(model: ir.Model) -> ir.Model:
    """A copy that computes the same in float32, its functions inlined.

    Inputs and outputs in bfloat16 are in float32, which holds their values.
    """
    copy = model.clone()
    functions.inline(copy)
    shapes = Shapes(copy)
    values = (value for node in sites.nodes(copy) for value in node.outputs)
    rounded = [value for value in values if shapes.dtype(value) == NARROW]
    for scope in sites.scopes(copy):
        _widen(scope)
    names = FreeNames(copy)
    for value in rounded:
        _round(value, names)
    return copy


def retyped(
    type_: ir.TypeProtocol | None, old: ir.DataType, new: ir.DataType
) -> ir.TypeProtocol | None:
    """The type of a tensor, a sequence, or an optional one, with another type of elements."""
    if isinstance(type_, ir.TensorType) and type_.dtype == old:
        return ir.TensorType(new, denotation=type_.denotation)
    if isinstance(type_, ir.SequenceType | ir.OptionalType):
        return type(type_)(retyped(type_.elem_type, old, new), denotation=type_.denotation)
    return type_


def _widen(scope: sites.Scope) -> None:
    """Makes float32 of all that is stated to be bfloat16."""
    constants = scope.graph.initializers.values()
    for value in (*scope.values(), *constants):
        value.type = retyped(value.type, NARROW, WIDE)
    for value in constants:
        if value.const_value is not None:
            value.const_value = _wide(value.const_value)
    for node in scope.graph:
        sites.change_tensors(node, _wide)
        for name in TYPE_ATTRIBUTES:
            if name in node.attributes and node.attributes[name].value == NARROW:
                node.attributes[name] = ir.AttrInt64(name, WIDE.value)


def _wide(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """A tensor that is no bfloat16."""

    def values() -> ir.Tensor:
        return ir.Tensor(tensors.read(tensor).numpy().astype(np.float32))

    return tensors.lazy(tensor, values, WIDE) if tensor.dtype == NARROW else tensor


def _round(value: ir.Value, names: FreeNames) -> None:
    """Puts a value through bfloat16, under its own name."""
    node = value.producer()
    narrow = ir.node("Cast", [value], {"to": NARROW.value})
    wide = ir.node("Cast", [narrow.outputs[0]], {"to": WIDE.value})
    take_over(value, wide.outputs[0])
    narrow.replace_input_with(0, value)
    value.name = names.free(f"{wide.outputs[0].name}/unrounded")
    narrow.outputs[0].name = names.free(f"{wide.outputs[0].name}/rounded")
    for cast in (narrow, wide):
        cast.name = names.free(cast.outputs[0].name)
    node.graph.insert_after(node, [narrow, wide])
