"""Graphs of FRN nodes between Transposes, made by hand, and what the engine makes of them."""

import export_cases
import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op
from frn_onnx.graph import lower
from frn_onnx.graph.edit import FreeNames
from frn_onnx.graph.forms import set_form
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.transposes import arrange


def model_of(nodes, initializers, inputs, outputs, opset=18):
    """A canonical model; inputs and outputs are names with shapes."""
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT if s else TensorProto.BOOL, s)
            for n, s in inputs.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    versions = {node.domain: 1 for node in nodes} | {"": opset, op.DOMAIN: op.VERSION}
    imports = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    model = ir.from_proto(helper.make_model(graph, opset_imports=imports, ir_version=8))
    set_form(model, "custom")
    return ir.to_proto(model)


def arranged(model, layout="auto"):
    result = ir.from_proto(model)
    values = [value for node in result.graph.all_nodes() for value in node.outputs]
    arrange(result, layout, Constants(result), Shapes(result, values), FreeNames(result))
    return ir.to_proto(result)


def transposes(model):
    """Transposes in the model, those in subgraphs included."""
    return sum(n.op_type == "Transpose" for n in ir.from_proto(model).graph.all_nodes())


def transpose(x, y, perm):
    return helper.make_node("Transpose", [x], [y], y, perm=perm)


def parameters(rng, axes, channels, count=3, prefix=""):
    """Distinct gamma, beta, tau and epsilon, by name."""
    shape = op.param_shape(axes, channels)
    values = {
        prefix + name: rng.normal(size=shape).astype(np.float32)
        for name in op.INPUTS[1 : 1 + count]
    }
    return {n: np.abs(v) + 0.1 if n.endswith("epsilon") else v for n, v in values.items()}


def run(model, feeds):
    return export_cases.run(lower(model, "portable"), feeds)


def nhwc_block(weights, more=(), tail="Neg"):
    """Between two Transposes: FRN, and what else reads it."""
    return [
        transpose("x", "t", (0, 2, 3, 1)),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        *more,
        transpose("f", "u", (0, 3, 1, 2)),
        helper.make_node(tail, ["u"], ["y"], "y"),
    ]
