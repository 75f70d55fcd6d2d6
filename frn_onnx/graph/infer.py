"""What ONNX's own shape inference says of the values in a model.

ONNX knows nothing of the FRN op, and stops at it. So it is given a message in which each FRN node
is an Identity, which is what the op is to types and shapes. The message holds no large weights, so
that it fits into memory and below protobuf's limit.
"""

import onnx
import onnx_ir as ir
from onnx import GraphProto

from frn_onnx import op
from frn_onnx.errors import ModelError
from frn_onnx.graph import protos
from frn_onnx.graph.sites import scopes

Dims = tuple[int | str | None, ...]


def types(model: ir.Model, copy: ir.Model | None = None) -> dict[ir.Value, onnx.TypeProto]:
    """The types of the values in a model's graphs, as far as ONNX infers them.

    Args:
        model: the model.
        copy: of it, which states more, to infer them from.

    Raises:
        ModelError: types or shapes contradict each other.
    """
    proto = protos.light_proto(copy or model)
    for body in protos.bodies(proto):
        for node in body.node:
            if (node.domain, node.op_type) == (op.DOMAIN, op.OP_TYPE):
                node.domain, node.op_type = "", "Identity"
                del node.attribute[:], node.input[1:]
    found: dict[ir.Value, onnx.TypeProto] = {}
    for scope, body in zip(scopes(model), protos.bodies(inferred(proto)), strict=True):
        values = list(body.value_info)
        if isinstance(body, GraphProto):
            values += [*body.input, *body.output]
        known = {value.name: value.type for value in values}
        for value in (*scope.graph.inputs, *(v for node in scope.graph for v in node.outputs)):
            if value.name in known:
                found[value] = known[value.name]
    return found


def dims(type_: onnx.TypeProto) -> Dims | None:
    """The size of each axis of a tensor: a number, a symbol, or None where it is open."""
    if not type_.tensor_type.HasField("shape"):
        return None
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in type_.tensor_type.shape.dim
    )


def sizes(shape: ir.Shape) -> Dims:
    """As :func:`dims`, of a shape."""
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)


def inferred(proto: onnx.ModelProto) -> onnx.ModelProto:
    """A model with the types and shapes that ONNX infers.

    Raises:
        ModelError: those that it states contradict each other.
    """
    try:
        return protos.inferred(proto)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"types or shapes in the model contradict each other: {error}; value_info that is "
            "left from before a conversion does that"
        ) from error
