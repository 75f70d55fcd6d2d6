"""The tensors that are FRN of x, and those that only look like it.

A tensor whose form is FRN is FRN, whatever nodes it took to get there. Of several in a row the
last one is taken, up to where something else needs the one before.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.matcher import other_norms
from frn_onnx.graph.matcher.axes import Axes, Frame
from frn_onnx.graph.matcher.constants import LARGEST, Constants
from frn_onnx.graph.matcher.form import MAGNITUDE
from frn_onnx.graph.matcher.shapes import FLOATS, Dims, Shapes
from frn_onnx.graph.matcher.trace import Trace
from frn_onnx.graph.perms import Perm, is_identity


@dataclass(frozen=True)
class Match:
    """One FRN: ``y`` equals the op at ``x`` with these parameters.

    Attributes:
        root: what y is computed from: x before casts and moved axes.
        dims, channel: the sizes of root's axes, as far as they are known, and its channel axis.
        x, y: the tensors.
        axes: the spatial axes of x.
        perm: the transpose that takes x's axes to those of y.
        gamma, beta, tau, epsilon: (C,) in float64; tau may be None.
        cone: the nodes between x and y, in the graph's order.
    """

    root: ir.Value
    dims: Dims
    channel: int
    x: ir.Value
    y: ir.Value
    axes: tuple[int, ...]
    perm: Perm
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


def find(
    trace: Trace, constants: Constants, shapes: Shapes, order: dict[ir.Node, int]
) -> list[Match | Miss]:
    """Every FRN in a trace, and everything that only looks like one."""
    return _Search(trace, constants, shapes, order).run()


class _Search:
    """One search of a trace."""

    def __init__(
        self, trace: Trace, constants: Constants, shapes: Shapes, order: dict[ir.Node, int]
    ) -> None:
        self._trace = trace
        self._constants = constants
        self._shapes = shapes
        self._order = order
        self._likely = {value for value in trace.known if self._is_likely(value)}

    def run(self) -> list[Match | Miss]:
        """See :func:`find`."""
        # By the last node: two FRN of x in a sum are one, in which two chains end.
        found: dict[ir.Node, Match | Miss] = {}
        for value in self._trace.known:
            if value in self._likely and self._likely.isdisjoint(value.producer().inputs):
                one = self._decide([value, *self._private_chain(value)])
                if one is not None:
                    found.setdefault(one.cone[-1], one)
        holding: dict[ir.Node, list[Match]] = {}
        for match in (one for one in found.values() if isinstance(one, Match)):
            for node in match.cone:
                holding.setdefault(node, []).append(match)
        return [
            one for one in found.values() if not isinstance(one, Match) or not _serves(one, holding)
        ]

    def _is_likely(self, value: ir.Value) -> bool:
        """Whether a tensor looks like FRN, with all axes of x, each once."""
        form, frame = self._trace.form(value), self._trace.frame
        if form is None or not form.looks_like_frn:
            return False
        axes = sorted(a for axis in form.axes for a in frame.solid(axis))
        return axes == [a for a in range(frame.rank) if a not in frame.unit]

    def _private_chain(self, value: ir.Value) -> Iterator[ir.Value]:
        """The tensors that follow while nothing else needs the one before."""
        while not value.is_graph_output():
            user = only_user(value)
            if user is None or user.graph is not value.producer().graph:
                return
            value = user.outputs[0]
            if value not in self._likely:
                return
            yield value

    def _decide(self, chain: list[ir.Value]) -> Match | Miss | None:
        """The last tensor of a chain that the op can give, or why none is FRN."""
        first = self._trace.form(chain[0])
        cone = self._cone(chain[0])
        if first.flaw is not None:
            return Miss(cone, first.flaw)
        if first.magnitude:
            return Miss(cone, MAGNITUDE)
        if first.epsilon is None:
            # The op says so by its name, unless it is used as FRN is.
            scaled = any(self._trace.form(value).scale.ndim for value in chain)
            if chain[0].producer().op_type == "LpNormalization" and not scaled:
                return None
            return Miss(cone, "nothing is added to the mean square: this is L2 normalisation")
        for y in reversed(chain):
            cone = self._cone(y)
            x = self._source(y, cone)
            perm = _permutation(self._trace.frame, self._axes(x), self._axes(y))
            exact = perm is not None and is_identity(perm) and self._same_dtype(x, y)
            op_type = y.producer().op_type
            # A Cast back to x's type goes into the op, also from behind a Transpose.
            undone = op_type == "Cast" and self._same_dtype(x, y)
            if op_type in other_norms.MOVEMENT and not exact and not undone:
                # The op would be followed by this very node again.
                continue
            if perm is not None:
                return self._match(x, y, perm, cone)
        return Miss(cone, "its result has axes that are moved in a way that is not a transpose")

    def _axes(self, value: ir.Value) -> Axes:
        return self._trace.form(value).axes

    def _same_dtype(self, a: ir.Value, b: ir.Value) -> bool:
        return self._shapes.dtype(a) == self._shapes.dtype(b)

    def _cone(self, y: ir.Value) -> tuple[ir.Node, ...]:
        """The nodes that compute y from x."""
        nodes: set[ir.Node] = set()
        stack: list[ir.Value | None] = [y]
        while stack:
            value = stack.pop()
            if value is None or value is self._trace.root or value not in self._trace.known:
                continue
            node = value.producer()
            if node not in nodes:
                nodes.add(node)
                stack.extend(node.inputs)
        return tuple(sorted(nodes, key=self._order.__getitem__))

    def _source(self, y: ir.Value, cone: tuple[ir.Node, ...]) -> ir.Value:
        """The tensor that is x, with the type and the axes of y if there is one."""
        candidates = [self._trace.root, *(v for node in cone for v in node.outputs)]
        sources = [v for v in candidates if (form := self._trace.form(v)) and form.is_x]
        return max(
            sources,
            key=lambda x: (
                self._same_dtype(x, y),
                self._trace.frame.same(self._axes(x), self._axes(y)),
            ),
        )

    def _match(
        self, x: ir.Value, y: ir.Value, perm: Perm, cone: tuple[ir.Node, ...]
    ) -> Match | Miss | None:
        """The match; None for what is plainly something else."""
        form, layout = self._trace.form(y), self._axes(x)
        channel = _channel_position(self._trace.frame, layout)
        for value in (self._trace.root, x, y):
            if self._shapes.dtype(value) not in FLOATS:
                return Miss(cone, f"the element type of {value.name!r} is not known to be float")
        if len(layout) not in op.RANKS or channel is None:
            return Miss(cone, f"its input has rank {len(layout)} and is not (batch, channel, ...)")
        arrays = [form.scale, form.offset, form.threshold, form.epsilon]
        per_channel = {array.size for array in arrays if array is not None and array.ndim}
        if not per_channel:
            # Nothing says that the channel axis is that, and not one of tokens or groups.
            last_only = len(layout) == 3 and channel == 1
            if last_only and other_norms.scaled_within(y, self._constants):
                return None
            if (reason := other_norms.grouped(x, y)) is not None:
                return Miss(cone, reason)
        if (reason := other_norms.centred(x)) is not None:
            return Miss(cone, reason)
        counts = (per_channel | {self._trace.frame.channels, form.channels}) - {None}
        if 0 in counts:
            return Miss(cone, f"its input has no channels (axis {channel} of {x.name!r})")
        taken_for_granted = form.channels is not None and not per_channel
        if len(counts) != 1 or taken_for_granted:
            return Miss(cone, f"its number of channels is not known (axis {channel} of {x.name!r})")
        if max(counts) > LARGEST:
            return Miss(
                cone, f"it has {max(counts)} channels; more than {LARGEST} are not looked at"
            )
        with np.errstate(over="ignore", under="ignore"):
            single = form.epsilon.astype(np.float32)
        if np.any((single == 0) & (form.epsilon != 0)) or not np.all(np.isfinite(single)):
            return Miss(
                cone, f"its epsilon, {form.epsilon.max():g}, is {single.max():g} in float32"
            )
        gamma, beta, tau, epsilon = (
            None if array is None else np.broadcast_to(array, tuple(counts)) for array in arrays
        )
        axes = tuple(axis for axis in range(1, len(layout)) if axis != channel)
        frame = self._trace.frame.with_channels(gamma.size)
        return Match(
            root=self._trace.root,
            dims=frame.dims,
            channel=frame.channel,
            x=x,
            y=y,
            axes=axes,
            perm=perm,
            gamma=gamma,
            beta=beta,
            tau=tau,
            epsilon=epsilon,
            cone=cone,
        )


def _serves(match: Match, holding: dict[ir.Node, list[Match]]) -> bool:
    """Whether an FRN is only there for another: JAX computes y twice in where(y > t, y, t).

    Args:
        holding: the matches that each node is part of.
    """
    users = list(match.y.consumers())
    if match.y.is_graph_output() or not users:
        return False
    others = (other for other in holding.get(users[0], ()) if other is not match)
    return any(set(users) <= set(other.cone) for other in others)


def only_user(value: ir.Value) -> ir.Node | None:
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


def _permutation(frame: Frame, source: Axes, target: Axes) -> Perm | None:
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
