"""FRN reads and writes every element anyway: it does the work of a Reorder beside it, too."""

import onnx_ir as ir

from frn_onnx import nchwc, op
from frn_onnx.graph.edit import constant, take_over
from frn_onnx.runtime.blocked.restore import BLOCKED, INPUTS

REORDERING = "ReorderingFrn"


def take_over_reorders(graph: ir.Graph, block: int) -> tuple[int, int]:
    """Lets FRN nodes that alone feed a Reorder write what it would give, in place.

    Returns:
        How many blocked ones write planes now, and how many others write blocks.
    """
    gone = {"from_blocked": 0, "to_blocked": 0}
    for node in list(graph):
        y = node.outputs[0]
        users = list(dict.fromkeys(y.consumers()))
        if len(users) != 1 or y.is_graph_output() or users[0].domain != nchwc.DOMAIN:
            continue
        if users[0].attributes.get_int("channels_last", 0):
            continue
        kind = (node.domain, node.op_type, users[0].op_type)
        if kind == (op.INTERNAL_DOMAIN, BLOCKED, "ReorderOutput"):
            given = dict(zip(INPUTS, node.inputs, strict=False))
            direction = "from_blocked"
        elif op.is_frn(node) and kind[2] == "ReorderInput" and _is_nchw(node):
            given = dict(zip(op.SIGNATURES[node.op_type], node.inputs, strict=False))
            direction = "to_blocked"
        else:
            continue
        if given.get("residual") is not None:
            continue  # it would have to be reordered as well
        if not _are_constant(given):
            continue
        _replace(node, users[0], given, direction, block)
        gone[direction] += 1
    return gone["from_blocked"], gone["to_blocked"]


def _is_nchw(frn: ir.Node) -> bool:
    return op.normalize_axes(frn.attributes["axes"].as_ints()) == (2, 3)


def _are_constant(given: dict[str, ir.Value | None]) -> bool:
    """Whether all parameters are constants that the blocked ops take."""
    tensors = [constant(v) for name, v in given.items() if name != "X" and v is not None]
    return all(t is not None and t.dtype == ir.DataType.FLOAT for t in tensors)


def _replace(
    frn: ir.Node, reorder: ir.Node, given: dict[str, ir.Value | None], direction: str, block: int
) -> None:
    channels = constant(given["gamma"]).size
    attributes = [
        ir.AttrFloat32("epsilon", frn.attributes.get_float("epsilon", op.DEFAULT_EPSILON)),
        ir.AttrInt64("block", block),
        ir.AttrInt64("channels", channels),
        ir.AttrInt64("from_blocked", direction == "from_blocked"),
        ir.AttrInt64("to_blocked", direction == "to_blocked"),
    ]
    node = ir.Node(
        op.INTERNAL_DOMAIN,
        REORDERING,
        [given.get(name) for name in INPUTS],
        attributes,
        name=frn.name,
    )
    frn.graph.insert_after(reorder, [node])
    take_over(reorder.outputs[0], node.outputs[0])
    for old in (reorder, frn):
        old.graph.remove(old, safe=True)
