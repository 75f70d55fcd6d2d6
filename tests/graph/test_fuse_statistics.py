"""Every statistic that ONNX has, in the place of mean(x**2): fused, or named with the reason."""

import graph_models
import numpy as np
import pytest
from onnx import numpy_helper, parser

from frn_onnx.graph.fusion import fuse

MODEL = """
<ir_version: 10, opset_import: ["": 18]>
g (float[N,3,4,5] x) => (float[N,3,4,5] y)
<float[3,1,1] gamma = {1.5, 2.0, -1.0}, float[3,1,1] beta = {0.5, 1.0, -1.0}, float eps = {0.01},
 int64[2] hw = {2, 3}, float n = {20.0}, float half = {-0.5}, int64[3] flat = {0, 0, -1},
 int64[4] back = {-1, 3, 4, 5}, float[20,1] ones, int64[2] rows = {-1, 20},
 int64[4] small = {-1, 3, 1, 1}>
{ BODY }
"""
NORMAL = " e = Add (m, eps) s = Sqrt (e) d = Div (x, s) "
AFFINE = " g = Mul (d, gamma) y = Add (g, beta)"
SQUARE = "q = Mul (x, x) "


def model_of(body: str):
    model = parser.parse_model(MODEL.replace("BODY", body))
    ones = numpy_helper.from_array(np.ones((20, 1), np.float32), "ones")
    model.graph.initializer.append(ones)
    (stated,) = [value for value in model.graph.value_info if value.name == "ones"]
    model.graph.value_info.remove(stated)
    return model


@pytest.mark.parametrize(
    "statistic",
    [
        SQUARE + "t = ReduceL1 (q, hw) m = Div (t, n)",
        SQUARE + "t = LpPool <p = 1, kernel_shape = [4, 5]> (q) m = Div (t, n)",
        SQUARE + "t = GlobalLpPool <p = 1> (q) m = Div (t, n)",
        "t = LpPool <p = 2, kernel_shape = [4, 5]> (x) u = Mul (t, t) m = Div (u, n)",
        "t = LpPool <kernel_shape = [4, 5], strides = [4, 5]> (x) u = Mul (t, t) m = Div (u, n)",
    ],
)
def test_fused(rng, statistic):
    before = model_of(statistic + NORMAL + AFFINE)
    result = fuse(before)
    assert len(result.fused) == 1
    feeds = {"x": rng.normal(size=(2, 3, 4, 5)).astype(np.float32)}
    (expected,), (y,) = (graph_models.run(model, feeds) for model in (before, result.model))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("statistic", "reason"),
    [
        ("m = ReduceL1 (x, hw)", "the mean of |x|, not of x**2"),
        ("t = ReduceL1 (x, hw) m = Mul (t, t)", "ends at 'e' (Add)"),
        ("m = LpPool <p = 2, kernel_shape = [4, 3]> (x)", "ends at 'm' (LpPool)"),
        ("m = GlobalLpPool <p = 3> (x)", "ends at 'm' (GlobalLpPool)"),
        (SQUARE + "l = ReduceLogSum (q, hw) m = Exp (l)", "ends at 'l' (ReduceLogSum)"),
        (SQUARE + "l = Log (q) r = ReduceLogSumExp (l, hw) m = Exp (r)", "ends at 'l' (Log)"),
        (SQUARE + "m = ReduceMax (q, hw)", "ends at 'm' (ReduceMax)"),
        (SQUARE + "m = GlobalMaxPool (q)", "ends at 'm' (GlobalMaxPool)"),
        (SQUARE + "m = MaxPool <kernel_shape = [4, 5]> (q)", "ends at 'm' (MaxPool)"),
        (
            SQUARE + "f = Reshape (q, rows) t = Gemm (f, ones) m = Reshape (t, small)",
            "ends at 't' (Gemm)",
        ),
    ],
)
def test_named(statistic, reason):
    result = fuse(model_of(statistic + NORMAL + AFFINE))
    assert result.fused == []
    (skipped,) = result.skipped
    assert reason in skipped.reason


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("l = Log (e) h = Mul (l, half) r = Exp (h) d = Mul (x, r)", "ends at 'l' (Log)"),
        ("l = ReduceL2 (x, hw) d = Div (x, l)", "this is L2 normalisation"),
        (
            "f = Reshape (x, flat) l = LpNormalization (f) d = Reshape (l, back)",
            "this is L2 normalisation",
        ),
    ],
)
def test_other_roots_are_named(root, reason):
    mean = SQUARE + "m = ReduceMean (q, hw) e = Add (m, eps) " if "(e)" in root else ""
    result = fuse(model_of(mean + root + AFFINE))
    assert result.fused == []
    (skipped,) = result.skipped
    assert reason in skipped.reason


@pytest.mark.parametrize(
    "body",
    [
        "y = LpNormalization (x)",
        "m = GlobalAveragePool (x) r = Exp (m) y = Mul (x, r)",
        "f = Reshape (x, flat) l = LpNormalization (f) y = Reshape (l, back)",
        "d = LpNormalization (x)" + AFFINE,
        "f = Reshape (x, flat) l = LpNormalization <p = 1> (f) d = Reshape (l, back)" + AFFINE,
    ],
)
def test_other_things_are_not_told(body):
    result = fuse(model_of(body))
    assert (result.fused, result.skipped) == ([], [])


def test_sizes_that_are_open_cancel(rng):
    body = (
        SQUARE + "t = ReduceL1 (q, hw) c = Shape <start = 2> (x) p = ReduceProd <keepdims = 0> (c)"
        " f = Cast <to = 1> (p) m = Div (t, f)"
    )
    before = model_of(body + NORMAL + AFFINE)
    for axis in (2, 3):
        before.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = "HW"[axis - 2]
    assert len(fuse(before).fused) == 1
