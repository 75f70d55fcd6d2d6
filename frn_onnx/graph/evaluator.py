"""A few nodes, run by ONNX's own reference evaluator."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun


class Unsqueeze(OpRun):
    """Of axes counted from either end: ONNX's own counts some from an end that is not there yet."""

    op_domain = ""

    def _run(self, data, axes=None):
        return (np.expand_dims(data, tuple(int(axis) for axis in np.ravel(axes))),)


def evaluator_of(
    nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> ReferenceEvaluator:
    """What runs nodes of standard ops; a model would have to state the types of its inputs.

    To be run with ``attributes={}``, which functions are.
    """
    imports = [helper.make_opsetid("", opset)]
    function = helper.make_function("nodes", "Nodes", inputs, outputs, nodes, imports)
    return ReferenceEvaluator(function, new_ops=[Unsqueeze])


def wide(array: np.ndarray) -> np.ndarray:
    """Numbers of any float type as float64; bfloat16 is of a kind that NumPy does not know."""
    return array if array.dtype.kind in "biuUSO" else array.astype(np.float64)
