"""What ONNX's own shape inference says of the values in a model.

ONNX knows nothing of the FRN ops, nor of those that ONNX Runtime's quantiser writes, and stops at
them. So it is given a message in which each is a standard op that is the same to types and shapes:
FRN is an Identity. The message holds no large weights, so that it fits into memory and below
protobuf's limit.
"""

from typing import NamedTuple

import onnx
import onnx_ir as ir
from onnx import GraphProto

from frn_onnx import op
from frn_onnx.errors import ModelError
from frn_onnx.graph import protos
from frn_onnx.graph.sites import opset, scopes

Dims = tuple[int | str | None, ...]

# The longest vector in a model in which the values of shapes are inferred, too.
_LONGEST_SHAPE = 1 << 16

# Of ONNX Runtime's own ops, the standard one, and the inputs that it has of it.
_QUANTISED = {
    "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "QLinearAdd": ("Add", (0, 3)),
    "QLinearMul": ("Mul", (0, 3)),
    "QLinearSigmoid": ("Identity", (0,)),
    "QLinearLeakyRelu": ("Identity", (0,)),
}


class Typed(NamedTuple):
    """What is known of a tensor: its element type and the size of each axis, or None."""

    dtype: ir.DataType | None = None
    dims: Dims | None = None


def types(model: ir.Model, copy: ir.Model | None = None) -> dict[ir.Value, Typed]:
    """The types of the values in a model's graphs, as far as ONNX infers them.

    Args:
        model: the model.
        copy: of it, which states more, to infer them from.

    Raises:
        ModelError: types or shapes contradict each other.
    """
    proto = _standard(copy or model)
    found: dict[ir.Value, Typed] = {}
    for scope, body in zip(scopes(model), protos.bodies(inferred(proto)), strict=True):
        values = list(body.value_info)
        if isinstance(body, GraphProto):
            values += [*body.input, *body.output]
        known = {value.name: value.type for value in values}
        for value in scope.values():
            if value.name in known:
                found[value] = _typed(known[value.name].tensor_type)
    return found


def contradiction(model: ir.Model) -> str | None:
    """Where a model cannot run, as far as types and shapes tell; :func:`types` passes over it."""
    try:
        inferred(_standard(model), strict=True)
    except ModelError as error:
        return str(error.__cause__).strip()
    return None


def _standard(model: ir.Model) -> onnx.ModelProto:
    """The message in which every op is one that ONNX knows, as far as it can be."""
    proto = protos.light_proto(model)
    if not any(entry.domain in ("", "ai.onnx") for entry in proto.opset_import):
        proto.opset_import.add(version=opset(model))
    for body in protos.bodies(proto):
        for node in body.node:
            if op.is_frn(node):
                _rename(node, "Identity", (0,))
            elif node.domain == "com.microsoft" and node.op_type in _QUANTISED:
                _rename(node, *_QUANTISED[node.op_type])
    return proto


def _rename(node: onnx.NodeProto, op_type: str, inputs: tuple[int, ...]) -> None:
    """Makes a node one of the standard domain, with some of its inputs."""
    kept = [name for place, name in enumerate(node.input) if place in inputs]
    if node.op_type != op_type:
        del node.attribute[:]
    node.domain, node.op_type = "", op_type
    node.input[:] = kept


def _typed(stated: onnx.TypeProto.Tensor) -> Typed:
    dtype = ir.DataType(stated.elem_type) if stated.elem_type else None
    if not stated.HasField("shape"):
        return Typed(dtype)
    dims = stated.shape.dim
    return Typed(
        dtype, tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or None for d in dims)
    )


def sizes(shape: ir.Shape) -> Dims:
    """The size of each axis: a number, a symbol, or None where it is open."""
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)


def inferred(proto: onnx.ModelProto, *, strict: bool = False) -> onnx.ModelProto:
    """A model with the types and shapes that ONNX infers.

    ONNX also follows the values of shapes, and takes every vector for one: of those with millions
    of elements it would make a shape of millions of axes.

    Args:
        proto: the model.
        strict: whether a node that cannot run on what it is given is an error, too.

    Raises:
        ModelError: those that it states contradict each other.
    """
    try:
        known = onnx.shape_inference.infer_shapes(proto)
        if _longest_vector(known) > _LONGEST_SHAPE:
            return known
        return onnx.shape_inference.infer_shapes(proto, strict_mode=strict, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"types or shapes in the model contradict each other: {error}; value_info that is "
            "left from before a conversion does that"
        ) from error


def _longest_vector(proto: onnx.ModelProto) -> int:
    longest = 0
    for graph in protos.graph_protos(proto):
        values = (*graph.input, *graph.output, *graph.value_info)
        shapes = [value.type.tensor_type.shape.dim for value in values]
        longest = max([longest, *(dims[0].dim_value for dims in shapes if len(dims) == 1)])
        longest = max([longest, *(t.dims[0] for t in graph.initializer if len(t.dims) == 1)])
    return longest
