"""Configs, weights and code written with TensorFlow Addons."""

import keras
import numpy as np
import pytest
from tolerances import assert_within, frn_bound

from frn_onnx import reference
from frn_onnx.errors import ShapeError
from frn_onnx.layers import CUSTOM_OBJECTS, TLU, FilterResponseNormalization

# What get_config() gives with TensorFlow Addons 0.23, its last release, on Keras 2.13.
FRN_CONFIG = {
    "name": "filter_response_normalization",
    "trainable": True,
    "dtype": "float32",
    "axis": [1, 2],
    "epsilon": 0.125,
    "learned_epsilon": True,
    "beta_initializer": {
        "module": "keras.initializers",
        "class_name": "Zeros",
        "config": {},
        "registered_name": None,
    },
    "gamma_initializer": {
        "module": "keras.initializers",
        "class_name": "Ones",
        "config": {},
        "registered_name": None,
    },
    "beta_regularizer": None,
    "gamma_regularizer": None,
    "beta_constraint": None,
    "gamma_constraint": None,
    "learned_epsilon_constraint": {"class_name": "NonNeg", "config": {}},
}
TLU_CONFIG = {
    "name": "tlu",
    "trainable": True,
    "dtype": "float32",
    "tau_initializer": {"class_name": "Ones", "config": {}},
    "tau_regularizer": None,
    "tau_constraint": None,
    "affine": False,
}


def test_reads_its_config():
    layer = FilterResponseNormalization.from_config(FRN_CONFIG)
    assert layer.activation is None
    assert layer.axis == [1, 2]
    assert layer.epsilon == 0.125
    assert layer.learned_epsilon
    assert isinstance(layer.learned_epsilon_constraint, keras.constraints.NonNeg)
    assert layer.name == "filter_response_normalization"


def test_reads_its_config_from_hdf5():
    """Keras' loader of HDF5 files drops an axis that is a list."""
    config = {name: value for name, value in FRN_CONFIG.items() if name != "axis"}
    assert FilterResponseNormalization.from_config(config).axis == [1, 2]


def test_reads_its_tlu_config():
    layer = TLU.from_config(TLU_CONFIG)
    assert not layer.affine
    assert isinstance(layer.tau_initializer, keras.initializers.Ones)
    affine = {**TLU_CONFIG, "affine": True, "alpha_initializer": "ones", "alpha_constraint": None}
    assert TLU.from_config(affine).affine


@pytest.mark.parametrize(
    ("name", "config", "kind"),
    [
        ("FilterResponseNormalization", FRN_CONFIG, FilterResponseNormalization),
        ("TLU", TLU_CONFIG, TLU),
    ],
)
def test_reads_its_registered_names(name, config, kind):
    serialized = {"class_name": f"Addons>{name}", "config": config}
    layer = keras.layers.deserialize(serialized, custom_objects=CUSTOM_OBJECTS)
    assert type(layer) is kind


@pytest.mark.parametrize("epsilon", [np.float32(0.5), np.array(0.5), keras.ops.array(0.5)])
def test_takes_epsilon_as_a_scalar_tensor(epsilon):
    """Its constructor made a tensor of epsilon, and early versions gave that to the config."""
    layer = FilterResponseNormalization(epsilon=epsilon)
    assert type(layer.epsilon) is float
    assert layer.epsilon == 0.5


def test_its_words_in_its_order():
    l1 = keras.regularizers.L1(0.5)
    layer = FilterResponseNormalization(
        0.5, [1, 2], "ones", "zeros", l1, None, None, "non_neg", True, "non_neg", "frn"
    )
    assert (layer.epsilon, layer.axis, layer.name) == (0.5, [1, 2], "frn")
    assert isinstance(layer.beta_initializer, keras.initializers.Ones)
    assert isinstance(layer.gamma_initializer, keras.initializers.Zeros)
    assert layer.beta_regularizer is l1
    assert isinstance(layer.gamma_constraint, keras.constraints.NonNeg)
    assert layer.learned_epsilon


def test_takes_its_weights(rng):
    """learned_epsilon (1,), then gamma and beta of shape (1, 1, 1, C)."""
    gamma, beta = (rng.normal(size=(1, 1, 1, 3)).astype("f4") for _ in range(2))
    layer = FilterResponseNormalization.from_config(FRN_CONFIG)
    layer.build((None, 5, 6, 3))
    layer.set_weights([np.array([0.25], "f4"), gamma, beta])
    x = rng.normal(-1.3, 2.0, (2, 5, 6, 3)).astype("f4")
    expected = reference.frn(x, gamma[0, 0, 0], beta[0, 0, 0], epsilon=0.375)
    bound = frn_bound(x, gamma[0, 0, 0], beta[0, 0, 0], epsilon=0.375)
    assert_within(keras.ops.convert_to_numpy(layer(x)), expected, bound)


MANY = r"tau must have shape \(3,\), received \(5, 6, 3\)\. TensorFlow Addons' TLU learns one"


def test_refuses_one_threshold_per_position(rng):
    layer = TLU()
    layer.build((None, 5, 6, 3))
    with pytest.raises(ShapeError, match=MANY):
        layer.set_weights([rng.normal(size=(5, 6, 3))])


def test_refuses_one_threshold_per_position_from_a_file(rng, tmp_path):
    class Tlu(keras.layers.Layer):
        def build(self, shape):
            self.tau = self.add_weight(name="tau", shape=shape[1:])

        def call(self, x):
            return keras.ops.maximum(x, self.tau)

    image = keras.Input((5, 6, 3))
    keras.Model(image, Tlu()(image)).save_weights(tmp_path / "a.weights.h5")
    model = keras.Model(image, TLU()(image))
    # Keras collects what the layers raise into an error of its own.
    with pytest.raises(ValueError, match=MANY):
        model.load_weights(tmp_path / "a.weights.h5")


def test_the_cure_for_constant_thresholds_works(rng):
    """What the error says: value.reshape(-1, C)[0]."""
    tau = np.broadcast_to(rng.normal(size=3).astype("f4"), (5, 6, 3))
    layer = TLU()
    layer.build((None, 5, 6, 3))
    layer.set_weights([tau.reshape(-1, 3)[0]])
    x = rng.normal(size=(2, 5, 6, 3)).astype("f4")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(layer(x)), np.maximum(x, tau))
