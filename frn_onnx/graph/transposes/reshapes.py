"""Reshapes that do what a Transpose does, since all but axes of size 1 keep their order.

tf2onnx writes the Transpose of a 1 x 1 map as such a Reshape, in the middle of FRN.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import onnx_ir as ir

from frn_onnx.graph.edit import remove_unused
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Dims, Shapes
from frn_onnx.graph.perms import Perm, is_identity
from frn_onnx.graph.standard import is_standard


@contextmanager
def as_transposes(nodes: Iterable[ir.Node], constants: Constants, shapes: Shapes) -> Iterator[None]:
    """Makes them Transposes for a while; those that are there unchanged at the end, Reshapes."""
    turned = []
    for node in nodes:
        perm = _perm(node, constants, shapes)
        if perm is not None:
            x, shape = node.inputs
            turned.append((node, x, shapes.of(x), shape, perm))
            node.op_type = "Transpose"
            node.attributes.add(ir.AttrInt64s("perm", perm))
            node.resize_inputs(1)
    # In no graph; keeps a shape, which other Reshapes may share, from being removed as unused.
    holder = ir.node("Hold", [shape for *_, shape, _ in turned])
    try:
        yield
    finally:
        for node, x, dims, shape, perm in turned:
            # What makes x may give it out in another order now.
            same_x = node.graph is not None and node.inputs[0] is x and shapes.of(x) == dims
            if same_x and tuple(node.attributes["perm"].as_ints()) == perm:
                node.op_type = "Reshape"
                del node.attributes["perm"]
                node.resize_inputs(2)
                node.replace_input_with(1, shape)
        holder.resize_inputs(0)
        for *_, shape, _ in turned:
            remove_unused(shape)


def _perm(node: ir.Node, constants: Constants, shapes: Shapes) -> Perm | None:
    if not is_standard(node, "Reshape") or len(node.inputs) != 2:
        return None
    if node.inputs[0] is None or node.attributes.get_int("allowzero", False):
        return None
    before, target = shapes.of(node.inputs[0]), constants.get(node.inputs[1])
    if before is None or target is None or target.size != len(before):
        return None
    after = [before[axis] if size == 0 else int(size) for axis, size in enumerate(target)]
    return _order(before, after)


def _order(before: Dims, after: list[int | str | None]) -> Perm | None:
    """The perm that makes one shape of the other; None where a Reshape does something else."""
    long_before = [axis for axis, size in enumerate(before) if size != 1]
    long_after = [axis for axis, size in enumerate(after) if size != 1]
    if len(long_before) != len(long_after):
        return None
    pairs = [(before[a], after[b]) for a, b in zip(long_before, long_after, strict=True)]
    # -1 stands for what is left, once all others agree.
    if any(b != -1 and (a != b or a is None) for a, b in pairs):
        return None
    source = dict(zip(long_after, long_before, strict=True))
    short = iter(axis for axis, size in enumerate(before) if size == 1)
    perm = tuple(source[axis] if axis in source else next(short) for axis in range(len(after)))
    return None if is_identity(perm) else perm
