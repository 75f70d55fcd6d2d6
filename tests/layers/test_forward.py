"""What the layers compute, against the float64 reference."""

import keras
import numpy as np
import pytest
from tolerances import affine_tlu_bound, assert_within, frn_bound

from frn_onnx.layers import FRN, TLU, FilterResponseNormalization

SPATIAL = [(7,), (5, 6), (3, 4, 5)]
FORMATS = ["channels_last", "channels_first"]
FLOAT64 = pytest.param(
    "float64",
    marks=pytest.mark.skipif(
        keras.backend.backend() != "tensorflow",
        reason="Keras' own ops turn float64 into float32 on the other backends",
    ),
)
DTYPES = ["float32", FLOAT64, "mixed_float16", "mixed_bfloat16", "float16"]


def check(case):
    bound = frn_bound(
        case.x,
        *case.parameters(),
        epsilon=case.epsilon(),
        axes=case.axes,
        dtype=case.layer.compute_dtype,
    )
    y = case.output()
    assert y.dtype.name == case.layer.compute_dtype
    assert_within(y, case.expected(), bound)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("spatial", SPATIAL)
def test_ranks_formats_and_types(case, shaped, spatial, data_format, epsilon, dtype):
    layer = FilterResponseNormalization(epsilon, data_format=data_format, dtype=dtype)
    check(case(layer, shaped(spatial, 3, data_format)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-6, 0.5])
@pytest.mark.parametrize("spatial", SPATIAL)
def test_keras_frn_layer(case, shaped, spatial, epsilon, dtype):
    check(case(FRN(epsilon, dtype=dtype), shaped(spatial, 3, "channels_last")))


@pytest.mark.parametrize(
    ("axis", "shape"),
    [
        (-1, (2, 5, 6, 3)),
        (1, (2, 3, 5, 6)),
        (2, (2, 5, 3, 6)),
        (-2, (2, 4, 5, 3, 6)),
        ([1, 2], (2, 5, 6, 3)),
        ([2, 1], (2, 5, 6, 3)),
        ((-3, -2), (2, 5, 6, 3)),
        ([2, 3], (2, 3, 5, 6)),
        ([1], (2, 7, 3)),
        ([1, 3], (2, 5, 3, 6)),
        ([1, 2, 3], (2, 3, 4, 5, 3)),
    ],
)
def test_axis_is_the_channel_axis_or_the_spatial_axes(case, axis, shape):
    built = case(FilterResponseNormalization(0.1, axis), shape)
    assert built.layer.gamma.shape == (3,)
    check(built)


@pytest.mark.parametrize("data_format", FORMATS)
def test_data_format_defaults_to_that_of_keras(case, shaped, data_format):
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(data_format)
    try:
        layers = FilterResponseNormalization(), TLU()
    finally:
        keras.config.set_image_data_format(before)
    for layer in layers:
        assert layer.data_format == data_format
        assert case(layer, shaped((5, 6), 3, data_format)).layer.tau.shape == (3,)


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize(
    ("batch", "spatial", "channels"),
    [(1, (1, 1), 1), (3, (1, 1), 5), (1, (33, 31), 17), (2, (1, 64), 8), (0, (4, 4), 3)],
)
def test_hostile_shapes(case, shaped, batch, spatial, channels, data_format):
    layer = FilterResponseNormalization(0.01, data_format=data_format)
    check(case(layer, shaped(spatial, channels, data_format, batch)))


@pytest.mark.parametrize("learned", [1e-4, 0.3, -0.3])
def test_learned_epsilon_is_added_by_its_size(case, learned):
    built = case(FilterResponseNormalization(0.05, learned_epsilon=True), (2, 5, 6, 3))
    built.layer.epsilon_weight.assign([learned])
    assert built.epsilon() == pytest.approx(0.05 + abs(learned))
    check(built)


def test_learned_epsilon_begins_at_a_ten_thousandth():
    layer = FilterResponseNormalization(learned_epsilon=True)
    layer.build((None, None, None, 3))
    assert keras.ops.convert_to_numpy(layer.epsilon_weight) == np.float32([1e-4])


def test_a_negative_epsilon_counts_by_its_size(case):
    built = case(FilterResponseNormalization(-0.4), (2, 5, 6, 3))
    assert built.epsilon() == 0.4
    check(built)


@pytest.mark.parametrize("layer", [FilterResponseNormalization, FRN])
@pytest.mark.parametrize("dtype", ["mixed_float16", "float16"])
@pytest.mark.parametrize("scale", [256.0, 4000.0, 16000.0])
def test_half_precision_beyond_its_square_root(case, layer, dtype, scale):
    """The square of 256 is past the largest float16, 65504."""
    built = case(layer(dtype=dtype), (2, 5, 6, 3), scale)
    assert np.abs(built.x).max() > scale
    check(built)


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e3, 1e18])
def test_magnitudes_of_float32(case, scale):
    check(case(FilterResponseNormalization(1e-6), (2, 5, 6, 3), scale))


@pytest.mark.parametrize("activation", ["tlu", "relu", None])
def test_nan_stays_in_its_plane(case, activation):
    built = case(FilterResponseNormalization(activation=activation), (2, 5, 6, 3))
    built.x[1, 2, 3, 1] = np.nan
    y = built.output()
    assert np.isnan(y[1, :, :, 1]).all()
    assert np.isnan(y).sum() == 5 * 6


def test_without_activation_there_is_no_tau(case):
    built = case(FilterResponseNormalization(0.1, activation=None), (2, 5, 6, 3))
    assert [w.name for w in built.layer.weights] == ["gamma", "beta"]
    check(built)


def test_relu(case):
    built = case(FilterResponseNormalization(0.1, activation="relu"), (2, 5, 6, 3))
    gamma, beta, tau = built.parameters()
    assert tau is None
    bound = frn_bound(built.x, gamma, beta, epsilon=0.1, axes=built.axes)
    assert_within(built.output(), np.maximum(built.expected(), 0), bound)


@pytest.mark.parametrize("activation", ["swish", "leaky_relu", keras.activations.tanh])
def test_any_keras_activation(case, activation):
    built = case(FilterResponseNormalization(0.1, activation=activation), (2, 5, 6, 3))
    plain = FilterResponseNormalization(0.1, activation=None)
    plain.build(built.x.shape)
    plain.set_weights(built.layer.get_weights())
    expected = keras.activations.get(activation)(plain(built.x))
    np.testing.assert_array_equal(built.output(), keras.ops.convert_to_numpy(expected))


@pytest.mark.parametrize("dtype", ["float32", FLOAT64, "mixed_float16"])
@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("spatial", [(), *SPATIAL])
def test_tlu(case, shaped, spatial, data_format, dtype):
    layer = TLU(data_format=data_format, dtype=dtype)
    built = case(layer, shaped(spatial, 3, data_format))
    tau = keras.ops.convert_to_numpy(layer.tau).astype(layer.compute_dtype)
    tau = tau.reshape(shaped((1,) * len(spatial), 3, data_format)[1:])
    y = built.output()
    assert y.dtype.name == layer.compute_dtype
    np.testing.assert_array_equal(y, np.maximum(built.x, tau))


@pytest.mark.parametrize("dtype", ["float32", FLOAT64, "mixed_float16"])
@pytest.mark.parametrize("data_format", FORMATS)
def test_affine_tlu(case, shaped, data_format, dtype):
    layer = TLU(affine=True, data_format=data_format, dtype=dtype)
    built = case(layer, shaped((5, 6), 3, data_format))
    alpha, tau = (
        keras.ops.convert_to_numpy(w)
        .astype(layer.compute_dtype)
        .astype("f8")
        .reshape(shaped((1, 1), 3, data_format)[1:])
        for w in (layer.alpha, layer.tau)
    )
    x = built.x.astype("f8")
    bound = affine_tlu_bound(x, alpha, tau, dtype=layer.compute_dtype)
    assert_within(built.output(), np.maximum(x, alpha * x + tau), bound)


def test_tlu_passes_nan(case):
    built = case(TLU(), (2, 5, 6, 3))
    built.x[1, 2, 3, 1] = np.nan
    y = built.output()
    assert np.isnan(y[1, 2, 3, 1])
    assert np.isnan(y).sum() == 1


def test_sizes_may_be_unknown(case):
    layer = FilterResponseNormalization(0.1)
    image = keras.Input((None, None, 3))
    y = layer(image)
    assert y.shape == (None, None, None, 3)
    model = keras.Model(image, y)
    for spatial in [(4, 9), (1, 1), (17, 2)]:
        built = case(layer, (2, *spatial, 3))
        bound = frn_bound(built.x, *built.parameters(), epsilon=0.1, axes=built.axes)
        assert_within(model.predict(built.x, verbose=0), built.expected(), bound)


@pytest.mark.parametrize("layer", [FilterResponseNormalization, FRN, TLU])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_symbolic_shape_and_type(layer, dtype):
    built = layer(dtype=dtype)
    spec = built.compute_output_spec(keras.KerasTensor((None, None, 4, 3), dtype="float32"))
    assert spec.shape == (None, None, 4, 3)
    assert spec.dtype == built.compute_dtype


def test_a_mask_goes_through():
    text = keras.Input((7,))
    embedded = keras.layers.Embedding(11, 3, mask_zero=True)(text)
    for layer in (FilterResponseNormalization(), FRN(), TLU()):
        assert layer(embedded)._keras_mask is not None
