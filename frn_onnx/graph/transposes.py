"""Takes FRN nodes, and the elementwise nodes behind them, out from between Transposes.

    Transpose(p) -> FRN -> Sigmoid, Mul -> Transpose(inverse of p)

FRN works in any layout: its axes move, its parameters are reshaped, and both Transposes are gone.
A region of such nodes is moved where that removes more Transposes than it adds. To move it, a
Transpose and its inverse are put on every edge into and out of it, the inner ones are taken in by
the nodes, and the outer ones cancel against those that are there.
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.edit import FreeNames, add_initializer, remove_unused, take_over
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Shapes

Perm = tuple[int, ...]

_MOVABLE = frozenset(
    {
        "Abs",
        "Add",
        "Cast",
        "Clip",
        "Concat",
        "Div",
        "Elu",
        "Erf",
        "Exp",
        "Gelu",
        "HardSigmoid",
        "HardSwish",
    }
    | {"Identity", "LeakyRelu", "Max", "Min", "Mish", "Mul", "Neg", "Pow", "Relu", "Selu"}
    | {"Sigmoid", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh"}
)


def cancel_transposes(
    model: ir.Model,
    frn_nodes: Iterable[ir.Node],
    constants: Constants,
    shapes: Shapes,
    names: FreeNames,
) -> None:
    """Moves, in place, every FRN node behind a Transpose that stands to gain from it."""
    order = {node: place for place, node in enumerate(model.graph.all_nodes())}
    for node in frn_nodes:
        if node.graph is None:
            # Nothing used its result, and it went with a Transpose behind it.
            continue
        source = node.inputs[0].producer()
        perm = _perm(source)
        if perm is None or perm[0] != 0 or source.graph is not node.graph:
            continue
        region = _Region(perm, constants, shapes, names)
        for nodes in (region.grown(node, order), [node]):
            if region.gain(nodes) > 0:
                region.move(nodes)
                break


class _Region:
    """Nodes behind Transposes of one perm, and what it takes to move them in front of those."""

    def __init__(self, perm: Perm, constants: Constants, shapes: Shapes, names: FreeNames) -> None:
        self._perm = perm
        self._inverse = tuple(int(axis) for axis in np.argsort(perm))
        self._constants = constants
        self._shapes = shapes
        self._names = names

    def grown(self, start: ir.Node, order: dict[ir.Node, int]) -> list[ir.Node]:
        """The node and every movable one that follows, in the graph's order."""
        found, stack = {start}, [start]
        while stack:
            for user in stack.pop().outputs[0].consumers():
                if user in found or user.graph is not start.graph:
                    continue
                if self._is_movable(user, found):
                    found.add(user)
                    stack.append(user)
        return sorted(found, key=lambda node: order.get(node, len(order)))

    def _is_movable(self, node: ir.Node, found: set[ir.Node]) -> bool:
        """Whether a node does the same in any order of the axes, its constants moved along."""
        rank = len(self._perm)
        data = self._data(node)
        if _is_frn(node):
            return len(data) == 1
        return (
            node.domain == ""
            and node.op_type in _MOVABLE
            and len(node.outputs) == 1
            and all(v.producer() in found or len(self._shapes.of(v) or ()) == rank for v in data)
        )

    def _data(self, node: ir.Node) -> list[ir.Value]:
        """The inputs of a node that are not constant."""
        return [v for v in node.inputs if v is not None and self._constants.get(v) is None]

    def gain(self, nodes: list[ir.Node]) -> int:
        """How many Transposes fewer there are when these nodes are moved."""
        inside, removed, added = set(nodes), set(), set()
        for node in nodes:
            for value in self._data(node):
                source = value.producer()
                if source in inside:
                    continue
                if _perm(source) != self._perm:
                    added.add(value)
                elif inside.issuperset(value.consumers()) and not value.is_graph_output():
                    removed.add(source)
            (value,) = node.outputs
            outside = [user for user in value.consumers() if user not in inside]
            undone = {user for user in outside if _perm(user) == self._inverse}
            removed |= undone
            if value.is_graph_output() or any(
                _perm(user) is None and not _is_shape(user) for user in outside
            ):
                added.add(value)
        return len(removed) - len(added)

    def move(self, nodes: list[ir.Node]) -> None:
        """Moves the nodes, and merges the Transposes around them."""
        inside, seams = set(nodes), []
        entered: dict[ir.Value, ir.Value] = {}
        for node in nodes:
            for index, value in enumerate(node.inputs):
                if value is None or value.producer() in inside:
                    continue
                if self._constants.get(value) is not None:
                    continue
                if value not in entered:
                    seams.append(self._transpose(value, self._inverse))
                    node.graph.insert_before(node, seams[-1])
                    entered[value] = seams[-1].outputs[0]
                node.replace_input_with(index, entered[value])
            self._move_constants(node)
        for node in nodes:
            seams += self._leave(node, inside)
        for seam in seams:
            _merge(seam)

    def _leave(self, node: ir.Node, inside: set[ir.Node]) -> list[ir.Node]:
        """Gives what is outside the region the output of ``node`` in its old layout."""
        (value,) = node.outputs
        for user in value.consumers():
            if _is_shape(user):
                self._reorder(user)
        outside = [
            use for use in value.uses() if use.node not in inside and not _is_shape(use.node)
        ]
        back = self._transpose(value, self._perm)
        back.outputs[0].shape = value.shape
        if value.shape is not None:
            value.shape = ir.Shape([value.shape[axis] for axis in self._inverse])
        if not outside and not value.is_graph_output():
            return []
        node.graph.insert_after(node, back)
        for use in outside:
            use.node.replace_input_with(use.idx, back.outputs[0])
        if value.is_graph_output():
            name = value.name
            value.graph.outputs[list(value.graph.outputs).index(value)] = back.outputs[0]
            value.name = self._names.free(f"{name}/moved")
            back.outputs[0].name = name
        return [back, *(use.node for use in outside if _perm(use.node) is not None)]

    def _reorder(self, shape: ir.Node) -> None:
        """Puts the sizes that a Shape gives back into the old order."""
        sizes = shape.outputs[0]
        perm = add_initializer(
            shape.graph, self._names.free(f"{sizes.name}/perm"), np.array(self._perm, np.int64)
        )
        node = ir.node("Gather", [sizes, perm], name=self._names.free(f"{sizes.name}/Gather"))
        node.outputs[0].name = self._names.free(f"{node.name}_output")
        node.outputs[0].type, node.outputs[0].shape = sizes.type, sizes.shape
        uses = sizes.uses()
        shape.graph.insert_after(shape, node)
        for use in uses:
            if use.node is not node:
                use.node.replace_input_with(use.idx, node.outputs[0])

    def _transpose(self, value: ir.Value, perm: Perm) -> ir.Node:
        name = self._names.free(f"{value.name}/Transpose")
        node = ir.node("Transpose", [value], {"perm": perm}, name=name)
        node.outputs[0].name = self._names.free(f"{name}_output")
        node.outputs[0].type = value.type
        return node

    def _move_constants(self, node: ir.Node) -> None:
        """Gives a node its constants in the order of axes that it now works in."""
        rank, axes = len(self._perm), None
        if _is_frn(node):
            old = op.normalize_axes(node.attributes["axes"].as_ints())
            axes = sorted(self._perm[axis] for axis in old)
            node.attributes["axes"] = ir.AttrInt64s("axes", axes)
        elif node.op_type == "Concat":
            axis = self._perm[node.attributes["axis"].as_int() % rank]
            node.attributes["axis"] = ir.AttrInt64("axis", axis)
        for index, value in enumerate(node.inputs):
            array = self._constants.get(value)
            if array is None or (array.size == 1 and axes is None):
                continue
            if axes is not None:
                moved = array.reshape(op.param_shape(axes, array.size))
            else:
                wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
                moved = np.ascontiguousarray(wide.transpose(self._inverse))
            name = self._names.free(f"{value.name}/moved")
            node.replace_input_with(index, add_initializer(node.graph, name, moved))
            remove_unused(value)


def _merge(node: ir.Node) -> None:
    """Makes one of two Transposes in a row, or none where they undo each other."""
    if node.graph is None:
        return
    first = node.inputs[0].producer()
    if _perm(first) is None:
        return
    source = first.inputs[0]
    composed = tuple(_perm(first)[axis] for axis in _perm(node))
    result = node.outputs[0]
    if composed != tuple(range(len(composed))):
        node.attributes["perm"] = ir.AttrInt64s("perm", composed)
        node.replace_input_with(0, source)
    elif not result.is_graph_output():
        result.replace_all_uses_with(source)
        remove_unused(result)
    elif source.producer() is not None and not source.is_graph_output():
        take_over(result, source)
        remove_unused(result)
    else:
        # An output that is an input, or another output, takes a node to say so.
        same = ir.node("Identity", [source])
        node.graph.insert_after(node, same)
        take_over(result, same.outputs[0])
        remove_unused(result)
    remove_unused(first.outputs[0])


def _is_frn(node: ir.Node) -> bool:
    return (node.domain, node.op_type) == (op.DOMAIN, op.OP_TYPE)


def _is_shape(node: ir.Node) -> bool:
    """Whether a node is a Shape whose result something in its own graph uses, all of it."""
    return (
        (node.domain, node.op_type) == ("", "Shape")
        and not node.attributes
        and not node.outputs[0].is_graph_output()
    )


def _perm(node: ir.Node | None) -> Perm | None:
    """The perm of a Transpose; None for another node, or where it is not stated."""
    if node is None or (node.domain, node.op_type) != ("", "Transpose"):
        return None
    return tuple(node.attributes["perm"].as_ints()) if "perm" in node.attributes else None
