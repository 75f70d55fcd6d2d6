"""Where to look: the reductions of a graph, and the tensor x that each may be a statistic of.

A matcher that looked at every node would find nothing cheaply. Every FRN holds one reduction, so
the search starts there and walks back, over squares, casts, transposes and constant factors, to the
tensors that x may be. Whether one of them is x is proved later (``match.py``).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Shapes, cast_to, is_wider
from frn_onnx.graph.standard import is_standard

# Sums of products of two tensors.
_CONTRACTIONS = frozenset({"Einsum", "MatMul"})
# Norms: what they give is as large as what they reduce.
_NORMS = frozenset({"LpNormalization", "RMSNormalization"})
_POOLS = frozenset({"AveragePool", "GlobalAveragePool", "GlobalLpPool", "LpPool"})
REDUCTIONS = (
    _CONTRACTIONS
    | _NORMS
    | _POOLS
    | {"ReduceL1", "ReduceL2", "ReduceMean", "ReduceSum", "ReduceSumSquare"}
)
_MOVES = frozenset({"Identity", "Transpose", "Cast", "Abs"})
_RESHAPES = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand", "Slice", "Tile"})
_ARITHMETIC = frozenset({"Mul", "Div", "Add", "Sub", "Neg", "Pow", "Max"})
_ANY = _MOVES | _RESHAPES | _ARITHMETIC
_LONGEST = 64


@dataclass(frozen=True)
class Anchor:
    """A reduction, and the tensors it may reduce the square of, the likeliest first.

    Attributes:
        node: the reduction.
        roots: candidates for x.
    """

    node: ir.Node
    roots: tuple[ir.Value, ...]


class AnchorFinder:
    """Walks back from a reduction."""

    def __init__(self, constants: Constants, shapes: Shapes) -> None:
        self._constants = constants
        self._shapes = shapes

    def anchor(self, node: ir.Node) -> Anchor | None:
        """The anchor at ``node``, or None where it reduces no tensor of a model's data."""
        if node.op_type in _CONTRACTIONS:
            # Nearly all of them are layers with weights.
            start = self._common(node)
        else:
            start = self._squared_behind(node.inputs[0])
        if start is None:
            return None
        roots = (
            self._furthest(start, _MOVES | _RESHAPES),
            self._furthest(start, _MOVES),
            start,
            self._furthest(start, _ANY),
        )
        # What is constant is a parameter, whatever is computed of it.
        varying = [root for root in dict.fromkeys(roots) if self._constants.get(root) is None]
        return Anchor(node, tuple(varying)) if varying else None

    def _squared_behind(self, reduced: ir.Value) -> ir.Value:
        """What was squared to give a tensor; the tensor itself where nothing was."""
        squares = (self._square(value) for value in self._chain(reduced))
        return next((base for base in squares if base is not None), reduced)

    def _square(self, value: ir.Value) -> ir.Value | None:
        """v for v * v and v ** 2."""
        node = value.producer()
        if is_standard(node, "Pow"):
            return node.inputs[0] if self._constants.number(node.inputs[1]) == 2 else None
        return self._common(node) if is_standard(node, "Mul") else None

    def _common(self, node: ir.Node) -> ir.Value | None:
        """The tensor that both inputs of a node come from."""
        if len(node.inputs) != 2 or None in node.inputs:
            return None
        first = set(self._chain(node.inputs[0]))
        return next((v for v in self._chain(node.inputs[1]) if v in first), None)

    def _chain(self, value: ir.Value, through: frozenset[str] = _ANY) -> Iterator[ir.Value]:
        """The value, and what it was moved and scaled from."""
        behind: ir.Value | None = value
        for _ in range(_LONGEST + 1):
            if behind is None:
                return
            yield behind
            behind = self._behind(behind, through)

    def _furthest(self, value: ir.Value, through: frozenset[str]) -> ir.Value:
        """The last value of a chain, and of those the first that a cast has narrowed.

        What a narrowing cast lost, x never had; behind the square it is only rounding.
        """
        chain = list(self._chain(value, through))
        return next(filter(self._narrows, chain), chain[-1])

    def _behind(self, value: ir.Value, through: frozenset[str]) -> ir.Value | None:
        """The input that a node moves, or scales by a constant, to give ``value``."""
        node = value.producer()
        if not is_standard(node):
            return None
        if node.op_type in REDUCTIONS - _NORMS:
            # A mean over H of a mean over W.
            return node.inputs[0] if through >= _ARITHMETIC else None
        if node.op_type not in through:
            return None
        if node.op_type in _ARITHMETIC and len(node.inputs) == 2:
            known = [self._constants.get(v) is not None for v in node.inputs]
            if known == [False, True] or (known == [True, False] and node.op_type != "Pow"):
                return node.inputs[known.index(False)]
            return None
        return node.inputs[0]

    def _narrows(self, value: ir.Value) -> bool:
        """Whether ``value`` is a cast to a type that cannot hold all values of its input."""
        node = value.producer()
        if not is_standard(node, "Cast"):
            return False
        source = self._shapes.dtype(node.inputs[0])
        target = cast_to(node)
        return source != target and not is_wider(target, source)
