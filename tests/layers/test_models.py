"""The networks that the demo, the tests and the benchmarks are made of."""

import keras
import numpy as np
import pytest
from tolerances import FLOAT64_NETWORK_RTOL, assert_within

from frn_onnx import models
from frn_onnx.layers import TLU, FilterResponseNormalization

BUILDERS = {
    "digits_cnn": (models.digits_cnn, {}, (8, 8, 1), 4),
    "resnet20": (models.resnet20, {}, (32, 32, 3), 21),
    "resnet50": (models.resnet50, {"width": 4, "classes": 7}, (64, 64, 3), 53),
    "resnetv2_50d": (models.resnetv2_50d, {"width": 4, "classes": 7}, (64, 64, 3), 51),
    "unet": (models.unet, {"width": 2}, (32, 48, 3), 36),
}
each = pytest.mark.parametrize("name", BUILDERS)


def build(name, **options):
    builder, small, shape, layers = BUILDERS[name]
    keras.utils.set_random_seed(1)
    return builder(**{"input_shape": shape, **small, **options}), shape, layers


def count(model, kind):
    return sum(isinstance(layer, kind) for layer in model.layers)


@each
def test_number_of_frn_layers(name):
    model, _, layers = build(name)
    assert count(model, FilterResponseNormalization) == layers
    model, _, layers = build(name, norm="keras-frn")
    assert count(model, models.WrittenOutFrn) == layers
    model, _, _ = build(name, norm="relu")
    assert count(model, (FilterResponseNormalization, models.WrittenOutFrn, TLU)) == 0


@each
def test_written_out_network_computes_the_same(name, rng):
    """In float64, so that what differs is the network and not the rounding."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        model, shape, _ = build(name)
        other, _, _ = build(name, norm="keras-frn")
    finally:
        keras.config.set_dtype_policy(before)
    models.randomize(model, seed=3)
    by_kind = {}
    for variable in model.weights:
        by_kind.setdefault(variable.name, []).append(variable)
    # The two hold their parameters in another order, but the layers in the same one.
    for variable in other.weights:
        variable.assign(by_kind[variable.name].pop(0))
    assert not any(by_kind.values())
    image = rng.normal(size=(2, *shape))
    expected = model.predict(image, verbose=0)
    bound = FLOAT64_NETWORK_RTOL * np.abs(expected).max()
    assert_within(other.predict(image, verbose=0), expected, bound)


@each
@pytest.mark.parametrize("norm", models.NORMS)
def test_channels_first(name, norm):
    model, shape, _ = build(name, norm=norm)
    first, _, _ = build(
        name, norm=norm, input_shape=(shape[-1], *shape[:2]), data_format="channels_first"
    )
    assert [w.shape.num_elements() for w in first.weights] == [
        w.shape.num_elements() for w in model.weights
    ]
    moved = model.output_shape
    if len(moved) == 4:
        moved = (moved[0], moved[3], *moved[1:3])
    assert first.output_shape == moved


@each
def test_sizes_may_be_unknown(name, rng):
    fixed, shape, _ = build(name)
    free, _, _ = build(name, input_shape=(None, None, shape[-1]))
    free.set_weights(fixed.get_weights())
    image = rng.normal(size=(1, *shape)).astype("f4")
    np.testing.assert_array_equal(free.predict(image, verbose=0), fixed.predict(image, verbose=0))
    assert np.isfinite(free.predict(np.tile(image, (1, 2, 1, 1)), verbose=0)).all()


def test_norm_may_be_a_function():
    calls = []

    def norm(x, normalise, activate, data_format):
        calls.append((normalise, activate, data_format))
        return x

    build("resnet20", norm=norm)
    assert len(calls) == 21 + 9
    # The second convolution of each block, and its shortcut, have no activation.
    assert sum(not activate for _, activate, _ in calls) == 9 + 2
    assert sum(not normalise for normalise, _, _ in calls) == 9


def test_randomize_reaches_every_parameter_and_repeats():
    model, _, _ = build("digits_cnn")
    before = model.get_weights()
    first = models.randomize(model, seed=5).get_weights()
    second = models.randomize(model, seed=5).get_weights()
    frn = [v.name in ("gamma", "beta", "tau") for v in model.weights]
    for is_frn, old, new, again in zip(frn, before, first, second, strict=True):
        np.testing.assert_array_equal(new, again)
        assert (len(np.unique(new)) == new.size) if is_frn else (new == old).all()


def test_digits_are_learned():
    """The demo trains longer and reaches more; see its own test."""
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.images[..., None] / 16).astype("f4")[order], digits.target[order]
    model, _, _ = build("digits_cnn")
    model.compile(
        keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    model.fit(x[:1347], y[:1347], batch_size=32, epochs=10, verbose=0)
    _, accuracy = model.evaluate(x[1347:], y[1347:], verbose=0)
    assert accuracy >= 0.97
