"""Types and shapes of what goes into FRN nodes, by ONNX's own shape inference.

ONNX knows nothing of the FRN op, and stops at it. So inference runs on a copy of the model in
which each FRN node is an Identity, which is what the op is to types and shapes. The copy holds
no large weights, so that it fits into one message; functions are inlined in it, since inside a
function types are known only call by call.
"""

from dataclasses import dataclass, field

import onnx
import onnx.inliner
from onnx import GraphProto, helper

from frn_onnx.errors import ModelError
from frn_onnx.graph import model_io
from frn_onnx.graph.scopes import Scope, Site, frn_sites, scopes

_TAG = "frn_onnx site "


@dataclass
class Operands:
    """What inference found out about one FRN node; empty where it found nothing.

    Attributes:
        x_types, param_types: element types of X, and of gamma, beta and tau. Several where the
            node is in a function that is called with several.
        x_shapes: the distinct shapes of X.
        channels: length of gamma and beta, 0 where unknown.
    """

    x_types: set[int] = field(default_factory=set)
    param_types: set[int] = field(default_factory=set)
    x_shapes: list[onnx.TensorShapeProto] = field(default_factory=list)
    channels: int = 0


def operands(model: onnx.ModelProto) -> list[Operands]:
    """One entry for each of ``frn_sites(model)``, in the same order."""
    found = [Operands() for _ in frn_sites(model)]
    if not found:
        return found
    symbols = _symbols(model)
    for scope in scopes(_inferred(model)):
        tagged = [node for node in scope.body.node if node.doc_string.startswith(_TAG)]
        if not tagged:
            continue
        types = _Types(scope)
        for node in tagged:
            number, position = map(int, node.doc_string.removeprefix(_TAG).split())
            tensor = types.of(node.input[0])
            if tensor is None or not tensor.elem_type:
                continue
            if position == 0:
                found[number].x_types.add(tensor.elem_type)
                shape = _without_made_up(tensor.shape, symbols)
                if tensor.HasField("shape") and shape not in found[number].x_shapes:
                    found[number].x_shapes.append(shape)
            elif position < 4:
                found[number].param_types.add(tensor.elem_type)
                if tensor.shape.dim:
                    found[number].channels = tensor.shape.dim[0].dim_value
    return found


def value_shapes(model: onnx.ModelProto, scope: Scope) -> dict[str, tuple[int | str | None, ...]]:
    """The shapes of the values in a scope of the model, as far as they can be inferred."""
    same = (s for s in scopes(_inferred(model)) if s.where == scope.where)
    found = next(same, None)
    if found is None:
        return {}
    tables = reversed([_Types.table(s.body) for s in found.outward()])
    types = {name: tensor for table in tables for name, tensor in table.items()}
    symbols = _symbols(model)
    return {
        name: sizes(_without_made_up(tensor.shape, symbols))
        for name, tensor in types.items()
        if tensor.HasField("shape")
    }


def sizes(shape: onnx.TensorShapeProto) -> tuple[int | str | None, ...]:
    """A shape in Python's types: a symbol, or None, where a size is open."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in shape.dim
    )


def _symbols(model: onnx.ModelProto) -> set[str]:
    """The symbols that the model itself uses for sizes; inference makes up more."""
    values = [
        value
        for scope in scopes(model)
        if isinstance(scope.body, GraphProto)
        for value in (*scope.body.input, *scope.body.output, *scope.body.value_info)
    ]
    return {dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim}


def _without_made_up(shape: onnx.TensorShapeProto, symbols: set[str]) -> onnx.TensorShapeProto:
    plain = onnx.TensorShapeProto()
    plain.CopyFrom(shape)
    for dim in plain.dim:
        if dim.dim_param not in symbols:
            dim.ClearField("dim_param")
    return plain


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with every FRN node as tagged Identity nodes, with inferred value_info."""
    light, _ = model_io.without_weights(model)
    sites = frn_sites(light)
    for number, site in enumerate(sites):
        _tag(site, number)
    if any(site.scope.function is not None for site in sites):
        light = onnx.inliner.inline_local_functions(light)
    try:
        return onnx.shape_inference.infer_shapes(light, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"types or shapes in the model contradict each other: {error}; value_info that is "
            "left from before a conversion does that"
        ) from error


def _tag(site: Site, number: int) -> None:
    """Puts Identity nodes in place of an FRN node: X to Y, and each parameter to nowhere."""
    node, body = site.node, site.scope.body
    for position, name in enumerate(node.input):
        if position and name:
            probe = f"{_TAG}{number} {position}"
            body.node.append(helper.make_node("Identity", [name], [probe], doc_string=probe))
    x, y = node.input[0], node.output[0]
    node.CopyFrom(helper.make_node("Identity", [x], [y], doc_string=f"{_TAG}{number} 0"))


class _Types:
    """Looks up tensor types by name, from a scope outwards."""

    def __init__(self, scope: Scope) -> None:
        self._tables = [self.table(s.body) for s in scope.outward()]

    @staticmethod
    def table(body: GraphProto | onnx.FunctionProto) -> dict[str, onnx.TypeProto.Tensor]:
        table = {}
        if isinstance(body, GraphProto):
            for tensor in body.initializer:
                table[tensor.name] = helper.make_tensor_type_proto(
                    tensor.data_type, tensor.dims
                ).tensor_type
            for value in (*body.input, *body.output):
                table[value.name] = value.type.tensor_type
        for value in body.value_info:
            table[value.name] = value.type.tensor_type
        return table

    def of(self, name: str) -> onnx.TypeProto.Tensor | None:
        return next((table[name] for table in self._tables if name in table), None)
