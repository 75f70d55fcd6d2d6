"""Where FRN nodes are: in the main graph, its subgraphs, and model-local functions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.errors import ModelError


@dataclass(frozen=True, eq=False)
class Scope:
    """A list of nodes.

    Attributes:
        graph: the graph, subgraph, or body of a function.
        function: the function that the nodes are in, or None.
        where: "" for the main graph, else a path for messages: "If_3/then_branch".
    """

    graph: ir.Graph
    function: ir.Function | None
    where: str

    def values(self) -> Iterator[ir.Value]:
        """What the graph is given, and what its nodes make."""
        yield from self.graph.inputs
        for node in self.graph:
            yield from node.outputs

    def within(self, name: str) -> str:
        """What a message calls something of that name in here."""
        return f"{self.where}/{name}" if self.where else name


@dataclass(frozen=True, eq=False)
class Site:
    """An FRN node and where it is."""

    node: ir.Node
    scope: Scope

    @property
    def label(self) -> str:
        """What a message calls the node."""
        return self.scope.within(name_of(self.node))

    def attributes(self) -> tuple[tuple[int, ...], float]:
        """Axes (normalised) and epsilon of the node.

        Raises:
            ModelError: axes are missing, or an attribute is unknown or that of the function around.
            ShapeError: the axes leave no single channel axis.
        """
        given = self.node.attributes
        for attribute in given.values():
            if attribute.name not in op.ATTRIBUTES:
                # ONNX Runtime does not show a kernel attributes that it does not ask for.
                raise ModelError(
                    f"FRN node {self.label!r} has an attribute {attribute.name!r}, which the op "
                    f"lacks; expected {' and '.join(op.ATTRIBUTES)}: rename it, or take it out"
                )
            if attribute.is_ref():
                raise ModelError(
                    f"FRN node {self.label!r}: its attribute {attribute.name!r} is an attribute "
                    "of the function it is in, so its layout is not fixed; inline that function "
                    "first (onnx.inliner.inline_local_functions)"
                )
        if "axes" not in given:
            raise ModelError(
                f"FRN node {self.label!r} has no attribute 'axes'; expected the spatial axes, "
                "for example [2, 3] for NCHW"
            )
        return axes_of(given), given.get_float("epsilon", op.DEFAULT_EPSILON)

    def parameters(self) -> dict[str, ir.Value]:
        """gamma, beta and those of tau and epsilon that the node has, by these names."""
        given = zip(op.SIGNATURES[self.node.op_type], self.node.inputs, strict=False)
        first = op.first_parameter(self.node.op_type)
        return {name: value for name, value in list(given)[first:] if value is not None}


def axes_of(attributes: Mapping[str, ir.Attr]) -> tuple[int, ...]:
    """The spatial axes that attributes of an FRN node state, counted from the front."""
    return op.normalize_axes(attributes["axes"].as_ints())


def name_of(node: ir.Node) -> str:
    """What reports call a node."""
    return node.name or node.outputs[0].name or node.op_type


def scopes(model: ir.Model) -> Iterator[Scope]:
    """Every graph and function of a model, outer ones first."""
    yield from _with_subgraphs(Scope(model.graph, None, ""))
    for function in model.functions.values():
        where = f"{function.domain}::{function.name}" if function.domain else function.name
        yield from _with_subgraphs(Scope(function.graph, function, where))


def _with_subgraphs(scope: Scope) -> Iterator[Scope]:
    yield scope
    for node in scope.graph:
        for name, graph in subgraphs(node) if node.attributes else ():
            where = scope.within(f"{node.name or node.op_type}/{name}")
            yield from _with_subgraphs(Scope(graph, scope.function, where))


def subgraphs(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    """The graphs that a node holds, with the names of the attributes."""
    for name, attribute in node.attributes.items():
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.GRAPH:
            yield name, attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from ((name, graph) for graph in attribute.as_graphs())


def frn_sites(model: ir.Model) -> list[Site]:
    """Every FRN node of the model, in a fixed order."""
    return [Site(node, scope) for scope in scopes(model) for node in scope.graph if op.is_frn(node)]


def nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node: in the main graph, subgraphs and functions."""
    return (node for scope in scopes(model) for node in scope.graph)


def values(model: ir.Model) -> Iterator[ir.Value]:
    """What every graph is given, and what its nodes make; of subgraphs and functions, too."""
    return (value for scope in scopes(model) for value in scope.values())


def frn_functions(model: ir.Model) -> list[ir.Function]:
    """The model-local functions that are bodies of FRN ops; a portable file has one for each."""
    return [
        function
        for (domain, name, _), function in model.functions.items()
        if domain == op.DOMAIN and name in op.SIGNATURES
    ]


def opset(model: ir.Model) -> int:
    """Version of the standard ops, which an import may also call by their full name."""
    return model.opset_imports.get("", model.opset_imports.get("ai.onnx", 1))


def initializers(model: ir.Model) -> Iterator[ir.Value]:
    """Every constant of the model's graphs."""
    for scope in scopes(model):
        yield from (v for v in scope.graph.initializers.values() if v.const_value is not None)


def tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    """Every tensor stored in the model: initializers and attributes."""
    yield from (value.const_value for value in initializers(model))
    for node in nodes(model):
        for attribute in node.attributes.values():
            if not attribute.is_ref() and attribute.type == ir.AttributeType.TENSOR:
                yield attribute.as_tensor()
            elif not attribute.is_ref() and attribute.type == ir.AttributeType.TENSORS:
                yield from attribute.as_tensors()


def change_tensors(node: ir.Node, change: Callable[[ir.TensorProtocol], ir.TensorProtocol]) -> None:
    """Puts ``change(tensor)`` in the place of each tensor in a node's attributes."""
    for name, attribute in list(node.attributes.items()):
        if attribute.is_ref():
            continue
        if attribute.type == ir.AttributeType.TENSOR:
            changed = ir.AttrTensor(name, change(attribute.as_tensor()), attribute.doc_string)
        elif attribute.type == ir.AttributeType.TENSORS:
            all_changed = list(map(change, attribute.as_tensors()))
            changed = ir.AttrTensors(name, all_changed, attribute.doc_string)
        else:
            continue
        node.attributes[name] = changed
