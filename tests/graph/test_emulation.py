"""Models in half precision, run as processors do that have it, and in float64, compared."""

import graph_models
import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper

from frn_onnx.graph import convert, emulation, lower
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
# takes the bits: of 1.5, 0.5 and 2.5.
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


def exact(name: str) -> onnx.ModelProto:
    """EXACT in bfloat16 or float16."""
    text = EXACT
    if name == "float16":
        for bits in ("16320 15872", "16128 14336", "16416 16640"):
            text = text.replace(*bits.split())
        text = text.replace("bfloat16", "float16").replace("to = 16", "to = 10")
    return onnx.parser.parse_model(text)


@pytest.mark.parametrize("choice", [True, False])
@pytest.mark.parametrize(
    ("narrow", "roundoff"), [(ml_dtypes.bfloat16, 2.0**-8), (np.float16, 2.0**-11)]
)
def test_each_operation_is_rounded_once(rng, choice, narrow, roundoff):
    made = runner(exact(np.dtype(narrow).name))
    assert made.inputs[0].dtype == narrow
    assert made.roundoff == roundoff
    x = rng.normal(size=999).astype(narrow)
    y, z = made.run([x, np.array(choice)])
    a = x * narrow(1.5)
    expected = (a + x if choice else a - narrow(0.5)) * narrow(2.5)
    assert y.dtype == narrow
    np.testing.assert_array_equal(y, expected)
    assert z.dtype == np.float32
    third = expected.astype(np.float32) * np.float32(0.3)
    np.testing.assert_array_equal(z, third + np.float32(choice))


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_the_model_stays_as_it_is(name):
    model = ir.from_proto(exact(name))
    before = ir.to_proto(model)
    emulated = ir.to_proto(emulation.emulated(model))
    assert ir.to_proto(model) == before
    onnx.checker.check_model(emulated, full_check=True)
    assert [value.name for value in emulated.graph.output] == ["y", "z"]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("(bfloat16[N] x) => (float[N] y) { y = Cast <to = 1> (x) }", "BFLOAT16"),
        ("(float[N] x) => (float[N] y) { a = Cast <to = 16> (x) y = Cast <to=1> (a) }", "BFLOAT16"),
        ("(float[N] x) => (bfloat16[N] y) { y = Bernoulli <dtype = 16> (x) }", "BFLOAT16"),
        ("(float[N] x) => (float16[N] y) { y = Cast <to = 10> (x) }", "FLOAT16"),
        ("(float16[N] x) => (bfloat16[N] y) { y = Cast <to = 16> (x) }", "BFLOAT16 FLOAT16"),
        ("(float[N] x) => (double[N] y) { y = Cast <to = 11> (x) }", ""),
        # Of another domain's op these attributes may be anything.
        ('(float[N] x) => (float[N] y) { y = other.Op <dtype = "half", to = 1.5> (x) }', ""),
    ],
)
def test_where_it_is(body, found):
    text = f'<ir_version: 10, opset_import: ["": 18, "other": 1]> g {body}'
    halves = emulation.halves_in(ir.from_proto(onnx.parser.parse_model(text)))
    assert " ".join(dtype.name for dtype in halves) == found


def test_sequences_of_halves():
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float16[2] x) => (seq(float16[2]) y) '
        "{ a = Relu (x) y = SequenceConstruct (a, x) }"
    )
    (y,) = emulation.emulated(ir.from_proto(model)).graph.outputs
    assert y.type == ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    assert verify(model, model).ok


def test_what_overflows_between_two_nodes_is_seen():
    """ONNX Runtime computes both in float32 on a CPU, where nothing overflows."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[2,3] x) => (float[2,3] y) <float large = {60000.0}, float small = {0.0001}>
        { a = Mul (x, large) b = Mul (a, small) y = Relu (b) }"""
    )
    half = convert(model)
    assert not verify(model, half, inputs={"x": np.full((2, 3), 3, np.float32)}).ok
    assert verify(model, half, inputs={"x": np.full((2, 3), 0.5, np.float32)}).ok


def test_both_types_in_one_model(rng):
    model = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["": 18]> g (float16[N] x) => (bfloat16[N] y)
        { a = Mul (x, x) y = Cast <to = 16> (a) }"""
    )
    made = runner(model)
    x = rng.normal(size=99).astype(np.float16)
    (y,) = made.run([x])
    assert y.dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(y, (x * x).astype(ml_dtypes.bfloat16))


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
