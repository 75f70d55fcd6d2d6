"""Every form of FRN as tf2onnx and Keras on TensorFlow write it, and a U-Net of 36 layers."""

import exporter_files
import fuse_tensorflow
import graph_models
import numpy as np
import onnx
import pytest

from frn_onnx import op
from frn_onnx.graph.fusion import fuse


@pytest.mark.parametrize("between_convolutions", [True, False], ids=["conv", "bare"])
@pytest.mark.parametrize("optimised", [True, False], ids=["optimised", "raw"])
@pytest.mark.parametrize("opset", [13, 15, 18])
def test_forms(opset, optimised, between_convolutions):
    model = fuse_tensorflow.forms(
        opset, optimised=optimised, between_convolutions=between_convolutions
    )
    exporter_files.check(model)


def test_exported_by_keras():
    exporter_files.check(fuse_tensorflow.keras_forms())


@pytest.mark.parametrize(
    ("norm", "inputs_as_nchw"),
    [("frn", False), ("keras-frn", True)],
    ids=["frn-NHWC", "keras-frn-NCHW"],
)
def test_unet(norm, inputs_as_nchw):
    model = fuse_tensorflow.unet(norm, inputs_as_nchw=inputs_as_nchw)
    result = fuse(model)
    assert len(result.fused) == 36
    assert result.skipped == []
    assert all(node.has_tau for node in result.fused)
    left = {node.op_type for node in result.model.graph.node}
    assert not left & {"ReduceMean", "GlobalAveragePool", "Sqrt", "Reciprocal"}
    transposes = [n for n in result.model.graph.node if n.op_type == "Transpose"]
    assert len(transposes) <= 2
    assert {node.layout for node in result.fused} == {"NCHW"}
    onnx.checker.check_model(result.model, full_check=True)
    shape = [1, 32, 32, 3]
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    if inputs_as_nchw:
        x = x.transpose(0, 3, 1, 2)
    (before,), (after,) = (
        graph_models.run(m, {m.graph.input[0].name: x}) for m in (model, result.model)
    )
    assert before.std() > 1e-3
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-4 * np.abs(before).max())
    assert sum(node.op_type == op.OP_TYPE for node in result.model.graph.node) == 36
