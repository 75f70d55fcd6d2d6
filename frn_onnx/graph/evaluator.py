"""A few nodes, run by ONNX's own reference evaluator."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from frn_onnx import op


class Unsqueeze(OpRun):
    """Of axes counted from either end: ONNX's own counts some from an end that is not there yet."""

    op_domain = ""

    def _run(self, data, axes=None):
        return (np.expand_dims(data, tuple(int(axis) for axis in np.ravel(axes))),)


class Evaluator:
    """Runs nodes of standard ops; a model would have to state the types of its inputs.

    Args:
        nodes: each behind those that it reads from.
        inputs, outputs: names.
        opset: that the nodes are of.
    """

    def __init__(
        self,
        nodes: Sequence[onnx.NodeProto],
        inputs: Sequence[str],
        outputs: Sequence[str],
        opset: int,
    ) -> None:
        imports = [helper.make_opsetid("", opset)]
        function = helper.make_function("nodes", "Nodes", inputs, outputs, nodes, imports)
        self._evaluator = ReferenceEvaluator(function, new_ops=[Unsqueeze])

    def run(self, arrays: Iterable[np.ndarray]) -> list[Any]:
        """What the nodes give for one array for each input; its errors share no base class."""
        feeds = dict(zip(self._evaluator.input_names, arrays, strict=True))
        with np.errstate(all="ignore"):
            return list(self._evaluator.run(None, feeds, attributes={}))


def in_float64(
    nodes: Sequence[ir.Node], inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], opset: int
) -> Evaluator:
    """What runs nodes in float64, whatever float types they are of."""
    names = numbered(nodes, inputs)
    return Evaluator(
        [_widened(node, names) for node in nodes],
        [names[value] for value in inputs],
        [names[value] for value in outputs],
        opset,
    )


def numbered(nodes: Sequence[ir.Node], inputs: Sequence[ir.Value]) -> dict[ir.Value | None, str]:
    """Names of what nodes read and give, the same for the same nodes in another place."""
    names: dict[ir.Value | None, str] = {None: ""}
    names |= {value: f"i{i}" for i, value in enumerate(inputs)}
    return names | {node.outputs[0]: f"v{i}" for i, node in enumerate(nodes)}


def renamed(node: ir.Node, inputs: Iterable[str], outputs: Iterable[str]) -> onnx.NodeProto:
    """A node as a message, with other names for what it reads, "" for nothing, and gives."""
    proto = ir.to_proto(node)
    proto.input[:], proto.output[:] = list(inputs), list(outputs)
    return proto


def wide(array: np.ndarray) -> np.ndarray:
    """Numbers of any float type as float64; bfloat16 is of a kind that NumPy does not know."""
    return array if array.dtype.kind in "biuUSO" else array.astype(np.float64)


def _widened(node: ir.Node, names: dict[ir.Value | None, str]) -> onnx.NodeProto:
    """A node that computes in float64 where it computes in another float type."""
    proto = renamed(node, (names[v] for v in node.inputs), (names[v] for v in node.outputs))
    for attribute in proto.attribute:
        if attribute.name == "to" and attribute.i in op.DTYPES:
            attribute.i = TensorProto.DOUBLE
        if attribute.type == onnx.AttributeProto.TENSOR:
            array = wide(numpy_helper.to_array(attribute.t))
            attribute.t.CopyFrom(numpy_helper.from_array(array))
    if proto.op_type == "ConstantOfShape" and not proto.attribute:
        proto.attribute.append(helper.make_attribute("value", numpy_helper.from_array(np.zeros(1))))
    return proto
