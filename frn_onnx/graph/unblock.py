"""Squares that ONNX Runtime moved into the blocked layout of its convolutions.

A file that it optimised as far as it can has, behind a convolution,

    x = ReorderOutput(blocked), square = ReorderOutput(Mul(blocked, blocked))

where FRN is found in ``square = Mul(x, x)``, the same bits.
"""

from collections.abc import Collection, Iterator

import onnx_ir as ir

from frn_onnx.graph.edit import remove_unused, take_over
from frn_onnx.graph.standard import is_standard

NCHWC = "com.microsoft.nchwc"


def squares(model: ir.Model) -> set[str]:
    """The names of these squares."""
    return {square.outputs[0].name for square, _ in _found(model)}


def take_out(model: ir.Model, names: Collection[str]) -> None:
    """Computes the squares of these names from x, in place."""
    for square, x in list(_found(model)):
        if square.outputs[0].name not in names:
            continue
        graph, blocked = square.graph, square.inputs[0]
        node = ir.node("Mul", [x.outputs[0]] * 2, name=square.name)
        graph.remove(x)
        graph.insert_before(square, [x, node])
        take_over(square.outputs[0], node.outputs[0])
        graph.remove(square, safe=True)
        remove_unused(blocked)


def _found(model: ir.Model) -> Iterator[tuple[ir.Node, ir.Node]]:
    """What takes a square out of the blocks, and what does so with x."""
    for node in model.graph.all_nodes():
        if (node.domain, node.op_type) != (NCHWC, "ReorderOutput"):
            continue
        square = node.inputs[0].producer()
        if is_standard(square, "Mul") and square.inputs[0] is square.inputs[1]:
            alike = (user for user in square.inputs[0].consumers() if _alike(user, node))
            if (x := next(alike, None)) is not None:
                yield node, x


def _alike(a: ir.Node, b: ir.Node) -> bool:
    """Whether two nodes do the same in one graph."""
    same = a.op_identifier() == b.op_identifier() and a.graph is b.graph
    return same and {k: v.value for k, v in a.attributes.items()} == {
        k: v.value for k, v in b.attributes.items()
    }
