"""Where nodes live in a model: the main graph, subgraphs of If, Loop and Scan, and functions."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, TensorProto, helper, numpy_helper

from frn_onnx import op
from frn_onnx.errors import ModelError


@dataclass(eq=False)
class Scope:
    """A list of nodes and the names they see.

    Attributes:
        body: the graph or function.
        parent: the scope around a subgraph, whose names it sees; None for the main graph and
            for functions, which see only their own.
        function: the function that the nodes are in, or None.
        where: "" for the main graph, else a path for messages: "If_3/then_branch".
    """

    body: GraphProto | onnx.FunctionProto
    parent: "Scope | None" = None
    function: onnx.FunctionProto | None = None
    where: str = ""

    @functools.cached_property
    def producers(self) -> dict[str, onnx.NodeProto]:
        """The node that makes each value, as of the first call."""
        return {name: node for node in self.body.node for name in node.output if name}

    @functools.cached_property
    def initializers(self) -> dict[str, TensorProto]:
        """The graph's constants; an initializer that is an input too is only a default."""
        if not isinstance(self.body, GraphProto):
            return {}
        inputs = {value.name for value in self.body.input}
        return {t.name: t for t in self.body.initializer if t.name not in inputs}

    def outward(self) -> Iterator["Scope"]:
        """This scope, and those around it."""
        scope: Scope | None = self
        while scope is not None:
            yield scope
            scope = scope.parent

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that makes the value ``name``, here or in a scope around."""
        for scope in self.outward():
            if name in scope.producers:
                return scope.producers[name]
        return None

    def constant(self, name: str) -> TensorProto | None:
        """The constant tensor of that name: an initializer or the value of a Constant node."""
        for scope in self.outward():
            if name in scope.initializers:
                return scope.initializers[name]
            if name in scope.producers:
                return _constant_value(scope.producers[name])
        return None


@dataclass(frozen=True, eq=False)
class Site:
    """An FRN node and where it is."""

    node: onnx.NodeProto
    scope: Scope

    @property
    def label(self) -> str:
        """What a message calls the node."""
        name = self.node.name or self.node.output[0]
        return f"{self.scope.where}/{name}" if self.scope.where else name

    def attributes(self) -> tuple[tuple[int, ...], float]:
        """Axes (normalised) and epsilon of the node.

        Raises:
            ModelError: axes are missing, or an attribute is that of the function around.
            ShapeError: the axes leave no single channel axis.
        """
        values: dict[str, Any] = {}
        for attribute in self.node.attribute:
            if attribute.ref_attr_name:
                raise ModelError(
                    f"FRN node {self.label!r}: its attribute {attribute.name!r} is an attribute "
                    "of the function it is in, so its layout is not fixed; inline that function "
                    "first (onnx.inliner.inline_local_functions)"
                )
            values[attribute.name] = helper.get_attribute_value(attribute)
        if "axes" not in values:
            raise ModelError(
                f"FRN node {self.label!r} has no attribute 'axes'; expected the spatial axes, "
                "for example [2, 3] for NCHW"
            )
        return op.normalize_axes(values["axes"]), values.get("epsilon", op.DEFAULT_EPSILON)


def scopes(model: onnx.ModelProto) -> Iterator[Scope]:
    """Every graph and function of a model, outer ones first."""
    yield from _with_subgraphs(Scope(model.graph))
    for function in model.functions:
        where = f"{function.domain}::{function.name}" if function.domain else function.name
        yield from _with_subgraphs(Scope(function, function=function, where=where))


def _with_subgraphs(scope: Scope) -> Iterator[Scope]:
    yield scope
    for node in scope.body.node:
        for attribute, graph in subgraphs(node):
            label = f"{node.name or node.op_type}/{attribute.name}"
            where = f"{scope.where}/{label}" if scope.where else label
            yield from _with_subgraphs(Scope(graph, scope, scope.function, where))


def subgraphs(node: onnx.NodeProto) -> Iterator[tuple[AttributeProto, GraphProto]]:
    """The graphs that a node holds in its attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute, attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            for graph in attribute.graphs:
                yield attribute, graph


def is_frn(node: onnx.NodeProto) -> bool:
    return node.op_type == op.OP_TYPE and node.domain == op.DOMAIN


def frn_sites(model: onnx.ModelProto) -> list[Site]:
    """Every FRN node of the model, in a fixed order."""
    return [
        Site(node, scope) for scope in scopes(model) for node in scope.body.node if is_frn(node)
    ]


def frn_function(model: onnx.ModelProto) -> onnx.FunctionProto | None:
    """The model-local function that is the FRN op's body; a portable file has one."""
    for function in model.functions:
        if function.name == op.OP_TYPE and function.domain == op.DOMAIN:
            return function
    return None


def tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor stored in the model: initializers and attributes."""
    for scope in scopes(model):
        if isinstance(scope.body, GraphProto):
            yield from scope.body.initializer
            for sparse in scope.body.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for node in scope.body.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    yield attribute.t
                elif attribute.type == AttributeProto.TENSORS:
                    yield from attribute.tensors


def opset(model: onnx.ModelProto) -> int:
    """Version of the model's standard opset; 0 where it has none.

    A function states a version of its own, but must mean the same in the model's; ONNX Runtime
    takes only that.
    """
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return versions[0] if versions else 0


def _constant_value(node: onnx.NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for attribute in node.attribute:
        if attribute.type == AttributeProto.TENSOR:
            return attribute.t
        if attribute.name in ("value_float", "value_floats", "value_int", "value_ints"):
            value = helper.get_attribute_value(attribute)
            kind = "float32" if "float" in attribute.name else "int64"
            return numpy_helper.from_array(np.asarray(value, dtype=kind))
    return None
