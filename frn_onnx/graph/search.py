"""Looks for FRN in a model, one mean after another.

anchor.py    a mean of squares, and the tensors that it may be taken of
trace.py     what is computed from such an x and from constants, in one normal form
match.py     the tensors whose normal form is FRN, and near misses, with their reasons
probe.py     each match is tried on numbers
leftovers.py what has the outline of FRN, and was lost on the way
"""

from collections.abc import Iterator

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import sites
from frn_onnx.graph.matcher.anchor import REDUCTIONS, Anchor, AnchorFinder
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.leftovers import LeftoverFinder
from frn_onnx.graph.matcher.match import Match, Miss, find
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.matcher.trace import Tracer
from frn_onnx.graph.probe import Prober
from frn_onnx.graph.standard import is_standard

_UNKNOWN_SHAPE = (
    "not even the rank of its input {!r} is known, nor does shape inference find it; state it in "
    "the file's value_info"
)


class Search:
    """One search through a model.

    Args:
        model: the model.

    Attributes:
        order: the place of each node in the graph's order; new nodes are added.
        constants, shapes: of the model's values.
        missed: what looks like FRN and is none, or cannot be shown to be.
    """

    def __init__(self, model: ir.Model) -> None:
        nodes = list(model.graph.all_nodes())
        self.order = {node: place for place, node in enumerate(nodes)}
        self.constants = Constants(model)
        self._reductions = [n for n in nodes if is_standard(n, *REDUCTIONS) and n.inputs[0]]
        values = [value for node in nodes for value in node.outputs]
        self.shapes = Shapes(model, values if self._reductions else [])
        self.missed: list[Miss] = []
        self._finder = AnchorFinder(self.constants, self.shapes)
        self._tracer = Tracer(self.constants, self.shapes, self.order)
        opset = sites.opset(model)
        self._prober = Prober(self.constants, self.shapes, self.order, opset)
        self._leftovers = LeftoverFinder(self.constants, self.shapes, self._tracer, self.order)
        self._understood: dict[ir.Value, ir.Value] = {}
        self._searched: set[tuple[ir.Value, int | None]] = set()

    def matches(self) -> Iterator[Match]:
        """Every match; each is to be replaced before the next one is asked for."""
        for node in self._reductions:
            if node.graph is None or (anchor := self._finder.anchor(node)) is None:
                continue
            for root in anchor.roots:
                matches = self._matches_of(anchor, root)
                for match in matches:
                    self.missed += self._leftovers.parameters(match)
                    yield match
                if matches:
                    break
            self._suppose_ranks(anchor)
        left = [node for node in self.order if node.graph is not None]
        explained = {node for miss in self.missed for node in miss.cone}
        outlines = self._leftovers.find(left, self._understood)
        self.missed += [miss for miss in outlines if explained.isdisjoint(miss.cone)]

    def _matches_of(self, anchor: Anchor, root: ir.Value) -> list[Match]:
        """What is FRN of one tensor."""
        frame = self._tracer.frame(anchor, root)
        if frame is None or (root, frame.channel) in self._searched:
            return []
        self._searched.add((root, frame.channel))
        trace = self._tracer.trace(frame, root)
        for value in trace.statistics():
            self._understood.setdefault(value, root)
        found = find(trace, self.constants, self.shapes, self.order)
        found = [self._prober.tried(one) if isinstance(one, Match) else one for one in found]
        self.missed += [miss for miss in found if isinstance(miss, Miss)]
        return [match for match in found if isinstance(match, Match)]

    def _suppose_ranks(self, anchor: Anchor) -> None:
        """Reports what would be FRN if only the shape of x were known."""
        root = anchor.roots[0]
        if self.shapes.of(root) is not None:
            return
        for rank in op.RANKS:
            if (frame := self._tracer.frame(anchor, root, rank)) is None:
                continue
            trace = self._tracer.trace(frame, root)
            for one in find(trace, self.constants, self.shapes, self.order):
                form = trace.form(one.cone[-1].outputs[0])
                if form is not None and form.flaw is None:
                    self.missed.append(Miss(one.cone, _UNKNOWN_SHAPE.format(root.name)))
                    return
