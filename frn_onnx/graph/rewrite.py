"""Puts the FRN node where a match was found, and takes away what nothing needs any more."""

import itertools

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.edit import (
    FreeNames,
    add_initializer,
    move_descriptions,
    remove_unused,
    take_over,
)
from frn_onnx.graph.matcher.match import Match
from frn_onnx.graph.matcher.shapes import Shapes, is_wider
from frn_onnx.graph.perms import is_identity


class Rewriter:
    """Replaces matches in a model, in place.

    Args:
        names: the names that are free in the model.
        shapes: learns the shapes of the new values.
        order: the place of each node in the graph's order; new nodes take the place of the
            ones they replace.
    """

    def __init__(self, names: FreeNames, shapes: Shapes, order: dict[ir.Node, int]) -> None:
        self._names = names
        self._shapes = shapes
        self._order = order

    def apply(self, match: Match) -> tuple[ir.Node, ir.Value]:
        """Puts one FRN node in the place of a match.

        Returns:
            The new node, and the value that took the place of ``match.y``: the node's output,
            or what a Transpose or a Cast made of it.
        """
        last = match.y.producer()
        graph = last.graph
        place = self._order[last]
        name = self._names.free(_common_name(match.cone) or f"{match.y.name}/{op.OP_TYPE}")
        x_dtype, y_dtype = self._shapes.dtype(match.x), self._shapes.dtype(match.y)

        new: list[ir.Node] = []

        def add(domain, op_type, inputs, attributes, suffix, dtype) -> ir.Value:
            title = self._names.free(name + suffix) if suffix else name
            node = ir.node(op_type, inputs, attributes, domain=domain, name=title)
            self._order[node] = place
            node.outputs[0].name = self._names.free(f"{title}_output")
            node.outputs[0].dtype = dtype
            new.append(node)
            return node.outputs[0]

        x = match.x
        if is_wider(y_dtype, x_dtype):
            x = add("", "Cast", [x], {"to": y_dtype.value}, "/Cast", y_dtype)
            x.shape = match.x.shape
            x_dtype = y_dtype
        if x_dtype == ir.DataType.DOUBLE and (factor := _factor(match)) is not None:
            constant = add_initializer(graph, self._names.free(f"{name}/factor"), factor)
            x = add("", "Mul", [x, constant], {}, "/Mul", x_dtype)
            x.shape = match.x.shape
        inputs = [x, *self._parameters(match, graph, name, x_dtype)]
        # Spelled out: onnx_ir takes long to find out the types by itself.
        attributes = {
            "axes": ir.AttrInt64s("axes", match.axes),
            "epsilon": ir.AttrFloat32("epsilon", float(match.epsilon.flat[0])),
        }
        value = add(op.DOMAIN, op.OP_TYPE, inputs, attributes, "", x_dtype)
        frn = new[-1]
        move_descriptions(last, frn)
        value.shape = x.shape
        if not is_identity(match.perm):
            value = add("", "Transpose", [value], {"perm": match.perm}, "/Transpose", x_dtype)
        if y_dtype != x_dtype:
            value = add("", "Cast", [value], {"to": y_dtype.value}, "/Cast", y_dtype)
        graph.insert_before(last, new)
        self._shapes.replaced(match.y, value)
        take_over(match.y, value)
        remove_unused(match.y)
        return frn, value

    def _parameters(
        self, match: Match, graph: ir.Graph, name: str, x_dtype: ir.DataType
    ) -> list[ir.Value | None]:
        """The values of gamma, beta[, tau[, epsilon]], added to the graph."""
        dtype = np.float64 if x_dtype == ir.DataType.DOUBLE else np.float32
        shape = op.param_shape(match.axes, match.gamma.size)
        arrays = {"gamma": match.gamma, "beta": match.beta, "tau": match.tau}
        single = match.epsilon.astype(np.float32)
        arrays["epsilon"] = None if np.all(single == single.flat[0]) else single
        inputs: list[ir.Value | None] = []
        for key, array in arrays.items():
            if array is None:
                inputs.append(None)
                continue
            kept = np.float32 if key == "epsilon" else dtype
            value = np.ascontiguousarray(array, dtype=kept).reshape(shape)
            inputs.append(add_initializer(graph, self._names.free(f"{name}/{key}"), value))
        while inputs[-1] is None:
            inputs.pop()
        return inputs


def _factor(match: Match) -> np.ndarray | None:
    """What x in float64 is multiplied by where its epsilon is no float32, which the op's is.

    With factor**2 * epsilon a float32, it is exact:

        x / sqrt(nu2 + epsilon) = factor * x / sqrt(factor**2 * nu2 + factor**2 * epsilon)
    """
    epsilon = match.epsilon
    single = epsilon.astype(np.float32).astype(np.float64)
    if np.array_equal(single, epsilon):
        return None
    factor = np.sqrt(np.divide(single, epsilon, out=np.ones_like(single), where=epsilon > 0))
    if np.all(factor == factor.flat[0]):
        return np.asarray(factor.flat[0])
    return factor.reshape(op.param_shape(match.axes, factor.size))


def _common_name(nodes: tuple[ir.Node, ...]) -> str:
    """A name below the scopes that the nodes' names have in common: the layer they came from."""
    paths = [(node.name or "").split("/")[:-1] for node in nodes]
    scope = list(
        itertools.takewhile(lambda part: part is not None, map(_agreed, zip(*paths, strict=False)))
    )
    return "/".join([*scope, op.OP_TYPE]) if any(scope) else ""


def _agreed(parts: tuple[str, ...]) -> str | None:
    return parts[0] if len(set(parts)) == 1 else None
