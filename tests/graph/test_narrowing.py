"""What becomes half precision, node by node, and what stays float32."""

import collections
import warnings

import graph_models
import numpy as np
import onnx
import onnx.reference
import pytest
from onnx import TensorProto, numpy_helper

from frn_onnx.errors import ModelError
from frn_onnx.graph import op_types, verify
from frn_onnx.graph.half import convert
from frn_onnx.graph.runners import runner

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


def model_of(body: str, opset: int = 18) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> g {body}')


def kinds(model) -> list[str]:
    return [node.op_type for node in model.graph.node]


def stored(model) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def sound(model: onnx.ModelProto, **options) -> onnx.ModelProto:
    """The converted model, which the checker takes, and which computes what it should."""
    made = convert(model, **options)
    onnx.checker.check_model(made, full_check=True)
    assert verify(model, made).ok
    return made


NORMS = {
    "epsilon outside of the root": "q = Mul (x, x) n = ReduceMean (q, axes) r = Sqrt (n) "
    "s = Add (r, e) y = Div (x, s)",
    "gamma given": "q = Pow (x, two) n = ReduceMean (q, axes) a = Add (n, e) s = Sqrt (a) "
    "k = Div (g, s) y = Mul (x, k)",
    "epsilon as a bound": "q = Mul (x, x) n = ReduceMean (q, axes) a = Max (n, e) s = Sqrt (a) "
    "y = Div (x, s)",
    "a norm": "n = ReduceL2 (x, axes) a = Add (n, e) y = Div (x, a)",
    "groups": "z = Reshape (x, grouped) q = Mul (z, z) n = ReduceMean (q, last) a = Add (n, e) "
    "s = Sqrt (a) d = Div (z, s) y = Reshape (d, shape)",
    "centred": "m = ReduceMean (x, axes) d = Sub (x, m) q = Mul (d, d) n = ReduceMean (q, axes) "
    "a = Add (n, e) s = Sqrt (a) i = Reciprocal (s) y = Mul (d, i)",
    "two means": "q = Mul (x, x) a = ReduceMean (q, axes) m = ReduceMean (x, axes) b = Mul (m, m) "
    "v = Sub (a, b) w = Add (v, e) s = Sqrt (w) d = Sub (x, m) y = Div (d, s)",
    "centred twice": "m = ReduceMean (x, axes) d = Sub (x, m) c = Sub (x, m) q = Mul (d, c) "
    "n = ReduceMean (q, axes) a = Add (n, e) s = Sqrt (a) y = Div (d, s)",
    "signed": "b = Abs (x) q = Mul (b, x) p = Abs (q) n = ReduceMean (p, axes) a = Add (n, e) "
    "s = Sqrt (a) y = Div (x, s)",
    "a sum of squares": "n = ReduceSumSquare (x, axes) a = Add (n, e) s = Sqrt (a) y = Div (x, s)",
    "of two norms": "n = ReduceL2 (x, axes) z = Neg (x) b = ReduceL2 (z, axes) p = Mul (n, b) "
    "a = Sqrt (p) y = Div (x, a)",
    "a window": "q = Mul (x, x) p = Pad (q, pads) n = AveragePool <kernel_shape = [3, 3]> (p) "
    "a = Add (n, e) s = Sqrt (a) y = Div (x, s)",
    "masked": "b = Abs (x) k = Sign (b) q = Mul (x, x) p = Mul (q, k) n = ReduceSum (p, axes) "
    "c = ReduceSum (k, axes) m = Div (n, c) s = Sqrt (m) y = Div (x, s)",
    "by a logarithm": "q = Mul (x, x) n = ReduceMean (q, axes) a = Add (n, e) l = Log (a) "
    "h = Mul (l, minus) r = Exp (h) y = Mul (x, r)",
    "of a count": "q = Mul (x, x) n = ReduceSum (q, axes) z = Shape <start = 2> (x) "
    "p = ReduceProd <keepdims = 0> (z) c = Cast <to = 1> (p) a = Div (n, c) s = Sqrt (a) "
    "y = Div (x, s)",
    "a hypotenuse": "r = Relu (x) z = Neg (x) i = Relu (z) q = Mul (r, r) p = Mul (i, i) "
    "n = Add (q, p) a = Add (n, e) s = Sqrt (a) y = Div (x, s)",
    "mean and variance": "y = MeanVarianceNormalization <axes = [2, 3]> (x)",
    "over all": "n = ReduceSumSquare (x) a = Add (n, e) s = Sqrt (a) y = Div (x, s)",
    "one mean twice": "q = Mul (x, x) n = ReduceMean (q) a = Add (n, e) b = Add (a, n) "
    "s = Sqrt (b) y = Div (x, s)",
    "summed up": "q = Einsum <equation = 'nchw,nchw->nc'> (x, x) n = Unsqueeze (q, axes) "
    "a = Add (n, e) s = Sqrt (a) y = Div (x, s)",
}


@pytest.mark.parametrize("scale", [1e-3, 300.0, 3000.0])
@pytest.mark.parametrize("norm", NORMS)
def test_norms_that_are_no_frn_keep_their_squares(rng, norm, scale):
    """In halves alone the squares of 300 are infinite, and those of 0.001 are zero."""
    model = model_of(
        "(float[2,4,8,8] x, float[1,4,1,1] g) => (float[2,4,8,8] y) <int64[2] axes = {2, 3}, "
        "int64[2] last = {2, 3}, int64[5] grouped = {2, 2, 2, 8, 8}, int64[4] shape = {2, 4, 8, 8},"
        "float e = {1e-12}, float two = {2}, float minus = {-0.5}, "
        "int64[8] pads = {0, 0, 1, 1, 0, 0, 1, 1}> { " + NORMS[norm].replace("'", '"') + " }"
    )
    if norm == "groups":
        model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.array([2, 3, 4]), "last"))
    made = convert(model)
    onnx.checker.check_model(made, full_check=True)
    x = (rng.normal(size=(2, 4, 8, 8)) * scale).astype(np.float16).astype(np.float32)
    feeds = {"x": x, "g": rng.uniform(1, 2, (1, 4, 1, 1)).astype(np.float32)}
    (expected,), (y,) = (
        onnx.reference.ReferenceEvaluator(m).run(None, feeds) for m in (model, made)
    )
    largest = np.abs(expected).max()
    np.testing.assert_allclose(y, expected, atol=4 * 2.0**-11 * largest)


def test_only_the_norm_is_float32(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[2,4,8,8] x) => (float[2,4,8,8] y) <float[4,4,1,1] w, float e = {1e-12}>
        { c = Conv (x, w) q = Mul (c, c) n = ReduceMean <axes = [1]> (q) a = Add (n, e)
          s = Sqrt (a) d = Div (c, s) y = Conv (d, w) }""",
        rng,
    )
    made = sound(model, keep_io_types=False)
    assert stored(made) == {"e": FLOAT, "w": HALF}
    assert kinds(made) == [
        *("Conv", "Cast", "Mul", "ReduceMean", "Add", "Sqrt", "Div", "Cast", "Conv")
    ]


BODIES = {
    "branches": "y = If (c) <then_branch = t () => (float[2,3] a) <float z = {0.1}> "
    "{ a = Max (x, z) }, else_branch = e () => (float[2,3] b) <float z = {0.2}> "
    "{ n = Neg (x) b = Max (n, z) }>",
    "a norm in a branch": "y = If (c) <then_branch = t () => (float[2,3] a) "
    "{ s = ReduceL2 (x) a = Div (x, s) }, else_branch = e () => (float[2,3] b) { b = Neg (x) }>",
    "what is drawn in float32": "y = If (c) <then_branch = t () => (float[2,3] a) "
    "{ r = RandomNormal <shape = [2, 3], seed = 1.0> () z = Sub (r, r) a = Add (z, x) }, "
    "else_branch = e () => (float[2,3] b) { b = Identity (x) }>",
    "a loop": "trips = Constant <value = int64 {3}> () more = Constant <value = bool {1}> () "
    "y, all = Loop (trips, more, x) <body = l (int64 i, bool go, float[2,3] v) => "
    "(bool on, float[2,3] w, float[2,3] seen) { on = Identity (go) h = Mul (v, v) "
    "n = ReduceSum (h) w = Div (v, n) seen = Min (w, x) }>",
    "a scan": "y = Scan <num_scan_inputs = 1, body = s (float[3] v) => (float[3] w) "
    "{ m = ReduceL2 (v) w = Div (v, m) }> (x)",
}


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("body", BODIES)
def test_graphs_within(body, keep):
    """Casts stand where the values are, and names are those of each graph."""
    made = sound(
        model_of("(float[2,3] x, bool c) => (float[2,3] y) { " + BODIES[body] + " }"),
        keep_io_types=keep,
    )
    kind = FLOAT if keep else HALF
    assert [v.type.tensor_type.elem_type for v in made.graph.output] == [kind]


@pytest.mark.parametrize("keep", [True, False])
def test_what_is_half_already_is_converted_again(rng, keep):
    model = graph_models.parse(graph_models.CNN, rng)
    once = convert(model)
    again = sound(once, keep_io_types=keep)
    casts = collections.Counter(kinds(again))["Cast"]
    assert casts == (collections.Counter(kinds(once))["Cast"] if keep else 0)


def test_bfloat16_is_refused(rng):
    model = graph_models.parse(graph_models.CNN.replace('"": 18', '"": 22'), rng)
    with pytest.raises(ModelError, match=r"in bfloat16 in part.*convert the float32 model"):
        convert(convert(model, "bfloat16"), "float16")


@pytest.mark.parametrize("keep", [True, False])
def test_sequences_stay_float32(keep):
    """There is no Cast for them."""
    model = model_of(
        "(float[2,3] x, seq(float[2,3]) s) => (float[2,3] y, seq(float[2,3]) t) "
        "{ h = Relu (x) t = SequenceInsert (s, h) zero = Constant <value = int64 {0}> () "
        "a = SequenceAt (s, zero) y = Add (a, h) }"
    )
    made = convert(model, keep_io_types=keep)
    onnx.checker.check_model(made, full_check=True)
    for value in (made.graph.input[1], made.graph.output[1]):
        assert value.type.sequence_type.elem_type.tensor_type.elem_type == FLOAT
    x = np.arange(6, dtype=np.float32 if keep else np.float16).reshape(2, 3)
    feeds = {"x": x, "s": [x.astype(np.float32)]}
    y, t = graph_models.run(made, feeds)
    np.testing.assert_array_equal(y, 2 * x)
    assert len(t) == 2


def test_an_optional_input_stays_float32():
    model = model_of(
        "(optional(float[2,3]) o) => (float[2,3] y) { x = OptionalGetElement (o) y = Relu (x) }"
    )
    made = convert(model, keep_io_types=False)
    onnx.checker.check_model(made, full_check=True)
    kind = made.graph.input[0].type.optional_type.elem_type.tensor_type.elem_type
    assert (kind, made.graph.output[0].type.tensor_type.elem_type) == (FLOAT, HALF)


def test_weights_become_the_nearest_halves():
    values = np.array([1e-9, 2e-8, 4e-8, -5e-8, 1.0009, 1e6, np.inf, -np.inf, np.nan], np.float32)
    model = model_of(
        f"(float[9] x) => (float[9] y) <float[9] w = {{{', '.join('1' * 9)}}}> {{ y = Mul (x, w) }}"
    )
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(values, "w"))
    with pytest.warns(Warning, match=r"'w' holds 1e\+06"):
        made = convert(model)
    half = numpy_helper.to_array(made.graph.initializer[0])
    expected = values.astype(np.float16)
    expected[5] = 65504
    np.testing.assert_array_equal(half, expected)


def test_a_number_alone_does_not_vanish():
    """It may be what keeps a division from one by zero."""
    model = model_of("(float[2] x) => (float[2] y) <float e = {1e-9}> { y = Add (x, e) }")
    (half,) = map(numpy_helper.to_array, convert(model).graph.initializer)
    assert half == np.finfo(np.float16).smallest_subnormal


def test_what_only_asks_for_a_type_or_a_size_needs_no_cast():
    """An index of 4,097 is none in halves."""
    made = sound(
        model_of(
            "(float[2] x) => (float[2] y, int64[2] k) { i = Cast <to = 7> (x) n = Shape (x) "
            "k = Add (i, n) y = Relu (x) }"
        )
    )
    k = graph_models.run(made, {"x": np.array([4097, 3], np.float32)})[1]
    np.testing.assert_array_equal(k, [4099, 5])


def test_inputs_that_a_schema_has_in_float32():
    """Of Resize the scales; between Max, Min and others there is no Cast at all."""
    made = sound(
        model_of(
            "(float[1,1,2,2] x) => (float[1,1,4,4] y) <float[4] s = {1, 1, 2, 2}, float t = {0.5}> "
            '{ a = Max (x, t) b = Min (a, t) y = Resize <mode = "nearest"> (b, , s) }'
        ),
        keep_io_types=False,
    )
    assert kinds(made) == ["Max", "Min", "Resize"]
    assert stored(made) == {"s": FLOAT, "t": HALF}


def test_one_weight_in_both_types():
    made = sound(
        model_of(
            "(float[2] x, float[2] z) => (float[2] y) <float[2] w = {1.0001, 3}> { a = Mul (x, w) "
            "q = Mul (z, w) r = ReduceL2 (w) b = Div (q, r) y = Add (a, b) }"
        )
    )
    assert stored(made) == {"w": HALF, "w_float32": FLOAT}
    wide = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}["w_float32"]
    np.testing.assert_array_equal(wide, np.array([1.0001, 3], np.float32))


def test_the_type_of_what_is_made_from_nothing():
    made = sound(
        model_of(
            "(float[2,2] x) => (float[2,2] y) { z = Shape (x) a = ConstantOfShape (z) "
            "b = ConstantOfShape <value = float[1] {2.0}> (z) y = Sum (a, b, x) }"
        ),
        keep_io_types=False,
    )
    assert kinds(made).count("Cast") == 0


COUNTS = {
    "a mean by a size": "s = ReduceSum (x, axes) n = Size (x) f = Cast <to = 1> (n) y = Div (s, f)",
    "positions": "n = Size (x) zero = Constant <value = int64 {0}> () one = Constant <value = "
    "int64 {1}> () r = Range (zero, n, one) f = Cast <to = 1> (r) a = Sin (f) "
    "y = ReduceMax <keepdims = 0> (a)",
    "sums of bytes": "q, s, z = DynamicQuantizeLinear (x) i = MatMulInteger (q, w, z) "
    "f = Cast <to = 1> (i) y = Mul (f, s)",
    "a size times two": "n = Shape (x) f = Cast <to = 1> (n) d = Mul (f, two) g = Floor (d) "
    "i = Cast <to = 7> (g) y = Cast <to = 1> (i)",
}


@pytest.mark.parametrize("case", COUNTS)
def test_counts_are_not_rounded(rng, case):
    """Beyond 2,048 not every whole number is a half, and none from 65,520 on."""
    model = model_of(
        "(float[1,1,3,30001] x) => (float y) <int64[3] axes = {0, 1, 3}, float[1] two = {2}, "
        f"uint8[30001,1] w = {{{', '.join(['3'] * 30001)}}}> {{ {COUNTS[case]} }}"
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    half = convert(model)
    x = rng.uniform(0.2, 0.5, (1, 1, 3, 30001)).astype(np.float32)
    (expected,), (y,) = (runner(m).run([x]) for m in (model, half))
    np.testing.assert_allclose(y, expected, rtol=2e-3 if case != "sums of bytes" else 2e-2)


def test_an_image_of_bytes_becomes_half():
    """After its scale, and with no Cast more than it takes."""
    made = sound(
        model_of(
            "(uint8[1,3,4,4] x) => (float[1,3,4,4] y) <float s = {0.00392157}> "
            "{ f = Cast <to = 1> (x) a = Mul (f, s) y = Relu (a) }"
        ),
        keep_io_types=False,
    )
    assert kinds(made) == ["Cast", "Mul", "Relu"]


UNKNOWN = {
    "another domain's op with a schema": "h = Relu (x) s = ai.onnx.ml.Scaler <offset = "
    "[0.0, 0.0, 0.0], scale = [1.0, 2.0, 3.0]> (h) y = Add (s, h)",
    "an op without a schema": "g = com.microsoft.Gelu (x) r = ReduceL2 (g) y = Div (x, r)",
    "an op for float32": "y = com.microsoft.QuickGelu (x)",
    "a type that is taken over": "g = com.microsoft.Gelu (x) e = EyeLike (g) y = Add (g, e)",
}


@pytest.mark.parametrize("case", UNKNOWN)
@pytest.mark.parametrize("keep", [True, False])
def test_behind_ops_that_onnx_does_not_know(case, keep):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18, "ai.onnx.ml": 3, "com.microsoft": 1]> '
        f"g (float[2,3] x) => (float[2,3] y) {{ {UNKNOWN[case]} }}"
    )
    assert verify(model, convert(model, keep_io_types=keep)).ok


def test_another_domains_op_of_a_standard_name():
    """It need not have the standard one's attributes."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18, "other": 1]> '
        "g (float[2,3] x) => (float[2,3] y) { h = other.Cast (x) y = Relu (h) }"
    )
    assert kinds(convert(model, keep_io_types=False)) == ["Cast", "Relu"]


def test_a_model_without_standard_ops():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["ai.onnx.ml": 3]> g (float[2,3] x) => (float[2,3] y) '
        '{ y = ai.onnx.ml.Normalizer <norm = "L2"> (x) }'
    )
    made = convert(model, keep_io_types=False)
    onnx.checker.check_model(made, full_check=True)
    assert kinds(made) == ["Cast", "Normalizer", "Cast"]


@pytest.mark.parametrize("keep", [True, False])
def test_standard_ops_by_the_full_name_of_their_domain(keep):
    model = model_of("(float[2,3] x) => (float[2,3] y) { y = Relu (x) }")
    model.opset_import[0].domain = "ai.onnx"
    made = sound(model, keep_io_types=keep)
    assert kinds(made) == (["Cast", "Relu", "Cast"] if keep else ["Relu"])
    assert [(entry.domain, entry.version) for entry in made.opset_import] == [("ai.onnx", 18)]


@pytest.mark.parametrize("keep", [True, False])
def test_an_input_with_a_default(keep):
    model = model_of(
        "(float[2,3] x, float[3] b) => (float[2,3] y) <float[3] b = {1, 2, 3}> { y = Add (x, b) }"
    )
    made = sound(model, keep_io_types=keep)
    assert stored(made) == {"b": FLOAT if keep else HALF}
    assert [value.name for value in made.graph.input] == ["x", "b"]


def test_an_input_with_a_default_that_is_given_out():
    model = model_of(
        "(float[2,3] x, float[3] b) => (float[2,3] y, float[3] b) <float[3] b = {1, 2, 3}> "
        "{ y = Add (x, b) }"
    )
    assert kinds(sound(model)) == ["Cast", "Cast", "Add", "Cast"]
    assert kinds(sound(model, keep_io_types=False)) == ["Add"]


def test_an_idle_cast_between_two_outputs_stays():
    made = sound(
        model_of(
            "(float[2,3] x) => (float[2,3] h, float16[2,3] y) "
            "{ h = Relu (x) y = Cast <to = 10> (h) }"
        ),
        keep_io_types=False,
    )
    assert kinds(made) == ["Relu", "Cast"]


@pytest.mark.parametrize("to", ["float16", "bfloat16"])
def test_the_lowest_number_of_a_mask_stays_finite(to):
    """Times zero an infinite one would be NaN."""
    model = model_of(
        "(float[2,3] x, bool[2,3] c) => (float[2,3] y) <float lo = {-3.4028234663852886e38}> "
        "{ w = Where (c, x, lo) y = Softmax (w) }",
        opset=22,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = convert(model, to)
        (tensor,) = [numpy_helper.to_array(t) for t in made.graph.initializer]
    assert np.isfinite(tensor.astype(np.float64))
    feeds = [np.ones((2, 3), np.float32), np.zeros((2, 3), bool)]
    np.testing.assert_allclose(runner(made).run(feeds)[0].astype(float), 1 / 3, rtol=0.01)


def test_bfloat16_where_an_op_does_not_take_it():
    """TopK at 22 takes float16, and stays float32 behind Casts."""
    made = convert(
        model_of(
            "(float[2,3] x) => (float[2,1] y, int64[2,1] i) <int64[1] k = {1}> "
            "{ a = Relu (x) y, i = TopK (a, k) }",
            opset=22,
        ),
        "bfloat16",
        keep_io_types=False,
    )
    onnx.checker.check_model(made, full_check=True)
    assert kinds(made) == ["Relu", "Cast", "TopK", "Cast"]


def test_initializers_that_branches_give_out():
    """The model that was given keeps its names."""
    model = model_of(
        "(float[2,3] x, bool c) => (float[3] y) { y = If (c) <then_branch = t () => (float[3] w) "
        "<float[3] w = {1, 2, 3}> { u = Relu (x) }, else_branch = e () => (float[3] w) "
        "<float[3] w = {4, 5, 6}> { s = Neg (x) }> }"
    )
    before = model.SerializeToString(deterministic=True)
    sound(model)
    assert model.SerializeToString(deterministic=True) == before


def test_the_body_of_a_map_over_a_sequence():
    made = sound(
        model_of(
            "(float[2,3] x) => (float[2,3] y) { s = SequenceConstruct (x, x) "
            "r = SequenceMap <body = l (float[2,3] v) => (float[2,3] w) { w = Relu (v) }> (s) "
            "zero = Constant <value = int64 {0}> () y = SequenceAt (r, zero) }"
        )
    )
    assert kinds(made).count("Cast") == 0


def test_small_scales_of_quantisation(rng):
    model = graph_models.parse(
        """<ir_version: 9, opset_import: ["": 19]>
        g (float[2,4] x) => (float[2,4] y) <float s = {1e-9}, int8 z = {0}, float[4,4] w>
        { a = MatMul (x, w) t = Mul (a, s) q = QuantizeLinear (t, s, z)
          d = DequantizeLinear (q, s, z) y = Div (d, s) }""",
        rng,
    )
    half = convert(model)
    names = stored(half)
    assert names["w"] == HALF
    assert FLOAT in {kind for name, kind in names.items() if name.startswith("s")}


def test_ops_without_a_schema_take_halves():
    """Those of ONNX Runtime's own, but for what it wants in float32."""
    takes = op_types._kinds("FusedConv", 1, "com.microsoft", "tensor(float16)")
    assert takes is None
    assert op_types._kinds("TopK", 11, "", "tensor(float16)") == ([True, False], [True, False])
