"""The part of a graph that computes one tensor from another, cut out to be run on its own."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher.constants import Constants


@dataclass(frozen=True)
class Cut:
    """What computes ``y`` from ``root``.

    Attributes:
        nodes: in the graph's order.
        inputs: what has to be fed: root, and tensors of which only the shape is read, such as the
            model's input.
        constants: the values of the constants that the nodes read.
    """

    nodes: tuple[ir.Node, ...]
    inputs: tuple[ir.Value, ...]
    constants: dict[ir.Value, np.ndarray]


def cut(
    y: ir.Value,
    root: ir.Value,
    computed: Collection[ir.Node],
    constants: Constants,
    order: dict[ir.Node, int],
) -> Cut:
    """Cuts out the nodes between two tensors.

    Args:
        y, root: the tensors.
        computed: the nodes that compute with the elements of ``root``. What they read beside them
            is constant, or shape arithmetic on other tensors.
        constants: of the graph.
        order: the place of each node in the graph's order.
    """
    nodes: dict[ir.Node, None] = {}
    inputs: dict[ir.Value, None] = {root: None}
    found: dict[ir.Value, np.ndarray] = {}
    measured: list[ir.Value] = []
    stack = [y]
    while stack:
        value = stack.pop()
        node = value.producer()
        if value in inputs or value in found or node in nodes:
            continue
        array = constants.get(value)
        if array is not None:
            found[value] = array
        elif node is None:
            inputs[value] = None
        else:
            nodes[node] = None
            for argument in node.inputs:
                if argument is None:
                    continue
                if node.op_type == "Shape" and argument.producer() not in computed:
                    measured.append(argument)
                else:
                    stack.append(argument)
    # One that is computed here has elements that are read, too.
    inputs |= {v: None for v in measured if v not in found and v.producer() not in nodes}
    # Nodes that replaced another share its place; they were come upon from the last one on.
    in_order = list(nodes)[::-1]
    in_order.sort(key=order.__getitem__)
    return Cut(tuple(in_order), tuple(inputs), found)
