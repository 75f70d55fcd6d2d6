"""The proof: follows x through the graph, and finds the tensors that are FRN of it.

From one tensor x, every node that sees only x, what was computed from x, and constants is
evaluated once, in the graph's order, in the algebra of ``form.py``. What leaves the algebra is
left alone. A tensor whose form is FRN is FRN, whatever nodes it took to get there; the last one
before the result is used by something else is the one to replace.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.anchor import Anchor
from frn_onnx.graph.axes import Axes, Frame
from frn_onnx.graph.constants import Constants
from frn_onnx.graph.form import Form
from frn_onnx.graph.rules import Context, Known, evaluate, evaluate_unknown, reduced_positions
from frn_onnx.graph.shapes import FLOATS, Shapes
from frn_onnx.graph.sizes import size_of_value

_MOVEMENT = frozenset(
    {"Cast", "CastLike", "Expand", "Flatten", "Identity"}
    | {"Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


@dataclass(frozen=True)
class Match:
    """One FRN: ``y`` equals the op at ``x`` with these parameters.

    Attributes:
        root: what y is computed from: x before casts and moved axes.
        x, y: the tensors.
        axes: the spatial axes of x.
        perm: how y's axes are moved from those of x; None: not moved.
        gamma, beta, tau, epsilon: (C,) in float64; tau may be None.
        cone: the nodes between x and y, in the graph's order.
    """

    root: ir.Value
    x: ir.Value
    y: ir.Value
    axes: tuple[int, ...]
    perm: tuple[int, ...] | None
    gamma: np.ndarray
    beta: np.ndarray
    tau: np.ndarray | None
    epsilon: np.ndarray
    cone: tuple[ir.Node, ...]


@dataclass(frozen=True)
class Miss:
    """What looks like FRN and is not: its nodes, and why."""

    cone: tuple[ir.Node, ...]
    reason: str


class Matcher:
    """Finds the FRNs of one x at a time.

    Args:
        order: the place of each node in the graph's order.
    """

    def __init__(self, constants: Constants, shapes: Shapes, order: dict[ir.Node, int]) -> None:
        self._constants = constants
        self._shapes = shapes
        self._order = order

    def frame(self, anchor: Anchor, root: ir.Value) -> Frame | None:
        """x's axes and their roles, if ``anchor`` reduces the square of ``root``."""
        dims = self._shapes.of(root)
        if dims is None or len(dims) < 3:
            return None
        frame = Frame(dims)
        context = Context(frame, self._constants, self._shapes)
        known = self._trace(context, root, until=anchor.node)
        source = known.get(anchor.node.inputs[0])
        if not isinstance(source, Form):
            return None
        args: list[Known | None] = [source]
        args += map(self._constants.get, anchor.node.inputs[1:])
        positions = reduced_positions(context, anchor.node, args, len(source.axes))
        if positions is None:
            return None
        over = source.over | {axis for position in positions for axis in source.axes[position]}
        return Frame(dims, _channel_axis(frame, over))

    def search(self, frame: Frame, root: ir.Value) -> list[Match | Miss]:
        """Every FRN of ``root``, and everything that only looks like one."""
        known = self._trace(Context(frame, self._constants, self._shapes), root)
        forms = {value: form for value, form in known.items() if isinstance(form, Form)}
        likely = {v for v, form in forms.items() if form.looks_like_frn and _is_whole(frame, form)}
        found = []
        for value in forms:
            if value in likely and likely.isdisjoint(value.producer().inputs):
                chain = [value, *self._private_chain(value, likely)]
                found.append(self._decide(frame, root, known, chain))
        return [one for one in found if not any(_serves(one, other) for other in found)]

    def _trace(
        self, context: Context, root: ir.Value, until: ir.Node | None = None
    ) -> dict[ir.Value, Known]:
        """What each tensor is that is computed from ``root`` and constants alone."""
        known: dict[ir.Value, Known] = {
            root: Form(axes=context.frame.full, scale=np.ones(()), x_power=1)
        }
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
        return known

    def _argument(
        self, context: Context, known: dict[ir.Value, Known], value: ir.Value | None
    ) -> Known | None:
        if value is None or value in known:
            return known.get(value)
        constant = self._constants.get(value)
        return constant if constant is not None else size_of_value(context, value)

    def _private_chain(self, value: ir.Value, likely: set[ir.Value]) -> Iterator[ir.Value]:
        """The tensors that follow while nothing else needs the one before."""
        while not value.is_graph_output():
            user = _only_user(value)
            if user is None or user.outputs[0] not in likely:
                return
            value = user.outputs[0]
            yield value

    def _decide(
        self, frame: Frame, root: ir.Value, known: dict[ir.Value, Known], chain: list[ir.Value]
    ) -> Match | Miss:
        """The last tensor of a chain that the op can give, or why none is FRN."""
        cone = self._cone(root, chain[0], known)
        first = known[chain[0]]
        if first.flaw is not None:
            return Miss(cone, first.flaw)
        if first.epsilon is None:
            return Miss(cone, "nothing is added to the mean square: this is L2 normalisation")
        for y in reversed(chain):
            cone = self._cone(root, y, known)
            x, exact = self._source(frame, root, y, known, cone)
            if not exact and y.producer().op_type in _MOVEMENT:
                # The op would be followed by this very node again.
                continue
            perm = None if exact else _permutation(frame, known[x].axes, known[y].axes)
            if exact or perm is not None:
                return self._match(frame, known, root, x, y, perm, cone)
        return Miss(cone, "its result has axes that are moved in a way that is not a transpose")

    def _cone(
        self, root: ir.Value, y: ir.Value, known: dict[ir.Value, Known]
    ) -> tuple[ir.Node, ...]:
        """The nodes that compute y from root."""
        nodes: set[ir.Node] = set()
        stack = [y]
        while stack:
            value = stack.pop()
            node = value.producer()
            if value is root or node is None or node in nodes or value not in known:
                continue
            nodes.add(node)
            stack.extend(v for v in node.inputs if v is not None)
        return tuple(sorted(nodes, key=self._order.__getitem__))

    def _source(
        self,
        frame: Frame,
        root: ir.Value,
        y: ir.Value,
        known: dict[ir.Value, Known],
        cone: tuple[ir.Node, ...],
    ) -> tuple[ir.Value, bool]:
        """The tensor that is x with the type and the axes of y, and whether it is both."""
        candidates = [root, *(v for node in cone for v in node.outputs)]
        best, best_score = root, (False, False)
        for value in candidates:
            form = known.get(value)
            if isinstance(form, Form) and form.is_x:
                score = (
                    self._shapes.dtype(value) == self._shapes.dtype(y),
                    frame.same(form.axes, known[y].axes),
                )
                if score > best_score:
                    best, best_score = value, score
        return best, best_score == (True, True)

    def _match(
        self,
        frame: Frame,
        known: dict[ir.Value, Known],
        root: ir.Value,
        x: ir.Value,
        y: ir.Value,
        perm: tuple[int, ...] | None,
        cone: tuple[ir.Node, ...],
    ) -> Match | Miss:
        form, layout = known[y], known[x].axes
        channel = _channel_position(frame, layout)
        dtype = self._shapes.dtype(x)
        if dtype not in FLOATS:
            return Miss(cone, f"the element type of its input {x.name!r} is not known to be float")
        if len(layout) not in op.RANKS or channel is None:
            return Miss(cone, f"its input has rank {len(layout)} and is not (batch, channel, ...)")
        values = [form.scale, form.offset, form.threshold, form.epsilon]
        sizes = {v.size for v in values if v is not None and v.ndim}
        sizes |= {frame.channels, form.channels} - {None}
        if len(sizes) != 1:
            return Miss(cone, f"its number of channels is not known (axis {channel} of {x.name!r})")
        per_channel = len(sizes) == 1 and any(v is not None and v.ndim for v in values)
        if not per_channel and (reason := _other_norm(x, y, channel, len(layout))):
            return Miss(cone, reason)
        if (reason := _centred(x)) is not None:
            return Miss(cone, reason)
        (channels,) = sizes

        def spread(value: np.ndarray | None) -> np.ndarray | None:
            return None if value is None else np.broadcast_to(value, (channels,))

        return Match(
            root=root,
            x=x,
            y=y,
            axes=tuple(i for i in range(1, len(layout)) if i != channel),
            perm=perm,
            gamma=spread(form.scale),
            beta=spread(form.offset),
            tau=spread(form.threshold),
            epsilon=spread(form.epsilon),
            cone=cone,
        )


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


def _serves(one: Match | Miss, other: Match | Miss) -> bool:
    """Whether one FRN is only there for another: JAX computes y twice in where(y > t, y, t)."""
    if one is other or not (isinstance(one, Match) and isinstance(other, Match)):
        return False
    users = one.y.consumers()
    return not one.y.is_graph_output() and bool(users) and set(users) <= set(other.cone)


def _is_whole(frame: Frame, form: Form) -> bool:
    """Whether the tensor has all axes of x, each once."""
    axes = sorted(a for axis in form.axes for a in frame.solid(axis))
    return axes == [a for a in range(frame.rank) if a not in frame.unit]


def _only_user(value: ir.Value) -> ir.Node | None:
    """The node that alone needs ``value``; a comparison made for a Where counts as part of it."""
    users = value.consumers()
    if len(users) == 1:
        return users[0]
    if len(users) == 2:
        for compare, where in (users, users[::-1]):
            condition = compare.outputs[0]
            private = list(condition.consumers()) == [where] and not condition.is_graph_output()
            if where.op_type == "Where" and private:
                return where
    return None


def _channel_position(frame: Frame, layout: Axes) -> int | None:
    """Where the channel axis is in a tensor with these axes, the batch being first."""
    if frame.solid(layout[0]) != frame.solid((0,)):
        return None
    for position, axis in enumerate(layout):
        if position and (frame.channel in axis):
            return position if frame.solid(axis) in ((frame.channel,), ()) else None
    # The channel axis has size 1 and left no trace: any axis of size 1 is it.
    empty = [i for i, axis in enumerate(layout) if i and not frame.solid(axis)]
    return empty[0] if empty else None


def _permutation(frame: Frame, source: Axes, target: Axes) -> tuple[int, ...] | None:
    """The transpose that takes axes ``source`` to ``target``; None: there is none."""
    if len(source) != len(target):
        return None
    left = list(range(len(source)))
    perm = []
    for axis in target:
        matching = [i for i in left if frame.solid(source[i]) == frame.solid(axis)]
        if not matching:
            return None
        perm.append(matching[0])
        left.remove(matching[0])
    return tuple(perm)


def _other_norm(x: ir.Value, y: ir.Value, channel: int, rank: int) -> str | None:
    """RMS and group norms over the last axis of a rank-3 tensor are FRN but for what follows."""
    if rank != 3 or channel != 1:
        return None
    for user in y.consumers():
        if user.op_type in ("Mul", "Add"):
            return "its scale varies along the axis it averages over: this is RMS normalisation"
        source = x.producer()
        if user.op_type == "Reshape" and source is not None and source.op_type == "Reshape":
            return "it averages over groups of channels: this is group normalisation"
    return None


def _centred(x: ir.Value) -> str | None:
    """Whether x is u - mean(u)."""
    node = _unmoved(x).producer()
    if node is None or node.op_type != "Sub":
        return None
    minuend, mean = (_unmoved(v) for v in node.inputs)
    producer = mean.producer()
    if producer is None or producer.op_type not in ("ReduceMean", "GlobalAveragePool"):
        return None
    if _unmoved(producer.inputs[0]) is not minuend:
        return None
    return "the mean is subtracted first: this is instance, group or layer normalisation"


def _unmoved(value: ir.Value) -> ir.Value:
    node = value.producer()
    while node is not None and node.op_type in _MOVEMENT:
        value = node.inputs[0]
        node = value.producer()
    return value
