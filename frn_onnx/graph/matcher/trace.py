"""What is computed from x: follows one tensor through the graph.

Every node that sees only x, what was computed from x, and constants is evaluated once, in the
graph's order. What leaves the algebra is left alone.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher.anchor import Anchor
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.rules import evaluate, evaluate_unknown
from frn_onnx.graph.matcher.rules_statistic import reduced_positions
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.matcher.sizes import size_of_value
from frn_onnx.graph.matcher.values import Context, Known


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


class Tracer:
    """Follows tensors through one graph.

    Args:
        order: the place of each node in the graph's order.
    """

    def __init__(self, constants: Constants, shapes: Shapes, order: dict[ir.Node, int]) -> None:
        self._constants = constants
        self._shapes = shapes
        self._order = order

    def frame(self, anchor: Anchor, root: ir.Value, rank: int | None = None) -> Frame | None:
        """x's axes and their roles, if ``anchor`` reduces a function of ``root``.

        Args:
            rank: what to suppose where the rank of x is not known.
        """
        dims = self._shapes.of(root)
        if dims is None and rank is not None:
            dims = (None,) * rank
        if dims is None or len(dims) < 3:
            return None
        frame = Frame(dims)
        node = anchor.node
        source = self.trace(frame, root, until=node).form(node.inputs[0])
        if source is None:
            return None
        context = Context(frame, self._constants, self._shapes)
        args: list[Known | None] = [source, *map(self._constants.get, node.inputs[1:])]
        positions = reduced_positions(context, node, args, len(source.axes))
        if positions is None:
            return None
        over = source.over | {axis for position in positions for axis in source.axes[position]}
        return Frame(dims, _channel_axis(frame, over))

    def trace(self, frame: Frame, root: ir.Value, *, until: ir.Node | None = None) -> Trace:
        """What each tensor is that is computed from ``root`` and constants alone.

        Args:
            until: the node to stop before.
        """
        context = Context(frame, self._constants, self._shapes)
        known: dict[ir.Value, Known] = {root: Form(axes=frame.full, scale=np.ones(()), x_power=1)}
        queue: list[tuple[int, int, ir.Node]] = []
        queued: set[ir.Node] = set()

        def push(value: ir.Value) -> None:
            for node in value.consumers():
                if node not in queued:
                    queued.add(node)
                    heapq.heappush(queue, (self._order[node], len(queued), node))

        push(root)
        while queue:
            _, _, node = heapq.heappop(queue)
            if node is until:
                break
            args = [self._argument(context, known, value) for value in node.inputs]
            if any(a is None and v is not None for a, v in zip(args, node.inputs, strict=True)):
                result = evaluate_unknown(node, args)
            else:
                result = evaluate(context, node, args)
            if result is not None:
                known[node.outputs[0]] = result
                push(node.outputs[0])
        return Trace(frame, root, known)

    def _argument(
        self, context: Context, known: dict[ir.Value, Known], value: ir.Value | None
    ) -> Known | None:
        if value is None or value in known:
            return known.get(value)
        constant = self._constants.get(value)
        return constant if constant is not None else size_of_value(context, value)


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
