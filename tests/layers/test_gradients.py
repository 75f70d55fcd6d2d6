"""Gradients: against the closed form, and finite where FRN is at its worst."""

import keras
import numpy as np
import pytest
from tolerances import assert_within, frn_gradient_bound

from frn_onnx.layers import FRN, FilterResponseNormalization

tf = pytest.importorskip("tensorflow", reason="gradients are taken with TensorFlow's tape")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="Keras runs on another backend"
)


def gradients(layer, x, weight):
    """Of sum(weight * layer(x)), for x and the layer's weights by name."""
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x) * tf.cast(weight, layer.compute_dtype))
    found = tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])
    names = ["x", *(v.name for v in layer.trainable_variables)]
    return dict(zip(names, (np.asarray(g, "f8") for g in found), strict=True))


def test_closed_form(case, rng):
    """With r = 1/sqrt(nu2 + eps) and g = gamma * weight where y > tau, else 0:

    dx = r * (g - x * r**2 * mean(g * x)),  dgamma = sum(weight * x * r),  dbeta = sum(weight),
    dtau = sum(weight where y < tau),  deps = -sum(g * x) * r**3 / 2.
    """
    layer = FilterResponseNormalization(0.05, learned_epsilon=True, dtype="float64")
    built = case(layer, (2, 5, 6, 3))
    built.layer.epsilon_weight.assign([-0.2])
    weight = rng.normal(size=built.x.shape)
    actual = gradients(layer, built.x, weight)

    x, (gamma, _, tau) = built.x, built.parameters()
    r = 1 / np.sqrt(np.mean(x**2, axis=(1, 2), keepdims=True) + 0.25)
    over = built.expected() > tau
    g = gamma * weight * over
    size = x[0, ..., 0].size

    def check(name, terms, axes):
        magnitude = np.abs(terms).sum(axes)
        assert_within(actual[name], terms.sum(axes), frn_gradient_bound(magnitude, terms.size))

    mean = np.mean(g * x, axis=(1, 2), keepdims=True)
    magnitude = r * np.abs(g) + np.abs(x) * r**3 * np.mean(np.abs(g * x), (1, 2), keepdims=True)
    bound = frn_gradient_bound(magnitude, size)
    assert_within(actual["x"], r * (g - x * r**2 * mean), bound)
    everywhere = (0, 1, 2)
    check("gamma", over * weight * x * r, everywhere)
    check("beta", over * weight, everywhere)
    check("tau", ~over * weight, everywhere)
    # The learned epsilon is negative here, and counts by its size.
    check("learned_epsilon", (g * x * r**3 / 2)[..., None], (0, 1, 2, 3))


@pytest.mark.parametrize("dtype", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_finite_on_one_pixel(rng, dtype):
    """A 1x1 map with a small epsilon is a sign function; the learned one is to grow it."""
    layer = FilterResponseNormalization(learned_epsilon=True, activation=None, dtype=dtype)
    x = rng.normal(0, 0.01, (4, 1, 1, 3)).astype("f4")
    x[0] = 0
    found = gradients(layer, x, np.ones_like(x))
    assert all(np.isfinite(g).all() for g in found.values())
    assert np.abs(found["learned_epsilon"]) > 0
    assert (np.abs(found["x"]) > 0).all()


@pytest.mark.parametrize("layer", [FilterResponseNormalization, FRN])
@pytest.mark.parametrize("scale", [0.0, 1.0, 4000.0])
def test_finite_in_half_precision(case, layer, scale):
    built = case(layer(dtype="mixed_float16"), (2, 5, 6, 3), scale)
    found = gradients(built.layer, built.x, np.ones_like(built.x))
    assert all(np.isfinite(g).all() for g in found.values())
