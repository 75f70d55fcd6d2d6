"""The marks of an optimised model become FRN nodes again, of the layout that is there."""

from dataclasses import dataclass

import onnx_ir as ir

from frn_onnx import nchwc, op
from frn_onnx.graph.edit import FreeNames, add_initializer, take_over
from frn_onnx.graph.standard import is_standard
from frn_onnx.runtime.blocked import transposed
from frn_onnx.runtime.blocked.errors import LostError
from frn_onnx.runtime.blocked.standins import KEPT, Mark, Standin

VERSION = 1
BLOCKED = "BlockedFrn"
INPUTS: tuple[str, ...] = ("X", "gamma", "beta", "tau", "epsilon", "residual")
_FUSED_CONV = ("com.microsoft", "FusedConv")


def restore(model: ir.Model, marks: list[Mark], block: int, *, transposes: bool) -> int:
    """Puts FRN nodes in the place of what stands for them, in place.

    Args:
        model: as ONNX Runtime's optimiser wrote it.
        marks: of what was given to it.
        block: how many channels are in a block.
        transposes: whether the model had any, which the optimiser may have moved past what stands
            for FRN where that is not blocked.

    Returns:
        How many of them are blocked.

    Raises:
        LostError: marks are not where they were put.
    """
    names = FreeNames(model)
    _unwrap(model.graph, marks)
    blocked = _blocked_values(model.graph)
    found = _find(model.graph, marks)
    lost = []
    for mark in marks:
        place = _place(found, mark)
        if place is None or not _is_sound(place, blocked, transposes):
            lost.append(mark.number)
    if lost:
        raise LostError(lost)
    count = 0
    for mark in marks:
        if mark.shield is not None:
            _take_away(found[mark.shield])
        place = _place(found, mark)  # again: the one before may have changed it
        is_blocked = place.xs[0] in blocked
        y = _put(mark, place, block if is_blocked else 0, names)
        if is_blocked:
            blocked.add(y)
            count += 1
    model.opset_imports[op.DOMAIN] = op.VERSION
    model.opset_imports[op.INTERNAL_DOMAIN] = VERSION
    return count


def _blocked_values(graph: ir.Graph) -> set[ir.Value]:
    """The values that are blocked: what nchwc ops give, and what standard ops make of that."""
    blocked: set[ir.Value] = set()
    for node in graph:
        if node.domain == nchwc.DOMAIN:
            made = node.op_type != "ReorderOutput"
        else:
            made = any(value in blocked for value in node.inputs)
        if made:
            blocked.update(node.outputs)
    return blocked


def _unwrap(graph: ir.Graph, marks: list[Mark]) -> None:
    """Takes away the Reshapes between which blocked tensors of open sizes are added, in place.

    They add tensors of one shape in another, which changes nothing.
    """
    names = {mark.addition for mark in marks} - {None}
    for node in [node for node in graph if node.name in names]:
        makers = [value.producer() for value in node.inputs if value is not None]
        users = node.outputs[0].consumers()
        back = users[0] if len(users) == 1 else None
        if not all(is_standard(other, "Reshape") for other in (*makers, back)):
            continue
        for index, maker in enumerate(makers):
            node.replace_input_with(index, maker.inputs[0])
        take_over(back.outputs[0], node.outputs[0])
        for other in dict.fromkeys((back, *makers)):
            if not other.outputs[0].uses():
                graph.remove(other, safe=True)


def _find(graph: ir.Graph, marks: list[Mark]) -> dict[Standin, ir.Node]:
    """The node that each stand-in is, or has become a part of."""
    standins = [standin for mark in marks for standin in _wanted(mark)]
    by_alpha = {standin.alpha: standin for standin in standins if standin.alpha is not None}
    by_name = {standin.name: standin for standin in standins if standin.alpha is None}
    found: dict[Standin, ir.Node] = {}
    twice: set[Standin] = set()
    for node in graph:
        folded = node.attributes.get_string("activation") == "LeakyRelu"
        if folded and (node.domain, node.op_type) in ((nchwc.DOMAIN, "Conv"), _FUSED_CONV):
            standin = by_alpha.get(node.attributes.get_floats("activation_params")[0])
        elif node.op_type == "LeakyRelu":
            standin = by_alpha.get(node.attributes.get_float("alpha"))
        else:
            standin = by_name.get(node.name) if node.op_type in KEPT else None
        if standin is not None:
            twice |= {standin} & found.keys()
            found[standin] = node
    return {standin: node for standin, node in found.items() if standin not in twice}


def _wanted(mark: Mark) -> set[Standin]:
    return {*mark.standins, *filter(None, [mark.shield])}


@dataclass(frozen=True)
class _Place:
    """Where an FRN node belongs.

    Attributes:
        xs, y: what it reads, and what it gives in place of ``nodes``.
        residual: what it adds.
        nodes: that go; the last one gives y.
        activated: that lose an activation.
    """

    xs: list[ir.Value]
    y: ir.Value
    residual: ir.Value | None
    nodes: list[ir.Node]
    activated: list[ir.Node]


def _place(found: dict[Standin, ir.Node], mark: Mark) -> _Place | None:
    """Where a mark is; None where it is not found, or not as it was put."""
    if not _wanted(mark) <= found.keys():
        return None
    if mark.sums:
        return _place_of_phases([found[standin] for standin in mark.standins], mark)
    node, residual, nodes = found[mark.standins[0]], None, []
    y = node.outputs[0]
    folded = "activation" in node.attributes
    x = y if folded else node.inputs[0]
    if not folded:
        nodes.append(node)
    for name in filter(None, (mark.addition, mark.threshold)):
        users = y.consumers()
        if len(users) != 1 or users[0].name != name or y.is_graph_output():
            return None  # it was put into another node
        if name == mark.addition:
            (residual,) = [value for value in users[0].inputs if value is not y]
        nodes.append(users[0])
        y = users[0].outputs[0]
    return _Place([x], y, residual, nodes, [node] if folded else [])


def _is_sound(place: _Place, blocked: set[ir.Value], transposes: bool) -> bool:
    """Whether what is read is as it was put, and of one layout."""
    is_blocked = [x in blocked for x in place.xs]
    if place.residual is not None:
        is_blocked.append(place.residual in blocked)
    if len(set(is_blocked)) > 1:
        return False
    return is_blocked[0] or bool(place.activated) or not transposes


def _place_of_phases(convs: list[ir.Node], mark: Mark) -> _Place | None:
    """Of four blocked convolutions, whose sum is made larger."""
    if any(conv.domain != nchwc.DOMAIN or "activation" not in conv.attributes for conv in convs):
        return None
    a, b, c, d = xs = [conv.outputs[0] for conv in convs]
    left, right = _sum(a, b, mark.sums[0]), _sum(c, d, mark.sums[1])
    if left is None or right is None:
        return None
    whole = _sum(left.outputs[0], right.outputs[0], mark.sums[2])
    users = [] if whole is None else whole.outputs[0].consumers()
    if len(users) != 1 or (users[0].domain, users[0].op_type) != (nchwc.DOMAIN, "Upsample"):
        return None
    return _Place(xs, users[0].outputs[0], None, [left, right, whole, users[0]], convs)


def _sum(a: ir.Value, b: ir.Value, name: str) -> ir.Node | None:
    """The Add of that name that alone reads two values."""
    users = [*a.consumers(), *b.consumers()]
    both = len(users) == 2 and users[0] is users[1]
    return users[0] if both and users[0].name == name else None


def _put(mark: Mark, place: _Place, block: int, names: FreeNames) -> ir.Value:
    """Puts the FRN node in its place; block 0 for one that is not blocked. Returns its output."""
    graph = place.y.producer().graph
    given = {
        name: add_initializer(graph, names.free(f"{mark.name}/{name}"), array)
        for name, array in mark.parameters.items()
    }
    given |= dict(zip(transposed.INPUTS if mark.sums else INPUTS, place.xs, strict=False))
    if place.residual is not None:
        given["residual"] = place.residual
    if mark.sums:
        domain, op_type, order = op.INTERNAL_DOMAIN, transposed.INTERLEAVING, transposed.INPUTS
        layout = ir.AttrInt64("block", block)
    elif block:
        domain, op_type, order = op.INTERNAL_DOMAIN, BLOCKED, INPUTS
        layout = ir.AttrInt64("block", block)
    else:
        domain, op_type = op.DOMAIN, op.RESIDUAL_OP_TYPE if place.residual else op.OP_TYPE
        order, layout = op.SIGNATURES[op_type], ir.AttrInt64s("axes", (2, 3))
    node = ir.Node(
        domain,
        op_type,
        [given.get(name) for name in order],
        [ir.AttrFloat32("epsilon", mark.epsilon), layout],
        name=mark.name,
    )
    graph.insert_after((place.nodes or place.activated)[-1], [node])
    take_over(place.y, node.outputs[0])
    if place.xs[0] is place.y:
        node.replace_input_with(0, place.y)  # take_over made it read what it gives
        place.y.name = names.free(f"{mark.name}_input")
    for conv in place.activated:
        _strip(conv)
    for old in reversed(place.nodes):
        old.graph.remove(old, safe=True)
    return node.outputs[0]


def _take_away(standin: ir.Node) -> None:
    """Takes an activation out of the graph, or off its Conv."""
    if "activation" in standin.attributes:
        _strip(standin)
        return
    standin.outputs[0].replace_all_uses_with(standin.inputs[0])
    standin.graph.remove(standin, safe=True)


def _strip(conv: ir.Node) -> None:
    """Takes the activation off a Conv."""
    del conv.attributes["activation"], conv.attributes["activation_params"]
    if (conv.domain, conv.op_type) == _FUSED_CONV:
        conv.domain, conv.op_type = "", "Conv"
