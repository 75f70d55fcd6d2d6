"""A portable file with one FRN node, as a session sees it."""

from dataclasses import dataclass

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op, op_body, reference

EPSILON = float(np.float32(0.1))


@dataclass(frozen=True)
class Case:
    """A model, an input for it, and what it must give, in float64."""

    model: onnx.ModelProto
    x: np.ndarray
    params: list[np.ndarray]
    epsilon: float
    expected: np.ndarray


@pytest.fixture
def case(rng) -> Case:
    x = (rng.normal(size=(2, 3, 5, 7)) * 3 - 1).astype(np.float32)
    params = [rng.normal(size=(3, 1, 1)).astype(np.float32) for _ in range(3)]
    names = op.INPUTS[:4]
    types = {TensorProto.FLOAT}
    dims = ["N", "C", "H", "W"]
    graph = helper.make_graph(
        [op.node(names, "Y", axes=(2, 3), epsilon=EPSILON, name="frn")],
        "one_frn",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, dims)],
        [numpy_helper.from_array(p, n) for p, n in zip(params, names[1:], strict=True)],
    )
    model = helper.make_model(
        graph,
        functions=[op_body.function_proto(opset=17, inputs=4, x_types=types, param_types=types)],
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(op.DOMAIN, op.VERSION)],
        ir_version=op.FUNCTION_IR_VERSION,
    )
    return Case(model, x, params, EPSILON, reference.frn(x, *params, epsilon=EPSILON, axes=(2, 3)))
