"""The nodes that compute a mean or sum of squares, and what is made of it.

The square of a float16 overflows from 256 on, and vanishes below 2e-4. So what FRN, and every other
norm that is written in standard ops, computes between its input and its output stays in float32.
"""

from collections.abc import Sequence

import onnx_ir as ir

from frn_onnx.graph import sites
from frn_onnx.graph.edit import constant

# These square by themselves.
_NORMS = frozenset({"GlobalLpPool", "LpNormalization", "LpPool", "ReduceL2", "ReduceSumSquare"})
_MEANS = frozenset({"AveragePool", "Einsum", "GlobalAveragePool", "ReduceMean", "ReduceSum"})
_MOVES = frozenset(
    {"Cast", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)
_ARITHMETIC = frozenset(
    {"Abs", "Add", "Clip", "Div", "Max", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Sqrt", "Sub"}
    | {"Sum"}
)


def nodes_of(model: ir.Model) -> set[ir.Node]:
    """The nodes from the squares on, to those that bring a statistic and a tensor together."""
    found: set[ir.Node] = set()
    for node in sites.nodes(model):
        if node.domain == "":
            squares = _squares(node)
            if squares is not None:
                found |= {node, *squares}
                _follow(node, found)
    return found


def _squares(node: ir.Node) -> list[ir.Node] | None:
    """The nodes between a tensor and the reduction of its square; None: it reduces no square."""
    if node.op_type in _NORMS:
        return []
    if node.op_type not in _MEANS:
        return None
    if node.op_type == "Einsum":
        return [] if _are_one(node.inputs) else None
    passed = []
    maker = node.inputs[0].producer() if node.inputs[0] is not None else None
    while maker is not None and maker.op_type in _MOVES and maker.domain == "":
        passed.append(maker)
        maker = maker.inputs[0].producer() if maker.inputs[0] is not None else None
    if maker is None or maker.domain != "" or not _is_square(maker):
        return None
    return [*passed, maker]


def _is_square(node: ir.Node) -> bool:
    if node.op_type == "Mul":
        return _are_one(node.inputs)
    if node.op_type == "Pow":
        exponent = constant(node.inputs[1])
        return exponent is not None and exponent.size == 1 and exponent.numpy().item() == 2
    return False


def _are_one(values: Sequence[ir.Value | None]) -> bool:
    """Whether two values are the same tensor, cast at most."""
    roots = set()
    for value in values:
        while value is not None and value.producer() is not None:
            maker = value.producer()
            if maker.op_type not in ("Cast", "Identity"):
                break
            value = maker.inputs[0]
        roots.add(value)
    return len(values) == 2 and len(roots) == 1


def _follow(reduction: ir.Node, found: set[ir.Node]) -> None:
    """Adds what is computed of a reduction alone, and the nodes that use it beside a tensor."""
    statistics, stack = {reduction}, [reduction]
    while stack:
        for output in stack.pop().outputs:
            for user, index in output.uses():
                if user in statistics or user.domain != "":
                    continue
                if user.op_type in _MOVES and index == 0:
                    alone = True
                elif user.op_type in _ARITHMETIC:
                    others = (value for value in user.inputs if value not in (None, output))
                    alone = all(
                        constant(value) is not None or value.producer() in statistics
                        for value in others
                    )
                else:
                    continue
                found.add(user)
                if alone:
                    statistics.add(user)
                    stack.append(user)
