"""Which opsets the installed ONNX Runtime takes: an older one does not know the newest."""

import functools

import pytest
from onnx import TensorProto, helper


def needs(opset: int) -> None:
    """Skips the test where ONNX Runtime refuses every model of this opset."""
    refusal = _refusal(opset)
    if refusal:
        pytest.skip(f"this onnxruntime has no opset {opset}: {refusal}")


@functools.cache
def _refusal(opset: int) -> str:
    """What ONNX Runtime says of a model of one Identity; nothing where it takes that."""
    ort = pytest.importorskip("onnxruntime")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "one", [x], [y])
    imports = [helper.make_opsetid("", opset)]
    model = helper.make_model_gen_version(graph, opset_imports=imports)
    try:
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception as error:
        return str(error)
    return ""
