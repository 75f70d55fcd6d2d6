"""Types and shapes of what goes into FRN nodes, by ONNX's own shape inference.

ONNX knows nothing of the FRN op, and stops at it. So inference runs on a copy of the model in
which each FRN node is an Identity, which is what the op is to types and shapes. The copy holds
no large weights, so that it fits into one message; functions are inlined in it, since inside a
function types are known only call by call.
"""

from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

from frn_onnx.errors import ModelError
from frn_onnx.graph import functions, protos
from frn_onnx.graph.sites import Site, frn_sites, scopes

_TAG = "frn_onnx.site"


@dataclass
class Operands:
    """What inference found out about one FRN node; empty where it found nothing.

    Attributes:
        x_types, param_types: element types of X, and of gamma, beta and tau. Several where the
            node is in a function that is called with several.
        x_shapes: the distinct shapes of X.
        channels: length of gamma and beta, 0 where unknown.
    """

    x_types: set[ir.DataType] = field(default_factory=set)
    param_types: set[ir.DataType] = field(default_factory=set)
    x_shapes: list[ir.Shape] = field(default_factory=list)
    channels: int = 0


def operands(model: ir.Model) -> list[Operands]:
    """One entry for each of ``frn_sites(model)``, in the same order."""
    found = [Operands() for _ in frn_sites(model)]
    if not found:
        return found
    copy = model.clone()
    tagged = frn_sites(copy)
    for number, site in enumerate(tagged):
        _as_identities(site, number)
    if any(site.scope.function is not None for site in tagged):
        functions.inline(copy)
    symbols = _symbols(model)
    for scope in scopes(_inferred(copy)):
        for node in scope.graph:
            tag = node.metadata_props.get(_TAG)
            if tag is not None and (x := node.inputs[0]) is not None and x.dtype is not None:
                number, position = map(int, tag.split())
                _note(found[number], position, x, symbols)
    return found


def twins(model: ir.Model, copy: ir.Model | None = None) -> dict[ir.Value, ir.Value]:
    """For each value in the model's graphs, one that has the type and shape that ONNX infers.

    Args:
        model: the model.
        copy: of it, with as many nodes; is changed. None makes one.

    Raises:
        ModelError: types or shapes contradict each other.
    """
    copy = copy or model.clone()
    for site in frn_sites(copy):
        _as_identity(site.node)
    found: dict[ir.Value, ir.Value] = {}
    for scope, known in zip(scopes(model), scopes(_inferred(copy)), strict=True):
        found.update(zip(scope.graph.inputs, known.graph.inputs, strict=True))
        for name, value in scope.graph.initializers.items():
            found[value] = known.graph.initializers[name]
        for node, twin in zip(scope.graph, known.graph, strict=True):
            found.update(zip(node.outputs, twin.outputs, strict=True))
    return found


def sizes(shape: ir.Shape) -> tuple[int | str | None, ...]:
    """A shape in Python's types: a symbol, or None, where a size is open."""
    return tuple(dim if isinstance(dim, int) else dim.value for dim in shape)


def _note(found: Operands, position: int, value: ir.Value, symbols: set[str]) -> None:
    if position == 0:
        found.x_types.add(value.dtype)
        if value.shape is not None:
            shape = _without_made_up(value.shape, symbols)
            if shape not in found.x_shapes:
                found.x_shapes.append(shape)
    elif position < 4:
        found.param_types.add(value.dtype)
        if value.shape and isinstance(value.shape[0], int):
            found.channels = value.shape[0]


def _symbols(model: ir.Model) -> set[str]:
    """The symbols that the model itself uses for sizes; inference makes up more."""
    values = [
        value
        for scope in scopes(model)
        for values in (scope.graph.inputs, *(node.outputs for node in scope.graph))
        for value in values
    ]
    shapes = [value.shape for value in values if value.shape is not None]
    return {dim.value for shape in shapes for dim in shape if not isinstance(dim, int)}


def _without_made_up(shape: ir.Shape, symbols: set[str]) -> ir.Shape:
    return ir.Shape(
        [dim if isinstance(dim, int) or dim.value in symbols else None for dim in shape]
    )


def _inferred(copy: ir.Model) -> ir.Model:
    """The model as ONNX's inference leaves it, with the same nodes."""
    return ir.from_proto(inferred(protos.light_proto(copy)))


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


def _as_identities(site: Site, number: int) -> None:
    """Makes an FRN node Identity nodes: X to Y, and each parameter to nowhere."""
    node = site.node
    for position, value in enumerate(node.inputs):
        if position and value is not None:
            name = f"{_TAG} {number} {position}"
            probe = ir.node("Identity", [value], name=name)
            probe.outputs[0].name = name
            probe.metadata_props[_TAG] = f"{number} {position}"
            site.scope.graph.insert_before(node, probe)
    node.metadata_props[_TAG] = f"{number} 0"
    _as_identity(node)


def _as_identity(node: ir.Node) -> None:
    node.op_type, node.domain = "Identity", ""
    node.attributes.clear()
    node.resize_inputs(1)
