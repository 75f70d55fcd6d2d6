"""What hangs together by ops that work in any order of axes, and how few Transposes it takes.

A Transpose says that one tensor is wanted in two orders of its axes: its two sides. In a region
every tensor has two sides, every node that can be moved works on one of them, and all else stays
on the side it is on. A Transpose is needed at every tensor that is made on one side and used on
the other, so that the fewest are a minimum cut between the sides.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from frn_onnx.graph.perms import Perm, compose, inverse, is_identity, transpose_perm
from frn_onnx.graph.standard import is_standard
from frn_onnx.graph.transposes import table
from frn_onnx.graph.transposes.moves import Facts, Move
from frn_onnx.graph.transposes.network import UNLIMITED, Network


@dataclass(eq=False)
class Tensor:
    """One tensor, under as many names as Transposes between its two sides give it.

    Attributes:
        root: the value that no such Transpose makes.
        perms: of the Transpose from each side to the other.
        sides: of each value that is this tensor.
    """

    root: ir.Value
    perms: tuple[Perm, Perm]
    sides: dict[ir.Value, int] = field(default_factory=dict)


@dataclass(eq=False)
class Mover:
    """A node that can work on either side, and the side it is on."""

    node: ir.Node
    side: int
    move: Move


@dataclass(frozen=True)
class Use:
    """One use of a value: which side of the tensor it must have; None for either.

    Attributes:
        node: the user; None for an output of the graph.
        index: of the input of the node.
    """

    value: ir.Value
    node: ir.Node | None
    index: int
    mover: Mover | None
    side: int | None


class Region:
    """Tensors and nodes from one on, as far as they hang together, within one graph."""

    def __init__(self, graph: ir.Graph, facts: Callable[[dict[ir.Value, Perm]], Facts]) -> None:
        self.graph = graph
        self._perms: dict[ir.Value, Perm] = {}
        self.facts = facts(self._perms)
        self._tensors: dict[ir.Value, Tensor] = {}
        self._fresh: list[ir.Value] = []
        self.movers: dict[ir.Node, Mover] = {}
        self.uses: dict[Tensor, list[Use]] = {}

    def grow(self, value: ir.Value, perm: Perm, start: ir.Node | None = None) -> None:
        """Takes in all that hangs together with a value, for which ``perm`` leads to side 1."""
        if start is not None:
            self._add(start, value, 0, perm)
        self._assign(value, 0, perm)
        while self._fresh:
            value = self._fresh.pop()
            tensor = self._tensors[value]
            side = tensor.sides[value]
            if value is tensor.root and self._is_made_here(value):
                self._add(value.producer(), value, side, tensor.perms[side])
            for node in value.consumers():
                if node.graph is self.graph:
                    self._add(node, value, side, tensor.perms[side])
        self.uses = {t: list(self._uses(t)) for t in dict.fromkeys(self._tensors.values())}

    def maker(self, tensor: Tensor) -> Mover | None:
        """What makes a tensor, if that can be moved."""
        mover = self.movers.get(tensor.root.producer())
        if mover is None or tensor.root.index() not in mover.move.outputs:
            return None
        return mover

    def _uses(self, tensor: Tensor) -> Iterator[Use]:
        for value, side in tensor.sides.items():
            for node, index in value.uses():
                mover = self.movers.get(node)
                if mover is not None and index in mover.move.inputs:
                    yield Use(value, node, index, mover, mover.side)
                elif node.graph is self.graph and is_neutral(node):
                    yield Use(value, node, index, None, None)
                else:
                    yield Use(value, node, index, None, side)
            for index, output in enumerate(value.graph.outputs if value.is_graph_output() else ()):
                if output is value:
                    yield Use(value, None, index, None, side)

    def made_on(self, tensor: Tensor, moved: Collection[Mover]) -> int:
        """The side on which a tensor is made once some nodes have moved."""
        return tensor.sides[tensor.root] ^ (self.maker(tensor) in moved)

    def _is_made_here(self, value: ir.Value) -> bool:
        node = value.producer()
        return node is not None and node.graph is self.graph

    def _joins(self, node: ir.Node, value: ir.Value) -> bool:
        """Whether a node is a Transpose from one side of a tensor to the other."""
        perm = self._perms[value]
        return transpose_perm(node, len(perm)) == perm

    def _assign(self, value: ir.Value, side: int, perm: Perm) -> bool:
        """Takes a value in as a tensor of two sides, with all Transposes between those.

        Returns:
            False where it, or one of those, is a tensor of other sides already.
        """
        if value in self._tensors:
            tensor = self._tensors[value]
            return tensor.sides[value] == side and tensor.perms[side] == perm
        perms = (perm, inverse(perm)) if side == 0 else (inverse(perm), perm)
        root, at = value, side
        while self._is_made_here(root):
            own = transpose_perm(root.producer(), len(perm))
            source = root.producer().inputs[0]
            if own is None or not is_identity(compose(own, perms[at])) or source is None:
                break
            root, at = source, 1 - at
        tensor = Tensor(root, perms)
        stack = [(root, at)]
        while stack:
            known, at = stack.pop()
            if known in self._tensors:
                return False
            tensor.sides[known] = at
            self._tensors[known] = tensor
            self._perms[known] = perms[at]
            self._fresh.append(known)
            for node in known.consumers():
                if node.graph is self.graph and self._joins(node, known):
                    stack.append((node.outputs[0], 1 - at))
        return True

    def _add(self, node: ir.Node, known: ir.Value, side: int, perm: Perm) -> None:
        """Takes a node in, if it can be moved along with one of its values."""
        if node in self.movers:
            return
        move = table.move(node, known, perm, self.facts)
        if move is None:
            return
        slots = [(node.inputs[i], p) for i, p in move.inputs.items()]
        slots += [(node.outputs[i], p) for i, p in move.outputs.items()]
        if not any(value is known for value, _ in slots):
            return
        count = len(self._fresh)
        if all(self._assign(value, side, p) for value, p in slots):
            self.movers[node] = Mover(node, side, move)
            return
        for value in self._fresh[count:]:
            del self._tensors[value], self._perms[value]
        del self._fresh[count:]

    def fewest(self, pinned: Callable[[Mover], int | None]) -> list[Mover]:
        """The nodes that are to change sides for the fewest Transposes.

        Args:
            pinned: the side that a node must be on; None where both will do.
        """
        network = Network()
        sides = (network.vertex(), network.vertex())
        vertices = {mover: network.vertex() for mover in self.movers.values()}
        for mover, vertex in vertices.items():
            side = pinned(mover)
            if side is not None:
                network.edge(*_from(sides[side], vertex, side), UNLIMITED)
        for tensor in self.uses:
            self._cost_of(tensor, network, sides, vertices)
        # On the source's side is side 0.
        cuts: list[list[Mover]] = [
            [mover for mover, v in vertices.items() if on_source[v] != (mover.side == 0)]
            for on_source in network.cut(*sides)
        ]
        smallest = min(cuts, key=len)
        chosen = set(smallest)
        forced = {mover for mover in chosen if pinned(mover) not in (None, mover.side)}
        return [
            mover
            for group, tensors in self._groups(chosen)
            if not forced.isdisjoint(group) or self._saved(group, tensors) > 0
            for mover in group
        ]

    def _cost_of(
        self,
        tensor: Tensor,
        network: Network,
        sides: tuple[int, int],
        vertices: dict[Mover, int],
    ) -> None:
        maker = self.maker(tensor)
        made = sides[tensor.sides[tensor.root]] if maker is None else vertices[maker]
        needed = [network.vertex(), network.vertex()]
        network.edge(made, needed[1], 1)
        network.edge(needed[0], made, 1)
        for use in self.uses[tensor]:
            if use.side is not None:
                used = sides[use.side] if use.mover is None else vertices[use.mover]
                network.edge(needed[1], used, UNLIMITED)
                network.edge(used, needed[0], UNLIMITED)

    def _groups(self, chosen: set[Mover]) -> Iterator[tuple[list[Mover], list[Tensor]]]:
        """The nodes that are to move, those together that share a tensor, and their tensors."""
        tensors: dict[Mover, list[Tensor]] = {}
        members: dict[Tensor, list[Mover]] = {}
        for tensor, uses in self.uses.items():
            touched = dict.fromkeys([self.maker(tensor), *(use.mover for use in uses)])
            members[tensor] = [mover for mover in touched if mover in chosen]
            for mover in members[tensor]:
                tensors.setdefault(mover, []).append(tensor)
        left = {mover: None for mover in self.movers.values() if mover in chosen}
        while left:
            stack = [left.popitem()[0]]
            group: list[Mover] = []
            shared: dict[Tensor, None] = {}
            while stack:
                group.append(stack.pop())
                for tensor in tensors.get(group[-1], ()):
                    shared[tensor] = None
                    for mover in members[tensor]:
                        if mover in left:
                            del left[mover]
                            stack.append(mover)
            yield group, list(shared)

    def _saved(self, group: list[Mover], tensors: list[Tensor]) -> int:
        """How many Transposes fewer it takes if some nodes move and the others stay."""
        moved = set(group)
        return sum(self._is_turned(t, set()) - self._is_turned(t, moved) for t in tensors)

    def _is_turned(self, tensor: Tensor, moved: set[Mover]) -> bool:
        """Whether a tensor is used on another side than it is made on."""
        made = self.made_on(tensor, moved)
        return any(
            use.side is not None and use.side ^ (use.mover in moved) != made
            for use in self.uses[tensor]
        )


def is_neutral(node: ir.Node) -> bool:
    """Whether a node can read any order of axes, for a change of its own at most.

    A Transpose can, and a Shape of all axes whose result can be put into another order.
    """
    whole = is_standard(node, "Shape") and not node.attributes
    return is_standard(node, "Transpose") or (whole and not node.outputs[0].is_graph_output())


def _from(pole: int, vertex: int, side: int) -> tuple[int, int]:
    """The edge that is cut where a vertex is not on the side of its pole."""
    return (pole, vertex) if side == 0 else (vertex, pole)
