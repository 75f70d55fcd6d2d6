"""Squares that ONNX Runtime moved into the blocked layout of its convolutions.

A file that it optimised as far as it can has, behind a convolution,

    x = ReorderOutput(blocked), square = ReorderOutput(Mul(blocked, blocked))

where FRN is found in ``square = Mul(x, x)``, the same bits; transposed, where one comes out of the
blocks as NHWC and the other as NCHW.
"""

from collections.abc import Collection, Iterator
from typing import Any

import onnx_ir as ir

from frn_onnx import nchwc
from frn_onnx.graph.edit import FreeNames, remove_unused, take_over
from frn_onnx.graph.standard import is_standard

# By whether the channels are last in x, and in the square.
_PERMS = {(True, False): (0, 3, 1, 2), (False, True): (0, 2, 3, 1)}


def squares(model: ir.Model) -> set[str]:
    """The names of these squares."""
    return {square.outputs[0].name for square, _ in _found(model)}


def take_out(model: ir.Model, names: Collection[str]) -> None:
    """Computes the squares of these names from x, in place."""
    free = FreeNames(model)
    for square, x in list(_found(model)):
        y = square.outputs[0]
        if y.name not in names:
            continue
        graph, blocked = square.graph, square.inputs[0]
        made = [ir.node("Mul", [x.outputs[0]] * 2, name=square.name)]
        if perm := _PERMS.get((is_channels_last(x), is_channels_last(square))):
            product = made[0].outputs[0]
            product.name = free.free(f"{y.name}/Mul")
            name = free.free(f"{y.name}/Transpose")
            made.append(ir.node("Transpose", [product], {"perm": perm}, name=name))
        graph.remove(x)
        graph.insert_before(square, [x, *made])
        take_over(y, made[-1].outputs[0])
        graph.remove(square, safe=True)
        remove_unused(blocked)


def _found(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Node]]:
    """What takes a square out of the blocks, and what does so with x."""
    for node in model.graph.all_nodes():
        if not _takes_out(node):
            continue
        square = node.inputs[0].producer()
        if is_standard(square, "Mul") and square.inputs[0] is square.inputs[1]:
            others = (user for user in square.inputs[0].consumers() if _takes_out(user))
            alike = (x for x in others if channels(x) == channels(node))
            if (x := next((x for x in alike if x.graph is node.graph), None)) is not None:
                yield node, x


def is_reorder_output(node: ir.Node) -> bool:
    """Whether a node takes a tensor out of the blocks."""
    return (node.domain, node.op_type) == (nchwc.DOMAIN, "ReorderOutput")


def channels(node: ir.Node) -> int | None:
    """How many channels such a node gives; None where it does not say."""
    given = _attribute(node, "channels")
    return given if isinstance(given, int) and given > 0 else None


def is_channels_last(node: ir.Node) -> bool:
    """Whether such a node gives NHWC, in place of NCHW."""
    return bool(_attribute(node, "channels_last"))


def _takes_out(node: ir.Node) -> bool:
    return is_reorder_output(node) and len(node.inputs) == 1 and node.inputs[0] is not None


def _attribute(node: ir.Node, name: str) -> Any:
    """The value of an attribute, of which nobody has checked the type; None for none."""
    attribute = node.attributes.get(name)
    return None if attribute is None else attribute.value
