"""Every way to write the layer becomes one FRN node with the layer's parameters."""

import export_cases
import keras
import numpy as np
import onnx
import pytest
import tolerances
from keras import ops

from frn_onnx import models, op, reference
from frn_onnx.errors import FrnWarning
from frn_onnx.export import export_model
from frn_onnx.export.conversion import NEWEST_OPSET
from frn_onnx.layers import TLU, FilterResponseNormalization

OPSETS = sorted({13, 15, 17, 18, NEWEST_OPSET})
EPSILON = 0.125
LEARNED = 0.375


class Weights:
    """What a formula may use: gamma, beta, tau and a learned epsilon, each (C,) or (1,)."""

    def __init__(self, layer, channels):
        self.gamma, self.beta, self.tau = (
            layer.add_weight(name=name, shape=(channels,)) for name in ("gamma", "beta", "tau")
        )
        self.epsilon = layer.add_weight(
            name="epsilon", shape=(1,), initializer=keras.initializers.Constant(LEARNED)
        )


class Written(keras.layers.Layer):
    """A layer of one formula, written out in Keras' ops."""

    def __init__(self, formula, axes=(1, 2)):
        super().__init__()
        self.formula, self.axes = formula, list(axes)

    def build(self, shape):
        self.weights_ = Weights(self, shape[-1])

    def call(self, x):
        return self.formula(self.weights_, x, ops.mean(ops.square(x), self.axes, keepdims=True))


FORMS = {
    "paper": lambda w, x, nu2: ops.maximum(
        w.gamma * (x * ops.rsqrt(nu2 + abs(EPSILON))) + w.beta, w.tau
    ),
    "keras-frn": lambda w, x, nu2: ops.maximum(
        w.gamma * (x * 1 / ops.sqrt(nu2 + abs(EPSILON))) + w.beta, w.tau
    ),
    "quotient": lambda w, x, nu2: ops.maximum(
        w.gamma * (x / ops.sqrt(nu2 + EPSILON)) + w.beta, w.tau
    ),
    "power": lambda w, x, nu2: ops.maximum(
        w.gamma * x * ops.power(nu2 + EPSILON, -0.5) + w.beta, w.tau
    ),
    "square as a power": lambda w, x, nu2: ops.maximum(
        w.gamma * x * ops.rsqrt(ops.mean(x**2, [-3, -2], keepdims=True) + EPSILON) + w.beta, w.tau
    ),
    "sum over a number": lambda w, x, nu2: ops.maximum(
        w.gamma * x * ops.rsqrt(ops.sum(x * x, [1, 2], keepdims=True) / 30 + EPSILON) + w.beta,
        w.tau,
    ),
    "scale first": lambda w, x, nu2: ops.maximum(
        x * (w.gamma * ops.rsqrt(nu2 + EPSILON)) + w.beta, w.tau
    ),
    "threshold as a ReLU": lambda w, x, nu2: (
        ops.relu(w.gamma * x * ops.rsqrt(nu2 + EPSILON) + w.beta - w.tau) + w.tau
    ),
    "TFA, learned epsilon": lambda w, x, nu2: (
        w.gamma * x * ops.rsqrt(nu2 + (EPSILON + ops.abs(w.epsilon))) + w.beta
    ),
    "DeepFaceLab, epsilon is a weight": lambda w, x, nu2: ops.maximum(
        w.gamma * (x * (1.0 / ops.sqrt(nu2 + ops.abs(w.epsilon)))) + w.beta, w.tau
    ),
    "no affine part": lambda w, x, nu2: x * ops.rsqrt(nu2 + EPSILON),
    "no gamma": lambda w, x, nu2: ops.maximum(x * ops.rsqrt(nu2 + EPSILON) + w.beta, w.tau),
}
EPSILONS = {
    "TFA, learned epsilon": EPSILON + LEARNED,
    "DeepFaceLab, epsilon is a weight": LEARNED,
}
WITHOUT_TAU = ("TFA, learned epsilon", "no affine part")


def between_convolutions(layer, size=(5, 6)):
    """image -> convolution -> the layer -> convolution; all three are outputs."""
    image = keras.Input((*size, 3), name="image")
    before = keras.layers.Conv2D(4, 1, name="before", kernel_initializer="he_normal")(image)
    normal = keras.layers.Identity(name="normal")(layer(before))
    after = keras.layers.Conv2D(2, 1, name="after")(normal)
    return models.randomize(keras.Model(image, [before, normal, after]))


def check_node(model, image, dtype=np.float32, factor=1):
    """The FRN node alone against the reference, on what came before it; returns its parts."""
    (node,) = export_cases.frn_nodes(model)
    axes, epsilon = export_cases.attributes(node)
    gamma, beta, *tau = export_cases.channel_values(model, node)
    before, y, _ = export_cases.run(model, {"image": image})
    assert y.dtype == dtype
    # The outputs are channels last, wherever the node has its channels.
    case = {"epsilon": epsilon, "axes": op.default_axes(y.ndim)}
    bound = tolerances.frn_bound(before, gamma, beta, *tau, dtype=dtype, **case)
    tolerances.assert_within(y, reference.frn(before, gamma, beta, *tau, **case), factor * bound)
    return axes, epsilon, gamma, beta, *tau


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("form", FORMS)
def test_a_written_out_layer(rng, form, opset):
    layer = Written(FORMS[form])
    model = between_convolutions(layer)
    result = export_model(model, opset=opset, layout="NCHW")
    assert result.fused == 1
    assert not result.skipped
    export_cases.check_file(result.model, "portable")
    parts = check_node(result.model, export_cases.normal(rng, 2, 5, 6, 3))
    axes, epsilon, gamma, beta, *tau = parts
    assert axes == (2, 3)
    assert epsilon == pytest.approx(EPSILONS.get(form, EPSILON), rel=1e-6)
    weights = layer.weights_
    ones, zeros = np.ones(4), np.zeros(4)
    expected = {
        "gamma": ones if form.startswith("no ") else weights.gamma.numpy(),
        "beta": zeros if form == "no affine part" else weights.beta.numpy(),
    }
    if form not in WITHOUT_TAU:
        expected["tau"] = weights.tau.numpy()
    # beta - tau, + tau, in float32, where a ReLU is the threshold.
    rounding = 4 * tolerances.unit_roundoff(np.float32)
    for name, found in zip(expected, (gamma, beta, *tau), strict=True):
        size = np.abs(expected[name]) + np.abs(weights.tau.numpy())
        tolerances.assert_within(found, expected[name], rounding * size)


NEAR_MISSES = {
    "epsilon outside": (
        lambda w, x, nu2: w.gamma * x / (ops.sqrt(nu2) + EPSILON) + w.beta,
        "epsilon is added outside the root",
    ),
    "epsilon as a floor": (
        lambda w, x, nu2: w.gamma * x * ops.rsqrt(ops.maximum(nu2, EPSILON)) + w.beta,
        "epsilon is a floor",
    ),
    "mean over H": (
        lambda w, x, nu2: (
            w.gamma * x * ops.rsqrt(ops.mean(ops.square(x), 1, keepdims=True) + EPSILON) + w.beta
        ),
        "its mean runs over axes",
    ),
}


@pytest.mark.parametrize("form", NEAR_MISSES)
def test_a_near_miss_stays_and_is_told(form):
    formula, reason = NEAR_MISSES[form]

    class FRN(Written):
        """By its name an FRN layer, so that its loss is noticed."""

    model = between_convolutions(FRN(formula))
    with pytest.warns(FrnWarning) as warned:
        result = export_model(model)
    assert result.fused == 0
    assert reason in result.skipped[0].reason
    text = str(warned[0].message)
    assert "has 1 FRN layers, but 0 FRN were found" in text
    assert result.frn_layers[0] in text
    assert reason in text
    assert warned[0].filename == __file__
    assert result.report.ok


LAYERS = {
    "tlu": {},
    "relu": {"activation": "relu"},
    "none": {"activation": None},
    "swish": {"activation": "swish"},
    "learned epsilon": {"learned_epsilon": True, "epsilon": EPSILON},
}


@pytest.mark.parametrize("opset", [13, NEWEST_OPSET])
@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize("rank", op.RANKS)
@pytest.mark.parametrize("options", LAYERS.values(), ids=LAYERS)
def test_our_layer(rng, options, rank, channels_first, opset):
    """Alone: TensorFlow has no channels-first convolutions on the CPU."""
    size = (5, 4, 6)[: rank - 2]
    shape = (3, *size) if channels_first else (*size, 3)
    data_format = "channels_first" if channels_first else "channels_last"
    x = keras.Input(shape, name="x")
    layer = FilterResponseNormalization(data_format=data_format, **options)
    model = models.randomize(keras.Model(x, layer(x)))
    result = export_model(model, opset=opset)
    assert (result.fused, len(result.frn_layers)) == (1, 1)
    assert result.nodes["Transpose"] == 0
    export_cases.check_file(result.model, "portable")
    (node,) = export_cases.frn_nodes(result.model)
    axes, epsilon = export_cases.attributes(node)
    assert op.channel_axis(axes) == (1 if channels_first else rank - 1)
    gamma, beta, *tau = export_cases.channel_values(result.model, node)
    np.testing.assert_array_equal(gamma, layer.gamma.numpy())
    np.testing.assert_array_equal(beta, layer.beta.numpy())
    if "activation" not in options:
        np.testing.assert_array_equal(tau[0], layer.tau.numpy())
    if "learned_epsilon" in options:
        learned = float(np.abs(layer.weights[0].numpy()[0]))
        assert learned
        assert epsilon == pytest.approx(EPSILON + learned, rel=1e-6)
    if options.get("activation") != "swish":
        given = export_cases.normal(rng, 2, *shape)
        case = {"epsilon": epsilon, "axes": axes}
        bound = tolerances.frn_bound(given, gamma, beta, *tau, **case)
        (y,) = export_cases.run(result.model, {"x": given})
        tolerances.assert_within(y, reference.frn(given, gamma, beta, *tau, **case), bound)


def test_an_affine_threshold_that_was_not_trained():
    """max(x, slope * x) is what remains of it, with a slope for each channel."""
    x = keras.Input((5, 4, 3))
    y = FilterResponseNormalization(activation=None)(keras.layers.Conv2D(3, 3)(x))
    assert export_model(keras.Model(x, TLU(affine=True)(y))).fused == 1


def test_an_affine_threshold_stays_behind_the_node(rng):
    x = keras.Input((5, 6, 3), name="x")
    y = TLU(affine=True)(FilterResponseNormalization(activation=None)(x))
    result = export_model(models.randomize(keras.Model(x, y)))
    assert result.fused == 1
    assert result.nodes["Max"] == 1
    (node,) = export_cases.frn_nodes(result.model)
    assert len(export_cases.channel_values(result.model, node)) == 2


@pytest.mark.parametrize("opset", [13, NEWEST_OPSET])
def test_mixed_precision(rng, opset):
    """Activations are float16 and the statistic is float32: no Cast is left around the node."""
    layer = FilterResponseNormalization(dtype="mixed_float16")
    image = keras.Input((5, 6, 3), name="image")
    half = {"dtype": "mixed_float16"}
    before = keras.layers.Conv2D(4, 1, name="before", **half)(image)
    normal = keras.layers.Identity(name="normal", **half)(layer(before))
    after = keras.layers.Conv2D(2, 1, name="after", **half)(normal)
    model = models.randomize(keras.Model(image, [before, normal, after]))
    result = export_model(model, opset=opset, layout="NCHW")
    assert result.fused == 1
    (node,) = export_cases.frn_nodes(result.model)
    makers = {o: n.op_type for n in result.model.graph.node for o in n.output}
    assert makers[node.input[0]] == "Conv"
    export_cases.check_file(result.model, "portable")
    # ONNX Runtime computes float16 convolutions in float32 on the CPU, and hands on what it has
    # not rounded yet: x is one rounding off from the output that shows it.
    image = export_cases.normal(rng, 2, 5, 6, 3)
    _, _, gamma, *_ = check_node(result.model, image, np.float16, factor=2)
    tolerances.assert_within(gamma, layer.gamma.numpy(), 2.0**-11 * np.abs(layer.gamma.numpy()))


def test_double_precision():
    x = keras.Input((5, 6, 3), name="x", dtype="float64")
    layer = FilterResponseNormalization(dtype="float64", epsilon=1e-9)
    result = export_model(models.randomize(keras.Model(x, layer(x))))
    assert result.fused == 1
    assert result.model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    assert result.report.outputs[0].max_rel < 2.0**-45
