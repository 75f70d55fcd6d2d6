"""A provider that compiles whole graphs gets a portable file's body, not our kernel."""

PREPARE = """
import sys
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
import frn_onnx
import frn_onnx.runtime.library
import onnxruntime as ort
from frn_onnx import op, op_body, reference

rng = np.random.default_rng(0)
x = rng.normal(1, 2, size=(1, 4, 6, 5)).astype(np.float32)
params = [rng.normal(size=(4, 1, 1)).astype(np.float32) for _ in range(3)]
names = op.INPUTS[:4]
types = {TensorProto.FLOAT}
graph = helper.make_graph(
    [op.node(names, "Y", axes=(2, 3), name="frn")],
    "one_frn",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, x.shape)],
    [numpy_helper.from_array(p, n) for p, n in zip(params, names[1:])],
)
model = helper.make_model(
    graph,
    functions=[op_body.function_proto(opset=17, inputs=4, x_types=types, param_types=types)],
    opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(op.DOMAIN, op.VERSION)],
    ir_version=8,
)
expected = reference.frn(x, *params, axes=(2, 3))

def show(session):
    y = session.run(None, {"X": x})[0]
    print(session.get_providers()[0], float(np.abs(y - expected).max()) < 1e-4)
"""


def test_portable_model_is_left_to_openvino(environment):
    code = (
        PREPARE
        + """
registered = []
frn_onnx.runtime.library.register = registered.append
openvino = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
show(frn_onnx.InferenceSession(model, providers=openvino))
print(len(registered))
"""
    )
    ran, registered = environment("onnxruntime-openvino").run(code).splitlines()
    assert ran == "OpenVINOExecutionProvider True"
    assert registered == "0"


def test_custom_model_gets_the_plugin_all_the_same(environment):
    code = (
        PREPARE
        + """
del model.functions[:]
openvino = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
show(frn_onnx.InferenceSession(model, providers=openvino))
"""
    )
    ran = environment("onnxruntime-openvino").run(code)
    assert ran.strip() == "OpenVINOExecutionProvider True"


def test_a_provider_in_the_session_options_counts_as_one_in_the_arguments(environment):
    code = (
        PREPARE
        + """
registered = []
frn_onnx.runtime.library.register = registered.append
options = ort.SessionOptions()
options.add_provider("OpenVINOExecutionProvider", {"device_type": "CPU"})
show(frn_onnx.InferenceSession(model, options, strict=True))
print(len(registered))
"""
    )
    ran, registered = environment("onnxruntime-openvino").run(code).splitlines()
    assert ran == "OpenVINOExecutionProvider True"
    assert registered == "0"


def test_strict_refuses_frn_beside_openvino(environment):
    code = (
        PREPARE
        + """
del model.functions[:]
try:
    openvino = ["OpenVINOExecutionProvider", "CPUExecutionProvider"]
    frn_onnx.InferenceSession(model, providers=openvino, strict=True)
except frn_onnx.errors.PluginError as error:
    print(error)
"""
    )
    said = environment("onnxruntime-openvino").run(code)
    assert (
        "1 FRN nodes do not run on OpenVINOExecutionProvider (frn on CPUExecutionProvider)" in said
    )
    assert "--form portable" in said
