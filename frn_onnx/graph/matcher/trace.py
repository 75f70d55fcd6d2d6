"""What is computed from x: follows one tensor through the graph.

Every node that sees only x, what was computed from x, and constants is evaluated once, in the
graph's order. What leaves the algebra is left alone.
"""

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher.anchor import Anchor
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.rules import evaluate, evaluate_unknown
from frn_onnx.graph.matcher.rules_sizes import size_of_value
from frn_onnx.graph.matcher.rules_statistic import reduced_positions
from frn_onnx.graph.matcher.shapes import FLOATS, Dims, Shapes
from frn_onnx.graph.matcher.values import UNFIT, Context, Known


@dataclass(frozen=True)
class Trace:
    """A tensor x and all that is known to be computed from it.

    Attributes:
        frame: the sizes and roles of x's axes.
        root: x.
        known: each tensor, and what it is.
    """

    frame: Frame
    root: ir.Value
    known: dict[ir.Value, Known]

    def form(self, value: ir.Value) -> Form | None:
        """The form of a tensor; None where it is none."""
        known = self.known.get(value)
        return known if isinstance(known, Form) else None

    def statistics(self) -> Iterator[ir.Value]:
        """The tensors that hold a power of the mean square."""
        for value, known in self.known.items():
            if isinstance(known, Form) and known.nu_power and known.flaw is None:
                yield value


class Tracer:
    """Follows tensors through one graph.

    Args:
        order: the place of each node in the graph's order.
    """

    def __init__(self, constants: Constants, shapes: Shapes, order: dict[ir.Node, int]) -> None:
        self._constants = constants
        self._shapes = shapes
        self._order = order
        # Walks that went as far as the last anchor of their root, and go on to the next from there.
        self._begun: dict[tuple[ir.Value, Dims], _Walk] = {}

    def frame(self, anchor: Anchor, root: ir.Value, rank: int | None = None) -> Frame | None:
        """x's axes and their roles, if ``anchor`` reduces a function of ``root``.

        Args:
            rank: what to suppose where the rank of x is not known.
        """
        if self._shapes.dtype(root) not in FLOATS | {None}:
            return None  # integers wrap around when they are squared
        dims = self._shapes.of(root)
        if dims is None and rank is not None:
            dims = (None,) * rank
        if dims is None or len(dims) < 3:
            return None
        node = anchor.node
        if (root, dims) not in self._begun:
            self._begun[root, dims] = self._walk(Frame(dims), root)
        walk = self._begun[root, dims]
        walk.run(until=self._order[node])
        source = walk.known.get(node.inputs[0])
        if not isinstance(source, Form):
            return None
        args: list[Known | None] = [source, *map(self._constants.get, node.inputs[1:])]
        try:
            positions = reduced_positions(walk.context, node, args, len(source.axes))
        except UNFIT:
            return None
        if positions is None:
            return None
        over = source.over | {axis for position in positions for axis in source.axes[position]}
        return Frame(dims, _channel_axis(walk.context.frame, over))

    def trace(self, frame: Frame, root: ir.Value) -> Trace:
        """What each tensor is that is computed from ``root`` and constants alone."""
        walk = self._walk(frame, root)
        walk.run()
        return Trace(frame, root, walk.known)

    def _walk(self, frame: Frame, root: ir.Value) -> "_Walk":
        return _Walk(Context(frame, self._constants, self._shapes), root, self._order)


class _Walk:
    """Evaluates node after node of what is computed from one tensor, in the graph's order."""

    def __init__(self, context: Context, root: ir.Value, order: dict[ir.Node, int]) -> None:
        self.context = context
        self.known: dict[ir.Value, Known] = {
            root: Form(axes=context.frame.full, scale=np.ones(()), x_power=1)
        }
        self._order = order
        self._queue: list[tuple[int, int, ir.Node]] = []
        self._queued: set[ir.Node] = set()
        self._push(root)

    def run(self, until: float = math.inf) -> None:
        """Goes on to the node at this place, which is left to do."""
        with np.errstate(all="ignore"):  # what is not finite is no form
            while self._queue and self._queue[0][0] < until:
                self._evaluate(heapq.heappop(self._queue)[-1])

    def _evaluate(self, node: ir.Node) -> None:
        args = [self._argument(value) for value in node.inputs]
        if any(a is None and v is not None for a, v in zip(args, node.inputs, strict=True)):
            result = evaluate_unknown(node, args)
        else:
            result = evaluate(self.context, node, args)
        if result is not None:
            self.known[node.outputs[0]] = result
            self._push(node.outputs[0])

    def _push(self, value: ir.Value) -> None:
        for node in value.consumers():
            if node not in self._queued:
                self._queued.add(node)
                heapq.heappush(self._queue, (self._order[node], len(self._queued), node))

    def _argument(self, value: ir.Value | None) -> Known | None:
        if value is None or value in self.known:
            return self.known.get(value)
        number = self._number(value)
        return number if number is not None else self._repeated(value)

    def _number(self, value: ir.Value | None) -> Known | None:
        constant = self.context.constants.get(value)
        if constant is not None or value is None:
            return constant
        return size_of_value(self.context, value)

    def _repeated(self, value: ir.Value) -> Known | None:
        """A constant repeated to sizes that another tensor has in common with x."""
        node = value.producer()
        if node is None or node.op_type not in ("ConstantOfShape", "Expand"):
            return None
        args = [self._number(given) for given in node.inputs]
        if any(arg is None for arg in args):
            return None
        return evaluate(self.context, node, args)


def _channel_axis(frame: Frame, over: frozenset[int]) -> int | None:
    """The axis that is left beside the batch by a mean over these axes; None: not one."""
    left = frozenset(range(1, frame.rank)) - over
    solid = left - frame.unit
    if len(solid) == 1:
        return next(iter(solid))
    if solid:
        return None
    # All others have size 1: any of them serves as the channel axis, the one left if there is.
    units = sorted(left) or sorted(frame.unit - {0})
    return units[0] if units else None
