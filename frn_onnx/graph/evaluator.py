"""A few nodes, run by ONNX's own reference evaluator."""

from collections.abc import Sequence

import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator


def evaluator_of(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> ReferenceEvaluator:
    """What runs nodes of standard ops; a model would have to state the types of its inputs.

    To be run with ``attributes={}``, which functions are.
    """
    imports = [helper.make_opsetid("", opset)]
    function = helper.make_function("nodes", "Nodes", inputs, outputs, nodes, imports)
    return ReferenceEvaluator(function)
