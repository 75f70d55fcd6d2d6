"""What has the outline of FRN and left the algebra on the way: named, so that nobody wonders.

The outline is x times, or over, a root of something that reduces a function of x. The algebra of
``form.py`` loses it at a node that it has no rule for, or at a value that is not constant.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping

import onnx_ir as ir

from frn_onnx import nchwc
from frn_onnx.graph.matcher import other_norms
from frn_onnx.graph.matcher.anchor import REDUCTIONS
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.match import Match, Miss, only_user
from frn_onnx.graph.matcher.shapes import Shapes, cast_to
from frn_onnx.graph.matcher.trace import Tracer
from frn_onnx.graph.sites import name_of
from frn_onnx.graph.standard import is_standard

# Where the root meets x, and what may stand between, beside movements: constant factors and terms,
# and the rounding of quantised files.
_MEETINGS = frozenset({"Mul", "Div", "QLinearMul"})
_PASSED = _MEETINGS | {"Reciprocal", "Add", "Sub", "Neg", "Max", "Clip", "Pow"}
_PASSED |= {"QuantizeLinear", "DequantizeLinear", "QLinearAdd"}
# Nodes of one outline, at most.
_LARGEST = 64
_INPUT = (
    "{role} is {name!r}, an input of the graph, which the caller may override; make it a constant"
)
_CARRIED = (
    "{role} is {name!r}, an input of the body of a Loop or Scan, which may be another one in every "
    "turn; make it a constant"
)
_ROUNDED = (
    "the mean square is that of {rounded!r}, which is {x!r} rounded to {dtype}, and {x!r} itself "
    "is divided by its root"
)
_ROUNDED_TWICE = (
    "the mean square is that of {rounded!r}, which is {x!r} rounded to {dtype}, and what is "
    "divided by its root is {x!r} rounded by another Cast; merge the two, as onnxsim does"
)
_BLOCKED = (
    "a part of it is in the blocked layout of ONNX Runtime's convolutions; fuse the file that it "
    "was made from, or one that is optimised up to ORT_ENABLE_EXTENDED"
)
_ROLES = {"Mul": "its gamma", "Add": "its beta", "Max": "its tau", "Sub": "its tau"}
_ROLES |= {"Clip": "its tau", "Where": "its tau"}


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
        while (user := _user(y)) is not None and user.op_type in _ROLES:
            if (parameter := self._first_parameter(user.inputs)) is None:
                return
            yield Miss((user,), self._given(_ROLES[user.op_type], parameter))
            y = user.outputs[0]

    def _first_parameter(self, values: Iterable[ir.Value | None]) -> ir.Value | None:
        parameters = (self._parameter(value) for value in values if value is not None)
        return next((each for each in parameters if each is not None), None)

    def _parameter(self, value: ir.Value) -> ir.Value | None:
        """The input of the graph that gives a value its numbers, if these are one row at most."""
        dims, first = self._shapes.of(value), other_norms.source(value)
        if dims is None or len([dim for dim in dims if dim != 1]) > 1:
            return None
        return first if first.is_graph_input() else None

    def _is_root(self, node: ir.Node) -> bool:
        if not is_standard(node, "Pow") or len(node.inputs) != 2:
            return is_standard(node, "Sqrt", "Exp")
        if self._constants.get(node.inputs[1]) is None:
            return self._first_parameter(node.inputs[1:]) is not None
        return self._constants.number(node.inputs[1]) in (0.5, -0.5)

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
        while (user := _user(value)) is not None and len(path) < _LARGEST:
            path.append(user)
            others = [v for v in user.inputs if v is not value and self._constants.get(v) is None]
            if user.op_type in _MEETINGS and others:
                parameter = self._parameter(others[0])
                if (found := self._unscaled(others[0], read)) is not None:
                    x, passed = found
                    after = _computed_from(x, sorted(behind, key=self._order.__getitem__))
                    reason = reason or _blocked([*after, *passed])
                    reason = reason or self._rounded(squared, x, passed)
                    reason = reason or self._overridable([*after, root, *passed])
                    if squared is None:
                        reason = reason or self._end(x, after) or _ended(after[-1])
                    elif squared is x:
                        reason = reason or self._end(x, [*path[:-1], *passed[::-1]])
                    if reason:
                        yield Miss((*after, *path), reason)
                if found is not None or parameter is None:
                    return
                reason = self._given(_ROLES["Mul"], parameter)
            elif user.op_type not in _PASSED | other_norms.MOVEMENT:
                return
            value = user.outputs[0]

    def _unscaled(
        self, value: ir.Value, read: Collection[ir.Value]
    ) -> tuple[ir.Value, list[ir.Node]] | None:
        """The tensor in ``read`` that a value is, moved and scaled, and the nodes that do that."""
        passed: list[ir.Node] = []
        while value not in read:
            node = value.producer()
            if node is None or len(passed) == _LARGEST:
                return None
            varying = [v for v in node.inputs if v is not None and not self._is_parameter(v)]
            if node.op_type in other_norms.MOVEMENT:
                varying = varying[:1]
            elif node.op_type not in _PASSED and node.domain != nchwc.DOMAIN:
                return None
            if len(varying) != 1:
                return None
            passed.append(node)
            value = varying[0]
        return value, passed

    def _is_parameter(self, value: ir.Value) -> bool:
        return self._constants.get(value) is not None or self._parameter(value) is not None

    def _rounded(
        self, squared: ir.Value | None, x: ir.Value, passed: Iterable[ir.Node]
    ) -> str | None:
        """Why the mean square is that of another tensor, if it is that of x in another type."""
        if squared is None or x not in other_norms.unmoved(squared):
            return None
        dtype = self._shapes.dtype(squared)
        if dtype in (None, self._shapes.dtype(x)):
            return None
        twice = any(cast_to(node) == dtype for node in passed)
        text = _ROUNDED_TWICE if twice else _ROUNDED
        return text.format(rounded=squared.name, x=x.name, dtype=dtype.numpy().name)

    def _overridable(self, nodes: Iterable[ir.Node]) -> str | None:
        """Why nothing is proved, if it is that one of these nodes reads what may be overridden."""
        for node in nodes:
            if (parameter := self._first_parameter(node.inputs)) is not None:
                role = f"an operand of {name_of(node)!r} ({node.op_type})"
                return self._given(role, parameter)
        return None

    def _given(self, role: str, parameter: ir.Value) -> str:
        text = _INPUT if parameter in self._constants.inputs else _CARRIED
        return text.format(role=role, name=parameter.name)

    def _end(self, x: ir.Value, nodes: Iterable[ir.Node]) -> str | None:
        """Where the proof ends among nodes that are computed from x, if it does."""
        dims = self._shapes.of(x)
        known = {} if dims is None else self._tracer.trace(Frame(dims), x).known
        ends = (_ended(node) for node in nodes if node.outputs[0] not in known)
        return next(ends, None)


def _user(value: ir.Value) -> ir.Node | None:
    """The node that alone computes with a value; JAX asks for the shape of most."""
    users = [user for user in value.consumers() if user.op_type != "Shape"]
    return users[0] if len(users) == 1 else only_user(value)


def _blocked(nodes: Iterable[ir.Node]) -> str | None:
    """Why nothing is proved, if ONNX Runtime has squared or scaled x in blocks of channels."""
    return _BLOCKED if any(node.domain == nchwc.DOMAIN for node in nodes) else None


def _ended(node: ir.Node) -> str:
    return (
        "x is divided by a root of a mean, but the proof that it is FRN ends at "
        f"{name_of(node)!r} ({node.op_type})"
    )


def _computed_from(x: ir.Value, nodes: Iterable[ir.Node]) -> list[ir.Node]:
    """Those of some nodes, in the graph's order, that are computed from x."""
    found, known = [], {x}
    for node in nodes:
        if not known.isdisjoint(node.inputs):
            found.append(node)
            known.update(node.outputs)
    return found


def _gathers(node: ir.Node) -> bool:
    """Whether a node may make one number of many; a GDN layer has a convolution for that."""
    return (
        node.op_type in REDUCTIONS | {"Conv", "Gemm"}
        or node.op_type.startswith("Reduce")
        or node.op_type.endswith("Pool")
    )
