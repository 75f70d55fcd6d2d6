"""What has the outline of FRN and left the algebra on the way: named, so that nobody wonders.

The outline is x times, or over, a root of something that reduces a function of x. The algebra of
``form.py`` loses it at a node that it has no rule for, or at a value that is not constant.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import onnx_ir as ir

from frn_onnx.graph.matcher import other_norms
from frn_onnx.graph.matcher.anchor import REDUCTIONS
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.match import Match, Miss
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.matcher.trace import Tracer
from frn_onnx.graph.sites import name_of

# What may stand between the root and x, beside movements and constant factors.
_INVERSES = frozenset({"Reciprocal", "Mul", "Div", "Add", "Max", "Clip", "Pow"})
# Nodes of one outline, at most.
_LARGEST = 64
_INPUT = (
    "{role} is {name!r}, an input of the graph, which the caller may override; make it a constant"
)
_ROUNDED = (
    "the mean square is that of {rounded!r}, which is {x!r} rounded to {dtype}, and {x!r} itself "
    "is divided by its root"
)
_ROLES = {"Mul": "its gamma", "Add": "its beta", "Max": "its tau", "Sub": "its tau"}


class LeftoverFinder:
    """Looks for outlines of FRN that no match and no miss has explained.

    Args:
        constants, shapes, tracer, order: as the matcher has them.
    """

    def __init__(
        self, constants: Constants, shapes: Shapes, tracer: Tracer, order: dict[ir.Node, int]
    ) -> None:
        self._constants = constants
        self._shapes = shapes
        self._tracer = tracer
        self._order = order

    def find(
        self, nodes: Iterable[ir.Node], understood: Mapping[ir.Value, ir.Value]
    ) -> Iterator[Miss]:
        """The outlines in a graph.

        Args:
            nodes: of the graph, in its order.
            understood: the tensors that are a statistic, and what of.
        """
        for node in nodes:
            if not self._is_root(node):
                continue
            behind = self._behind(node.inputs[0])
            if node.op_type == "Exp" and not any(maker.op_type == "Log" for maker in behind):
                continue
            if any(map(_gathers, behind)):
                yield from self._outline(node, behind, understood.get(node.outputs[0]))

    def parameters(self, match: Match) -> Iterator[Miss]:
        """What is left behind a match because its values are not constant."""
        y = match.y
        while (user := _only_user(y)) is not None and user.op_type in _ROLES:
            others = [v for v in user.inputs if v is not None and v is not y]
            if len(others) != 1 or (parameter := self._parameter(others[0])) is None:
                return
            yield Miss((user,), _INPUT.format(role=_ROLES[user.op_type], name=parameter.name))
            y = user.outputs[0]

    def _parameter(self, value: ir.Value) -> ir.Value | None:
        """The input of the graph that gives a value its numbers, if these are one row at most."""
        dims, first = self._shapes.of(value), other_norms.source(value)
        if dims is None or len([dim for dim in dims if dim != 1]) > 1:
            return None
        return first if first.is_graph_input() else None

    def _is_root(self, node: ir.Node) -> bool:
        if node.op_type == "Pow" and node.domain == "" and len(node.inputs) == 2:
            exponent = self._constants.get(node.inputs[1])
            return exponent is not None and exponent.size == 1 and abs(exponent.item()) == 0.5
        return node.op_type in ("Sqrt", "Exp") and node.domain == ""

    def _behind(self, value: ir.Value | None) -> dict[ir.Node, None]:
        """The nodes that compute a value, the nearest first."""
        found: dict[ir.Node, None] = {}
        queue = [value]
        for value in queue:
            node = None if value is None else value.producer()
            if node is None or node in found or self._constants.get(value) is not None:
                continue
            if len(found) == _LARGEST:
                break
            found[node] = None
            queue += node.inputs
        return found

    def _outline(
        self, root: ir.Node, behind: Collection[ir.Node], squared: ir.Value | None
    ) -> Iterator[Miss]:
        """What the root leads to, if that is x.

        Args:
            squared: what the root is a statistic of, where the algebra has followed it: then only
                a parameter behind it, or another x, can have stopped it.
        """
        read = {value for node in behind for value in node.inputs if value is not None}
        path, value = [root], root.outputs[0]
        reason = None
        while (user := _only_user(value)) is not None and len(path) < _LARGEST:
            path.append(user)
            others = [v for v in user.inputs if v is not value and self._constants.get(v) is None]
            if user.op_type in ("Mul", "Div") and others:
                x = next((v for v in other_norms.unmoved(others[0]) if v in read), None)
                parameter = self._parameter(others[0])
                if x is not None and squared is not None:
                    reason = reason or self._rounded(squared, x)
                if x is not None and (reason or squared is None):
                    yield self._miss(x, behind, path, reason)
                if x is not None or parameter is None:
                    return
                reason = _INPUT.format(role=_ROLES["Mul"], name=parameter.name)
            elif user.op_type not in _INVERSES | other_norms.MOVEMENT:
                return
            value = user.outputs[0]

    def _rounded(self, squared: ir.Value, x: ir.Value) -> str | None:
        """Why the mean square is that of another tensor, if it is that of x in another type."""
        dtype = self._shapes.dtype(squared)
        if dtype in (None, self._shapes.dtype(x)) or x not in other_norms.unmoved(squared):
            return None
        return _ROUNDED.format(rounded=squared.name, x=x.name, dtype=dtype.numpy().name)

    def _miss(
        self, x: ir.Value, behind: Collection[ir.Node], path: list[ir.Node], reason: str | None
    ) -> Miss:
        order = sorted(behind, key=self._order.__getitem__)
        # What is computed from x; what x is computed from is no part of it.
        after, known = [], {x}
        for node in order:
            if not known.isdisjoint(node.inputs):
                after.append(node)
                known.update(node.outputs)
        return Miss((*after, *path), reason or self._reason(x, after))

    def _reason(self, x: ir.Value, nodes: list[ir.Node]) -> str:
        for node in nodes:
            for value in node.inputs:
                if value is not None and (parameter := self._parameter(value)) is not None:
                    role = f"an operand of {name_of(node)!r} ({node.op_type})"
                    return _INPUT.format(role=role, name=parameter.name)
        dims = self._shapes.of(x)
        known = {} if dims is None else self._tracer.trace(Frame(dims), x).known
        stop = next((node for node in nodes if node.outputs[0] not in known), nodes[-1])
        return (
            f"x is divided by a root of a mean, but the proof that it is FRN ends at "
            f"{name_of(stop)!r} ({stop.op_type})"
        )


def _gathers(node: ir.Node) -> bool:
    """Whether a node may make one number of many; a GDN layer has a convolution for that."""
    return (
        node.op_type in REDUCTIONS | {"Conv", "Gemm"}
        or node.op_type.startswith("Reduce")
        or node.op_type.endswith("Pool")
    )


def _only_user(value: ir.Value) -> ir.Node | None:
    users = value.consumers()
    return users[0] if len(users) == 1 else None
