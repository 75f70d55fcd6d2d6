"""Models in bfloat16, which ONNX Runtime's CPU provider does not run, and in float64, compared."""

import graph_models
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

from frn_onnx.graph import bfloat16, convert, lower
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.runners import runner

pytest.importorskip("onnxruntime")

FRN = """
<ir_version: 10, opset_import: ["": 18, "frn_onnx": 1]>
g (float[N,4,H,W] x) => (float[N,4,H,W] y)
<float[4,1,1] gamma, float[4,1,1] beta, float[4,1,1] tau>
{ y = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.01> (x, gamma, beta, tau) }
"""
# Operations of one rounding each, in a branch, in a function and in the main graph. The parser
# takes the bits of bfloat16: 1.5, 0.5 and 2.5.
EXACT = """
<ir_version: 10, opset_import: ["": 18, "local": 1]>
g (bfloat16[N] x, bool c) => (bfloat16[N] y, float[N] z)
<bfloat16[1] w = {16320}>
{
  a = Mul (x, w)
  b = If (c) <
    then_branch = yes () => (bfloat16[N] t) { t = Add (a, x) },
    else_branch = no () => (bfloat16[N] e) {
      half = Constant <value = bfloat16[1] {16128}> ()
      e = Sub (a, half)
    }>
  y = local.twice (b)
  small = Cast <to = 16> (c)
  wide = Cast <to = 1> (y)
  third = Constant <value_float = 0.3> ()
  z0 = Mul (wide, third)
  small32 = Cast <to = 1> (small)
  z = Add (z0, small32)
}
<opset_import: ["": 18], domain: "local">
twice (v) => (s) { two = Constant <value = bfloat16 {16416}> () s = Mul (v, two) }
"""


def with_parameter(model: onnx.ModelProto, name: str, by: float) -> onnx.ModelProto:
    """A copy in which the first value of a parameter is another one."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name.endswith(name):
            array = numpy_helper.to_array(tensor).copy()
            array.reshape(-1)[0] *= 1 + by
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


@pytest.mark.parametrize("choice", [True, False])
def test_each_operation_is_rounded_once(rng, choice):
    narrow = ml_dtypes.bfloat16
    model = onnx.parser.parse_model(EXACT)
    made = runner(model)
    assert made.inputs[0].dtype == narrow
    assert made.roundoff == 2.0**-8
    x = rng.normal(size=999).astype(narrow)
    y, z = made.run([x, np.array(choice)])
    a = x * narrow(1.5)
    expected = (a + x if choice else a - narrow(0.5)) * narrow(2.5)
    assert y.dtype == narrow
    np.testing.assert_array_equal(y, expected)
    assert z.dtype == np.float32
    third = expected.astype(np.float32) * np.float32(0.3)
    np.testing.assert_array_equal(z, third + np.float32(choice))


def test_the_model_stays_as_it_is():
    model = ir.from_proto(onnx.parser.parse_model(EXACT))
    before = ir.to_proto(model)
    emulated = ir.to_proto(bfloat16.emulated(model))
    assert ir.to_proto(model) == before
    onnx.checker.check_model(emulated, full_check=True)
    assert [value.name for value in emulated.graph.output] == ["y", "z"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("(bfloat16[N] x) => (float[N] y) { y = Cast <to = 1> (x) }", True),
        ("(float[N] x) => (float[N] y) { a = Cast <to = 16> (x) y = Cast <to = 1> (a) }", True),
        ("(float[N] x) => (bfloat16[N] y) { y = Bernoulli <dtype = 16> (x) }", True),
        ("(float[N] x) => (float[N] y) { y = Cast <to = 10> (x) }", False),
    ],
)
def test_where_it_is(body, found):
    text = f'<ir_version: 10, opset_import: ["": 18]> g {body}'
    assert bfloat16.is_in(ir.from_proto(onnx.parser.parse_model(text))) is found


@pytest.mark.parametrize("dtype", ["bfloat16", "double"])
@pytest.mark.parametrize("form", ["portable", "custom", "primitives"])
def test_fused_models(rng, dtype, form):
    plain = lower(graph_models.parse(FRN, rng, dtype=dtype), "primitives")
    result = fuse(plain, form=form)
    assert len(result.fused) == 1
    report = verify(plain, result.model)
    assert report.ok
    unit, seen = {"bfloat16": (2.0**-8, 1.0), "double": (2.0**-53, 1e-12)}[dtype]
    assert report.outputs[0].max_rel <= 10 * unit
    # What float32 would hide, and what bfloat16 does not.
    other = verify(plain, with_parameter(result.model, "gamma", seen))
    assert other.verdict == "different"


def test_weights_that_are_stored_narrower_than_they_are_used(rng):
    """A float32 constant that is cast does not make the arithmetic float32."""
    text = """<ir_version: 10, opset_import: ["": 18]>
    g (double[N,3] x) => (double[N,3] y) <float[3] w>
    { wide = Cast <to = 11> (w) y = Mul (x, wide) }"""
    model = graph_models.parse(text, rng)
    (tensor,) = model.graph.initializer
    assert (tensor.data_type, runner(model).roundoff) == (TensorProto.FLOAT, 2.0**-53)
    narrow = text.replace("Mul (x, wide)", "Mul (x, wide) z = Sin (w)")
    assert runner(graph_models.parse(narrow, rng)).roundoff == 2.0**-24


def test_a_converted_network(rng):
    model = graph_models.parse(graph_models.CNN.replace('"": 18', '"": 22'), rng)
    for keep in (True, False):
        half = convert(model, "bfloat16", keep_io_types=keep)
        report = verify(model, half)
        assert report.ok
        assert 2.0**-13 < report.outputs[0].max_rel < 2.0**-4
