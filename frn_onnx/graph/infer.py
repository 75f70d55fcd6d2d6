"""What ONNX's own shape inference says of the values in a model.

ONNX knows nothing of the FRN ops, and stops at it. So it is given a message in which each FRN node
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

# The longest vector in a model in which the values of shapes are inferred, too.
_LONGEST_SHAPE = 1 << 16


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
            if op.is_frn(node):
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

    ONNX also follows the values of shapes, and takes every vector for one: of those with millions
    of elements it would make a shape of millions of axes.

    Raises:
        ModelError: those that it states contradict each other.
    """
    longest = 0
    for graph in protos.graph_protos(proto):
        values = (*graph.input, *graph.output, *graph.value_info)
        shapes = [value.type.tensor_type.shape.dim for value in values]
        longest = max([longest, *(dims[0].dim_value for dims in shapes if len(dims) == 1)])
        longest = max([longest, *(t.dims[0] for t in graph.initializer if len(t.dims) == 1)])
    try:
        return onnx.shape_inference.infer_shapes(proto, data_prop=longest <= _LONGEST_SHAPE)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"types or shapes in the model contradict each other: {error}; value_info that is "
            "left from before a conversion does that"
        ) from error
