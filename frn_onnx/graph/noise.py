"""Random nodes, made to draw the same numbers in two models.

A node with a seed draws the same sequence in every new session of ONNX Runtime. Two models that
hold the same random nodes are given the same seeds, other ones for each node, and a new session for
each run. Nodes are the same if the outputs have the same names in both, or the same operators come
in the same order.
"""

from collections.abc import Sequence

import onnx_ir as ir

from frn_onnx.graph import functions, sites
from frn_onnx.graph.standard import RANDOM, is_standard

# Dropout has a seed, and an input that says whether it is training, from opset 12 on.
_TRAINING_MODE = 2

Key = tuple[str, str]
"""What tells a random node from another: operator and name of its output."""


def keys(model: ir.Model) -> list[Key]:
    """One for each random node, in functions and subgraphs too, in the order of the file."""
    if not any(map(_is_random, sites.nodes(model))):
        return []
    return [(node.op_type, node.outputs[0].name or "") for node in _nodes(_inlined(model))]


def seeded(model: ir.Model, seeds: Sequence[int]) -> ir.Model:
    """A copy in which the random nodes, in the order of :func:`keys`, have these seeds."""
    copy = _inlined(model)
    for node, seed in zip(_nodes(copy), seeds, strict=True):
        kind = ir.AttrInt64 if node.op_type == "Dropout" else ir.AttrFloat32
        node.attributes["seed"] = kind("seed", seed)
    return copy


def seeds(a: Sequence[Key], b: Sequence[Key]) -> tuple[list[int], list[int]] | None:
    """Seeds for the nodes of two models, the same for the same; None if they have others."""
    if sorted(a) == sorted(b) and len(set(a)) == len(a):
        number = {key: 1 + i for i, key in enumerate(a)}
        return [number[key] for key in a], [number[key] for key in b]
    if [op_type for op_type, _ in a] == [op_type for op_type, _ in b]:
        return list(range(1, 1 + len(a))), list(range(1, 1 + len(b)))
    return None


def _inlined(model: ir.Model) -> ir.Model:
    """A copy without the functions that draw: each call is to draw for itself."""
    drawing = {
        name
        for name, function in model.functions.items()
        if any(map(_is_random, function.all_nodes()))
    }
    copy = model.clone()
    functions.inline(copy, drawing)
    return copy


def _nodes(model: ir.Model) -> list[ir.Node]:
    return [node for node in model.graph.all_nodes() if _is_random(node)]


def _is_random(node: ir.Node) -> bool:
    training = len(node.inputs) > _TRAINING_MODE and node.inputs[_TRAINING_MODE] is not None
    return is_standard(node, *RANDOM) or (is_standard(node, "Dropout") and training)
