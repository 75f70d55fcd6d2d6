"""Moves nodes of a region to the other side, and puts Transposes where the sides meet."""

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.edit import FreeNames, add_initializer, move_descriptions, remove_unused
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.perms import Perm, compose, is_identity, transpose_perm
from frn_onnx.graph.transposes.region import Mover, Region, Tensor, Use


def move(region: Region, movers: Collection[Mover], names: FreeNames) -> None:
    """Moves nodes, in place; what every other node and the graph's outputs are given stays."""
    moved = set(movers)
    if not moved:
        return
    seams = [
        _Seam(region, tensor, moved, names)
        for tensor, uses in region.uses.items()
        if region.maker(tensor) in moved or any(use.mover in moved for use in uses)
    ]
    for mover in movers:
        _change(mover, region.facts.shapes, names)
    for seam in seams:
        seam.close()
    for seam in seams:
        seam.clear()
    for mover in movers:
        skip_if_idle(mover.node)


def _change(mover: Mover, shapes: Shapes, names: FreeNames) -> None:
    node, move = mover.node, mover.move
    for attribute in move.attributes.values():
        node.attributes.add(attribute)
    for index, array in move.constants.items():
        old = node.inputs[index] if index < len(node.inputs) else None
        name = names.free(f"{(old or node.outputs[0]).name}/moved")
        new = add_initializer(node.graph, name, array)
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, new)
        if old is not None:
            remove_unused(old)
    for index, perm in move.outputs.items():
        shapes.moved(node.outputs[index], perm)


def skip_if_idle(node: ir.Node) -> None:
    """Takes out a Transpose that, both of its sides moved, has nothing left to do."""
    if node.op_type == "Transpose" and node.graph is not None:
        perm = tuple(node.attributes["perm"].as_ints())
        if is_identity(perm) and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(node.inputs[0])
            remove_unused(node.outputs[0])


class _Seam:
    """A tensor that is made, or used, on another side than before."""

    def __init__(
        self, region: Region, tensor: Tensor, moved: Collection[Mover], names: FreeNames
    ) -> None:
        self._tensor = tensor
        self._uses = region.uses[tensor]
        self._moved = moved
        self._names = names
        self._graph = region.graph
        self._side = region.made_on(tensor, moved)
        self._made = {self._side: tensor.root}
        self._shapes = {
            side: value.shape for value, side in tensor.sides.items() if value.shape is not None
        }
        for node in tensor.root.consumers():
            # A Transpose that is there, of a tensor that stays, still does what it says.
            if tensor.sides.get(node.outputs[0]) == 1 - self._side:
                self._made[1 - self._side] = node.outputs[0]
                self._graph.remove(node)
                self._insert(node)
                break

    def close(self) -> None:
        """Gives every user the side that it needs."""
        outputs = []
        for use in self._uses:
            if use.side is None:
                continue
            value = self._on(use.side ^ (use.mover in self._moved))
            if use.node is None:
                outputs.append((use, value))
            else:
                use.node.replace_input_with(use.index, value)
        for use in self._uses:
            if use.side is None:
                self._reorder(use)
        self._put_out(outputs)

    def clear(self) -> None:
        for value in self._tensor.sides:
            if value is not self._tensor.root:
                remove_unused(value)

    def _on(self, side: int) -> ir.Value:
        """The tensor on a side, behind a Transpose where it is not made there."""
        if side not in self._made:
            root = self._tensor.root
            name = self._names.free(f"{root.name}/Transpose")
            node = ir.node("Transpose", [root], {"perm": self._tensor.perms[1 - side]}, name=name)
            value = node.outputs[0]
            value.name = self._names.free(f"{name}_output")
            value.type, value.shape = root.type, self._shapes.get(side)
            self._insert(node)
            self._made[side] = value
        return self._made[side]

    def _insert(self, node: ir.Node) -> None:
        source = self._tensor.root.producer()
        if source is not None and source.graph is self._graph:
            self._graph.insert_after(source, node)
        else:
            self._graph.insert_before(self._graph[0], node)

    def _reorder(self, use: Use) -> None:
        """Lets a user that can read either side read the one that is made."""
        side, node = self._tensor.sides[use.value], use.node
        node.replace_input_with(use.index, self._made.get(side, self._tensor.root))
        if side in self._made:
            return
        perm = self._tensor.perms[self._side]
        if node.op_type == "Transpose":
            own = compose(perm, transpose_perm(node, len(perm)))
            node.attributes.add(ir.AttrInt64s("perm", own))
        else:
            self._reorder_sizes(node, perm)

    def _reorder_sizes(self, shape: ir.Node, perm: Perm) -> None:
        """Puts the sizes that a Shape gives back into the old order."""
        sizes, uses = shape.outputs[0], shape.outputs[0].uses()
        order = add_initializer(
            shape.graph, self._names.free(f"{sizes.name}/perm"), np.array(perm, np.int64)
        )
        node = ir.node("Gather", [sizes, order], name=self._names.free(f"{sizes.name}/Gather"))
        node.outputs[0].name = self._names.free(f"{node.name}_output")
        node.outputs[0].type, node.outputs[0].shape = sizes.type, sizes.shape
        shape.graph.insert_after(shape, node)
        for use in uses:
            use.node.replace_input_with(use.idx, node.outputs[0])

    def _put_out(self, outputs: list[tuple[Use, ir.Value]]) -> None:
        """Lets the graph give out other values under the names of the old ones."""
        changed = {use.value: (use.side, value) for use, value in outputs if use.value is not value}
        places = {use.index: use.value for use, _ in outputs if use.value in changed}
        taken = {v for place, v in enumerate(self._graph.outputs) if place not in places}
        signs = {}
        for old, (side, _) in changed.items():
            signs[old] = ir.Value(name=old.name, type=old.type, shape=self._shapes.get(side))
            move_descriptions(old, signs[old])
            old.name = self._names.free(f"{old.name}/moved")
        for old, (_, value) in changed.items():
            sign = signs[old]
            if value in taken or value.producer() is None or value.graph is not self._graph:
                # An output that is an input, or another output, takes a node to say so.
                same = ir.node("Identity", [value], name=self._names.free(f"{sign.name}/Identity"))
                self._graph.append(same)
                value = same.outputs[0]
            taken.add(value)
            for place in (place for place, v in places.items() if v is old):  # it may have several
                self._graph.outputs[place] = value
            value.name, value.type, value.shape = sign.name, sign.type, sign.shape
            move_descriptions(sign, value)
