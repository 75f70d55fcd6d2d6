"""Takes FRN nodes, and what can go along with them, out from between Transposes.

    Transpose(p) -> FRN -> Sigmoid, Mul -> Transpose(inverse of p)

FRN works in any layout: its axes move, its parameters are reshaped, and both Transposes are gone.

==============  ==============================================================
``region``      what hangs together, and which of it is to move
``network``     the minimum cut that tells
``table``       the ops that can be moved
``moves``       how each of them moves: element by element, FRN
``moves_axes``  concatenations, reductions, slices ... that name axes
``rewrite``     the move
``reshapes``    Transposes under another name
==============  ==============================================================
"""

from collections.abc import Iterator, Mapping
from typing import Literal, get_args

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import sites
from frn_onnx.graph.edit import FreeNames
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.perms import Perm, is_identity, transpose_perm
from frn_onnx.graph.standard import BROADCASTING_OPSET
from frn_onnx.graph.transposes import rewrite
from frn_onnx.graph.transposes.moves import Facts
from frn_onnx.graph.transposes.region import Mover, Region

Layout = Literal["auto", "NCHW", "NHWC"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)


def arrange(
    model: ir.Model,
    layout: Layout,
    constants: Constants,
    shapes: Shapes,
    names: FreeNames,
) -> None:
    """Leaves, in place, as few Transposes as can be around the FRN nodes of a model.

    What does not hang together with an FRN node stays as it is, and so does all that would not
    save a Transpose.

    Args:
        model: with FRN nodes whose parameters are constants.
        layout: ``"NCHW"`` or ``"NHWC"``, in which every FRN node then works, whatever it takes:
            channels on axis 1 or on the last one; ``"auto"``: the one that saves most.
        constants, shapes, names: of the model.
    """
    nodes = list(model.graph.all_nodes())
    layers = [node for node in nodes if op.is_frn(node)]
    opset = sites.opset(model)
    if not layers or opset < BROADCASTING_OPSET:
        return

    def facts(perms: dict[ir.Value, Perm]) -> Facts:
        return Facts(constants, shapes, opset, perms)

    def pinned(mover: Mover) -> int | None:
        """The side on which an FRN node has the layout that is asked for."""
        if layout == "auto" or not op.is_frn(mover.node):
            return None
        now = _is_in(layout, mover.node.attributes)
        then = _is_in(layout, mover.move.attributes)
        return None if now == then else mover.side if now else 1 - mover.side

    done: set[tuple[ir.Value, Perm]] = set()
    for node, value, perm in _starts(nodes, layers, layout):
        start = node if op.is_frn(node) else None
        if node.graph is None or (start is None and (value, perm) in done):
            continue
        region = Region(node.graph, facts)
        region.grow(value, perm, start)
        done |= {(v, t.perms[side]) for t in region.uses for v, side in t.sides.items()}
        if any(op.is_frn(node) for node in region.movers):
            rewrite.move(region, region.fewest(pinned), names)


def _starts(
    nodes: list[ir.Node], layers: list[ir.Node], layout: Layout
) -> Iterator[tuple[ir.Node, ir.Value, Perm]]:
    """Where to begin: FRN nodes that have not the layout asked for, and Transposes."""
    for node in layers if layout != "auto" else ():
        axes = sites.axes_of(node.attributes)
        if node.inputs[0] is not None and not _is_in(layout, node.attributes):
            order = [axis for axis in range(len(axes) + 2) if axis != op.channel_axis(axes)]
            order.insert(1 if layout == "NCHW" else len(order), op.channel_axis(axes))
            yield node, node.inputs[0], tuple(order)
    graphs = {node.graph for node in layers}
    for node in nodes:
        if node.graph in graphs and node.op_type == "Transpose" and node.inputs[0] is not None:
            rank = len(node.attributes["perm"].as_ints()) if "perm" in node.attributes else 0
            perm = transpose_perm(node, rank)
            if perm and is_identity(perm):
                rewrite.skip_if_idle(node)
            elif perm:
                yield node, node.inputs[0], perm


def _is_in(layout: Layout, attributes: Mapping[str, ir.Attr]) -> bool:
    axes = sites.axes_of(attributes)
    return op.channel_axis(axes) == (1 if layout == "NCHW" else len(axes) + 1)
