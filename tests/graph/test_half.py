"""Half precision: what is converted, what stays in float32, and that it computes the same."""

import warnings

import graph_models
import ml_dtypes
import numpy as np
import onnx
import onnx.reference
import pytest
import tolerances
from onnx import TensorProto, numpy_helper

from frn_onnx import op, reference
from frn_onnx.errors import ArgumentError, FrnWarning, ModelError
from frn_onnx.graph import model_io, protos
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.forms import FORMS, form_of
from frn_onnx.graph.half import convert, convert_file
from frn_onnx.graph.lowering import lower

onnxruntime = pytest.importorskip("onnxruntime")

ONE = """
<ir_version: 8, opset_import: ["": 22, "frn_onnx": 1]>
one (float[N,2,H,W] x) => (float[N,2,H,W] y)
<float[2,1,1] gamma, float[2,1,1] beta, float[2,1,1] tau>
{
  y = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.1> (x, gamma, beta, tau)
}
"""


@pytest.fixture
def cnn(rng):
    return graph_models.parse(graph_models.CNN, rng)


def types(model):
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


def parameters(model, names):
    arrays = graph_models.parameters(model)
    return [arrays[name] for name in names]


@pytest.mark.parametrize("form", FORMS)
def test_a_network_in_every_form(cnn, form):
    half = convert(lower(cnn, form))
    onnx.checker.check_model(half, full_check=True)
    assert form_of(half) == "portable"
    assert len(graph_models.frn_nodes(half)) == 2
    body = [node.op_type for node in half.functions[0].node]
    assert (body[0], body[-1]) == ("Cast", "Cast")
    assert verify(lower(cnn, "portable"), half).ok
    by_type = {t: {n for n, other in types(half).items() if other == t} for t in (1, 10)}
    assert by_type[TensorProto.FLOAT16] == {"w1", "w2", "w3"}
    for node in graph_models.frn_nodes(half):
        assert by_type[TensorProto.FLOAT].issuperset(node.input[1:])


@pytest.mark.parametrize("plugin", [False, True])
def test_activations_of_4000(rng, plugin):
    """Their squares are 16 million: infinite in float16."""
    if plugin:
        frn_onnx = pytest.importorskip("frn_onnx")
        try:
            frn_onnx.get_library_path()
        except frn_onnx.errors.PluginError as error:
            pytest.skip(str(error))
    model = graph_models.parse(ONE, rng)
    x = (rng.normal(size=(2, 2, 9, 7)) * 4000).astype(np.float16)
    given = parameters(model, ("gamma", "beta", "tau"))
    half = convert(model, keep_io_types=False)
    if plugin:
        y = frn_onnx.InferenceSession(half).run(None, {"x": x})[0]
    else:
        y = graph_models.run(half, {"x": x})[0]
    assert y.dtype == np.float16
    case = {"epsilon": np.float32(0.1), "axes": (2, 3)}
    bound = tolerances.frn_bound(x, *given, dtype=np.float16, **case)
    tolerances.assert_within(y, reference.frn(x, *given, **case), bound)


def test_without_fusing_the_square_would_overflow(rng):
    """What makes this converter necessary: the plain one on plain ops.

    In ONNX's reference evaluator; ONNX Runtime computes float16 in float32 on a CPU.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = graph_models.parse(ONE, rng)
    x = (rng.normal(size=(1, 2, 9, 7)) * 4000).astype(np.float16)
    primitives = lower(model, "primitives")
    gamma, beta, tau = parameters(model, ("gamma", "beta", "tau"))
    halves = [convert_float_to_float16(primitives), convert(primitives, keep_io_types=False)]
    halves[0] = model_io.load_proto(halves[0])  # puts the converter's nodes in order
    with np.errstate(over="ignore"):
        plain, ours = (
            onnx.reference.ReferenceEvaluator(half).run(None, {"x": x})[0] for half in halves
        )
    np.testing.assert_allclose(plain, np.maximum(beta, tau) + 0 * x, atol=0.01)
    expected = reference.frn(x, gamma, beta, tau, epsilon=0.1, axes=(2, 3))
    assert np.abs(ours - expected).max() < 0.01 < np.abs(plain - expected).max()


def test_input_and_output_types_are_selectable(rng):
    model = graph_models.parse(ONE, rng)

    def io_types(**options):
        half = convert(model, **options)
        onnx.checker.check_model(half, full_check=True)
        values = (half.graph.input[0], half.graph.output[0])
        return [value.type.tensor_type.elem_type for value in values]

    single, half = TensorProto.FLOAT, TensorProto.FLOAT16
    assert io_types() == [single, single]
    assert io_types(keep_io_types=False) == [half, half]
    assert io_types(keep_io_types=["x"]) == [single, half]
    assert io_types(keep_io_types="y") == [half, single]
    with pytest.raises(ArgumentError, match="no input or output called z; expected some of x, y"):
        convert(model, keep_io_types=["z"])
    with pytest.raises(ArgumentError, match="True, False, or names of inputs and outputs, rec"):
        convert(model, keep_io_types=1)


def test_everything_at_once(rng):
    """A subgraph, a function, Constant numbers, shared and computed parameters, an epsilon per
    channel, an op that stays in float32, and an integer input."""
    model = graph_models.parse(
        """
        <ir_version: 8, opset_import: ["": 18, "frn_onnx": 1, "local": 1]>
        g (float[N,2,W] x, bool c, int64[N] k) => (float[N,2,W] y, int64[N] k2)
        <float[2,1] gamma, float[2,1] beta, float[2,1] tau, float[2,1] epsilon>
        {
          half_gamma = Mul (gamma, gamma)
          a = frn_onnx.FilterResponseNormalization <axes = [2]> (x, half_gamma, beta, tau, epsilon)
          b = Add (a, beta)
          two = Constant <value_float = 2.0> ()
          d = Mul (b, two)
          e = If (c) <
            then_branch = yes () => (float[N,2,W] t) {
              t = frn_onnx.FilterResponseNormalization <axes = [2], epsilon = 0.3> (d, beta, gamma)
            },
            else_branch = no () => (float[N,2,W] u) { u = Neg (d) }>
          f = local.Block (e, tau)
          y = Max (f, beta)
          one = Constant <value_int = 1> ()
          k2 = Add (k, one)
        }
        <domain: "local", opset_import: ["": 18, "frn_onnx": 1]>
        Block (x, b) => (y)
        { y = frn_onnx.FilterResponseNormalization <axes = [2], epsilon = 0.5> (x, b, b) }
        """,
        rng,
    )
    half = convert(model)
    onnx.checker.check_model(half, full_check=True)
    assert [f.name for f in half.functions] == [op.OP_TYPE]
    assert verify(lower(model, "portable"), half).ok
    kept = types(half)
    assert kept["beta"] == TensorProto.FLOAT16
    assert kept["beta_float32"] == TensorProto.FLOAT
    assert kept["epsilon"] == TensorProto.FLOAT
    assert all(len(node.metadata_props) == 0 for node in graph_models.frn_nodes(half))


def test_the_model_given_stays_as_it_is(cnn):
    before = cnn.SerializeToString(deterministic=True)
    convert(cnn)
    assert cnn.SerializeToString(deterministic=True) == before


def test_models_without_frn(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N,3] x) => (float[N,3] y) <float[3,3] w> { y = MatMul (x, w) }""",
        rng,
    )
    half = convert(model)
    assert types(half) == {"w": TensorProto.FLOAT16}
    assert verify(model, half).ok


class TestBfloat16:
    """ONNX Runtime's CPU provider does not compute in bfloat16; ONNX's reference does."""

    def test_a_network(self, rng):
        model = graph_models.parse(graph_models.CNN.replace('"": 18', '"": 22'), rng)
        half = convert(model, "bfloat16", keep_io_types=False)
        onnx.checker.check_model(half, full_check=True)
        assert TensorProto.FLOAT16 not in {t.data_type for t in protos.tensor_protos(half)}
        original = parameters(model, ["w2"])[0]
        np.testing.assert_array_equal(
            parameters(half, ["w2"])[0], original.astype(ml_dtypes.bfloat16)
        )

    def test_activations_of_4000(self, rng):
        model = graph_models.parse(ONE, rng)
        half = convert(model, "bfloat16", keep_io_types=False)
        x = (rng.normal(size=(2, 2, 5, 4)) * 4000).astype(ml_dtypes.bfloat16)
        y = onnx.reference.ReferenceEvaluator(half).run(None, {"x": x})[0]
        assert y.dtype == ml_dtypes.bfloat16
        given = parameters(model, ("gamma", "beta", "tau"))
        case = {"epsilon": np.float32(0.1), "axes": (2, 3)}
        bound = tolerances.frn_bound(x, *given, dtype=ml_dtypes.bfloat16, **case)
        tolerances.assert_within(y, reference.frn(x, *given, **case), bound)

    def test_values_outside_of_float16(self, rng):
        """The converter's clipping to float16's range must not be left in the result."""
        model = graph_models.parse(
            """<ir_version: 8, opset_import: ["": 22]>
            g (float[N,2] x) => (float[N,2] y) <float[2] w>
            { large = Constant <value_floats = [1e30, 1e-30]> () z = Mul (x, w) y = Mul (z, large) }
            """,
            rng,
        )
        model.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.array([1e20, 1e-20], np.float32), "w")
        )
        half = convert(model, "bfloat16", keep_io_types=False)
        stored = [numpy_helper.to_array(t).astype(float) for t in protos.tensor_protos(half)]
        np.testing.assert_allclose(stored, [[1e20, 1e-20], [1e30, 1e-30]], rtol=2.0**-8)

    def test_ops_that_do_not_take_it(self, cnn):
        with pytest.raises(
            ModelError, match=r"does not take bfloat16 at opset 18: .*Conv.*opset 22"
        ):
            convert(cnn, "bfloat16")

    def test_float16_models_are_refused(self, cnn):
        with pytest.raises(ModelError, match=r"in float16 in part.*convert the float32 model"):
            convert(convert(cnn), "bfloat16")


@pytest.mark.parametrize(("to", "other"), [("float16", 16), ("bfloat16", 10)])
def test_a_part_in_the_other_half_type_stays_in_it(rng, to, other):
    """As autocast leaves it: float32 weights, and casts around a product."""
    model = graph_models.parse(
        f"""<ir_version: 10, opset_import: ["": 22]>
        g (float[N,4] x) => (float[N,5] y) <float[4,5] w>
        {{
          r = Relu (x)
          a = Cast <to = {other}> (r)
          b = Cast <to = {other}> (w)
          p = MatMul (a, b)
          f = Cast <to = 1> (p)
          y = Sigmoid (f)
        }}""",
        rng,
    )
    half = convert(model, to, keep_io_types=False)
    onnx.checker.check_model(half, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in inferred.graph.value_info}
    assert (types["r"], types["p"], types["f"]) == (26 - other, other, 26 - other)
    assert verify(model, half).ok


def test_unknown_types(cnn):
    with pytest.raises(ArgumentError, match="one of float16, bfloat16, received 'int8'"):
        convert(cnn, "int8")


def test_arguments_are_judged_before_the_model_is_read(tmp_path):
    missing = tmp_path / "missing.onnx"
    with pytest.raises(ArgumentError, match="to must be one of"):
        convert(missing, "int8")
    with pytest.raises(ArgumentError, match="provider must be"):
        convert_file(missing, tmp_path / "half.onnx", provider="rocm")
    with pytest.raises(TypeError, match="keep_types"):
        convert(missing, keep_types=False)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(
    "body",
    [
        "(float[2] x) => (float[2] x, float[2] y) { y = Relu(x) }",
        "(float[2] x) => (float[2] c, float[2] y) <float[2] c = {1, 2}> { y = Add(x, c) }",
        "(float[2] x) => (float[2] y, float[2] y) { y = Relu(x) }",
        "(float[2] x) => (float[2] y) <float[2] y = {1, 2}> { a = Relu(x) }",
    ],
)
def test_outputs_that_no_node_makes_alone(body, keep):
    """An input, a constant, another output."""
    model = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> g {body}')
    before = model.SerializeToString()
    half = convert(model, keep_io_types=keep)
    assert model.SerializeToString() == before
    outputs = [(value.name, value.type.tensor_type.elem_type) for value in half.graph.output]
    kind = TensorProto.FLOAT if keep else TensorProto.FLOAT16
    assert outputs == [(value.name, kind) for value in model.graph.output]
    assert verify(model, half).ok


@pytest.mark.parametrize("opset", [17, 19])
def test_quantised_parts_are_of_types_that_they_may_have(rng, opset):
    """Their scales are float32 before opset 19."""
    ort = pytest.importorskip("onnxruntime")
    w = numpy_helper.from_array(rng.normal(size=(4, 4, 1, 1)).astype(np.float32), "w")
    model = onnx.parser.parse_model(
        f"""<ir_version: 8, opset_import: ["": {opset}]>
        g (float[n,4,h,k] x) => (float[n,4,h,k] y)
        <float s = {{0.05}}, uint8 z = {{128}}>
        {{ a = Conv(x, w)
           q = QuantizeLinear(a, s, z)
           d = DequantizeLinear(q, s, z)
           r, rs, rz = DynamicQuantizeLinear(d)
           e = DequantizeLinear(r, rs, rz)
           y = Relu(e) }}"""
    )
    model.graph.initializer.append(w)
    converted = convert(model, "float16")
    x = rng.normal(size=(2, 4, 3, 5)).astype(np.float32)
    ys = [
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": x}
        )[0]
        for m in (model, converted)
    ]
    np.testing.assert_allclose(ys[1], ys[0], atol=0.1)


def test_a_weight_beyond_float16_is_told(rng):
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[n,2] x) => (float[n,2] y) <float[2] w = {1e6, -2}> { y = Mul(x, w) }"""
    )
    with pytest.warns(FrnWarning, match=r"'w' holds 1e\+06, and 65504 is the largest"):
        convert(model, "float16")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convert(model, "bfloat16")


def test_a_model_of_float64_is_not_said_to_be_converted():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (double[n,2] x) => (double[n,2] y) { y = Relu(x) }"""
    )
    with pytest.raises(ModelError, match="nothing in it is float32"):
        convert(model, "float16")


@pytest.mark.parametrize("op_type", ["RandomNormal", "RandomUniform"])
@pytest.mark.parametrize("named", [True, False])
def test_what_onnx_runtime_draws_in_float32_alone(rng, op_type, named):
    dtype = "dtype = 1, " if named else ""
    noise = f"noise = {op_type} <{dtype}shape = [2, 1, 1], seed = 1.0> ()"
    text = ONE.replace('"": 22', '"": 17').replace(
        "y = frn", f"{noise}\n  z = Add (x, noise)\n  y = frn"
    )
    half = convert(graph_models.parse(text.replace("(x, gamma", "(z, gamma"), rng))
    session = onnxruntime.InferenceSession(
        half.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (y,) = session.run(None, {"x": rng.normal(size=(1, 2, 3, 4)).astype(np.float32)})
    assert np.isfinite(y).all()


def test_a_tensor_that_may_be_missing(rng):
    """The converter leaves the types of optional values as they were."""
    model = graph_models.parse(
        '<ir_version: 8, opset_import: ["": 18]> g (float[N,3] x) => (float[N,3] y) '
        "{ h = Relu (x) o = Optional (h) y = OptionalGetElement (o) }",
        rng,
    )
    x = rng.normal(size=(2, 3)).astype(np.float32)
    (y,) = graph_models.run(convert(model), {"x": x})
    np.testing.assert_allclose(y, np.maximum(x, 0), rtol=1e-3)
