"""Models and code written with keras-frn."""

import json

import h5py
import keras
import numpy as np
import pytest
from tolerances import assert_within, frn_bound

from frn_onnx import reference
from frn_onnx.errors import ArgumentError
from frn_onnx.layers import CUSTOM_OBJECTS, FRN, FilterResponseNormalization

# What get_config() of keras-frn's layer gives with Keras 2.3.1, where it was last released.
CONFIG = {
    "name": "frn_1",
    "trainable": True,
    "dtype": "float32",
    "axis": -1,
    "epsilon": 0.125,
    "beta_initializer": {"class_name": "Zeros", "config": {}},
    "tau_initializer": {
        "class_name": "RandomUniform",
        "config": {"minval": -0.05, "maxval": 0.05, "seed": None},
    },
    "gamma_initializer": {"class_name": "Ones", "config": {}},
    "beta_regularizer": None,
    "tau_regularizer": {"class_name": "L1L2", "config": {"l1": 0.0, "l2": 0.0625}},
    "gamma_regularizer": None,
    "beta_constraint": None,
    "gamma_constraint": {"class_name": "NonNeg", "config": {}},
    "tau_constraint": None,
}
# The same from a copy moved to tf.keras, which writes more about each object from 2.13 on.
CONFIG_TF = {
    **CONFIG,
    "tau_initializer": {
        "module": "keras.initializers",
        "class_name": "RandomUniform",
        "config": {"minval": -0.05, "maxval": 0.05, "seed": None},
        "registered_name": None,
    },
}


@pytest.mark.parametrize("config", [CONFIG, CONFIG_TF])
def test_reads_its_config(config):
    layer = FRN.from_config(config)
    assert layer.name == "frn_1"
    assert layer.epsilon == 0.125
    assert isinstance(layer.tau_initializer, keras.initializers.RandomUniform)
    assert isinstance(layer.gamma_initializer, keras.initializers.Ones)
    assert layer.tau_regularizer.l2 == 0.0625
    assert isinstance(layer.gamma_constraint, keras.constraints.NonNeg)
    assert set(layer.get_config()) >= {"tau_initializers"}
    assert "axis" not in layer.get_config()


def test_reads_its_config_as_keras_does():
    layer = keras.layers.deserialize(
        {"class_name": "FRN", "config": CONFIG}, custom_objects=CUSTOM_OBJECTS
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


CONV_CONFIG = {
    "name": "conv2d_1",
    "trainable": True,
    "dtype": "float32",
    "filters": 3,
    "kernel_size": [1, 1],
    "strides": [1, 1],
    "padding": "valid",
    "data_format": "channels_last",
    "dilation_rate": [1, 1],
    "activation": "linear",
    "use_bias": False,
    "kernel_initializer": {"class_name": "Zeros", "config": {}},
    "bias_initializer": {"class_name": "Zeros", "config": {}},
    "kernel_regularizer": None,
    "bias_regularizer": None,
    "activity_regularizer": None,
    "kernel_constraint": None,
    "bias_constraint": None,
}
FUNCTIONAL = {
    "class_name": "Model",
    "config": {
        "name": "model_1",
        "layers": [
            {
                "name": "input_1",
                "class_name": "InputLayer",
                "config": {
                    "batch_input_shape": [None, 8, 8, 2],
                    "dtype": "float32",
                    "sparse": False,
                    "name": "input_1",
                },
                "inbound_nodes": [],
            },
            {
                "name": "conv2d_1",
                "class_name": "Conv2D",
                "config": CONV_CONFIG,
                "inbound_nodes": [[["input_1", 0, 0, {}]]],
            },
            {
                "name": "frn_1",
                "class_name": "FRN",
                "config": CONFIG,
                "inbound_nodes": [[["conv2d_1", 0, 0, {}]]],
            },
        ],
        "input_layers": [["input_1", 0, 0]],
        "output_layers": [["frn_1", 0, 0]],
    },
}


@pytest.fixture
def old_file(rng, tmp_path):
    """A whole model in the HDF5 format of Keras 2.3, which keras-frn itself fails to load.

    Gives its path and the function it computes, in float64.
    """
    kernel = rng.normal(size=(1, 1, 2, 3)).astype("f4")
    tau, gamma, beta = (rng.normal(size=3).astype("f4") for _ in range(3))
    weights = {
        "conv2d_1": {"conv2d_1/kernel:0": kernel},
        "frn_1": {"frn_1/tau:0": tau, "frn_1/gamma:0": gamma, "frn_1/beta:0": beta},
    }
    path = tmp_path / "keras_frn.h5"
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = [name.encode() for name in weights]
        for group in (file, root):
            group.attrs["keras_version"] = b"2.3.1"
            group.attrs["backend"] = b"tensorflow"
        file.attrs["model_config"] = json.dumps(FUNCTIONAL).encode()
        for name, values in weights.items():
            group = root.create_group(name)
            group.attrs["weight_names"] = [weight.encode() for weight in values]
            for weight, value in values.items():
                group.create_dataset(weight, data=value)
    return path, (gamma, beta, tau)


def check_old_model(model, parameters, rng):
    frn = model.layers[-1]
    assert type(frn) is FRN
    x = keras.ops.convert_to_numpy(model.layers[-2](rng.normal(size=(2, 8, 8, 2)).astype("f4")))
    assert np.abs(x).max() > 0
    bound = frn_bound(x, *parameters, epsilon=0.125)
    expected = reference.frn(x, *parameters, epsilon=0.125)
    assert_within(keras.ops.convert_to_numpy(frn(x)), expected, bound)


def test_reads_its_model_file(old_file, rng):
    path, parameters = old_file
    model = keras.models.load_model(path, custom_objects=CUSTOM_OBJECTS, compile=False)
    check_old_model(model, parameters, rng)


def test_reads_its_weights_file(old_file, rng):
    """The way for Sequential models, whose input Keras 3 cannot read from such a file."""
    path, parameters = old_file
    model = keras.Sequential(
        [keras.Input((8, 8, 2)), keras.layers.Conv2D(3, 1, use_bias=False), FRN(0.125)]
    )
    model.load_weights(path)
    check_old_model(model, parameters, rng)


@pytest.mark.parametrize("shape", [(2, 7, 3), (2, 3, 4, 5, 3)])
def test_other_ranks_normalise_their_own_axes(case, shape):
    """keras-frn takes the mean over axes 1 and 2 of any rank: channels of rank 3 among them."""
    built = case(FRN(0.1), shape)
    bound = frn_bound(built.x, *built.parameters(), epsilon=0.1)
    assert_within(built.output(), built.expected(), bound)


def test_refuses_an_axis_that_it_never_wrote():
    with pytest.raises(ArgumentError, match=r"is -1\. Received: axis=1\. Use Filter"):
        FRN.from_config({**CONFIG, "axis": 1})


@pytest.mark.parametrize(
    "argument",
    ["axis", "data_format", "activation", "learned_epsilon", "tau_initializer"],
)
def test_refuses_words_that_are_not_its_own(argument):
    with pytest.raises(ArgumentError, match=f"keras-frn's layer has no {argument}; leave it out"):
        FRN(**{argument: "relu"})
