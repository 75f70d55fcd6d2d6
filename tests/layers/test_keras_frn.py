"""Models and code written with keras-frn."""

import keras
import numpy as np
import pytest
from tolerances import assert_within, frn_bound

from frn_onnx import reference
from frn_onnx.errors import ArgumentError
from frn_onnx.layers import CUSTOM_OBJECTS, FRN, FilterResponseNormalization

# How copies that were moved to tf.keras write an object, from 2.13 on.
RANDOM_UNIFORM_TF = {
    "module": "keras.initializers",
    "class_name": "RandomUniform",
    "config": {"minval": -0.05, "maxval": 0.05, "seed": None},
    "registered_name": None,
}


@pytest.mark.parametrize("changed", [{}, {"tau_initializer": RANDOM_UNIFORM_TF}], ids=str)
def test_reads_its_config(keras_frn_config, changed):
    layer = FRN.from_config({**keras_frn_config, **changed})
    assert layer.name == "frn_1"
    assert layer.epsilon == 0.125
    assert isinstance(layer.tau_initializer, keras.initializers.RandomUniform)
    assert isinstance(layer.gamma_initializer, keras.initializers.Ones)
    assert layer.tau_regularizer.l2 == 0.0625
    assert isinstance(layer.gamma_constraint, keras.constraints.NonNeg)
    assert set(layer.get_config()) >= {"tau_initializers"}
    assert "axis" not in layer.get_config()


def test_reads_its_config_as_keras_does(keras_frn_config):
    layer = keras.layers.deserialize(
        {"class_name": "FRN", "config": keras_frn_config}, custom_objects=CUSTOM_OBJECTS
    )
    assert type(layer) is FRN
    assert layer.epsilon == 0.125


def test_its_words_in_its_order(rng):
    """Every argument by position."""
    zeros, ones, l1 = "zeros", "ones", keras.regularizers.L1(0.5)
    layer = FRN(0.5, zeros, ones, ones, None, None, l1, None, "non_neg", None, name="frn")
    assert layer.epsilon == 0.5
    assert isinstance(layer.tau_initializer, keras.initializers.Ones)
    assert layer.tau_regularizer is l1
    assert isinstance(layer.gamma_constraint, keras.constraints.NonNeg)
    assert isinstance(layer, FilterResponseNormalization)


def test_its_weights_in_its_order(rng):
    tau, gamma, beta = (rng.normal(size=3).astype("f4") for _ in range(3))
    layer = FRN(0.1)
    layer.build((None, None, None, 3))
    layer.set_weights([tau, gamma, beta])
    x = rng.normal(-1.3, 2.0, (2, 5, 6, 3)).astype("f4")
    bound = frn_bound(x, gamma, beta, tau, epsilon=0.1)
    expected = reference.frn(x, gamma, beta, tau, epsilon=0.1)
    assert_within(keras.ops.convert_to_numpy(layer(x)), expected, bound)


def check(model, parameters, rng):
    frn = model.layers[-1]
    assert type(frn) is FRN
    x = keras.ops.convert_to_numpy(model.layers[-2](rng.normal(size=(2, 8, 8, 2)).astype("f4")))
    assert np.abs(x).max() > 0
    bound = frn_bound(x, *parameters, epsilon=0.125)
    expected = reference.frn(x, *parameters, epsilon=0.125)
    assert_within(keras.ops.convert_to_numpy(frn(x)), expected, bound)


def test_reads_its_model_file(keras_frn_file, rng):
    path, parameters = keras_frn_file
    model = keras.models.load_model(path, custom_objects=CUSTOM_OBJECTS, compile=False)
    check(model, parameters, rng)


def test_reads_its_weights_file(keras_frn_file, rng):
    """The way for Sequential models, whose input Keras 3 cannot read from such a file."""
    path, parameters = keras_frn_file
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), keras.layers.Conv2D(3, 1, use_bias=False), FRN(0.125)]
    )
    model.load_weights(path)
    check(model, parameters, rng)


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 3, 4, 5, 3)])
def test_other_ranks_normalise_their_own_axes(case, shape):
    """keras-frn takes the mean over axes 1 and 2 of any rank: channels of rank 3 among them."""
    built = case(FRN(0.1), shape)
    bound = frn_bound(built.x, *built.parameters(), epsilon=0.1)
    assert_within(built.output(), built.expected(), bound)


def test_refuses_an_axis_that_it_never_wrote(keras_frn_config):
    with pytest.raises(ArgumentError, match=r"is -1\. Received: axis=1\. Use Filter"):
        FRN.from_config({**keras_frn_config, "axis": 1})


@pytest.mark.parametrize(
    "argument",
    ["axis", "data_format", "activation", "learned_epsilon", "tau_initializer"],
)
def test_refuses_words_that_are_not_its_own(argument):
    with pytest.raises(ArgumentError, match=f"keras-frn's layer has no {argument}; leave it out"):
        FRN(**{argument: "relu"})
