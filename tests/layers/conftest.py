"""Random input and parameters for the layers, and files of the packages before this one."""

import copy
import json
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from frn_onnx import reference

# What Keras 2.3.1 and keras-frn write of a model: an input, a convolution and an FRN.
KERAS_FRN_MODEL = json.loads(
    Path(__file__).with_name("data").joinpath("keras_frn_model.json").read_text()
)


class Case:
    """A layer with distinct random parameters, and input with signs, an offset and a zero plane.

    Attributes:
        layer: built, its parameters set.
        x: the input, in the layer's compute type.
        axes: the spatial axes.
    """

    def __init__(self, layer, shape, rng, scale=2.0):
        self.layer = layer
        if not layer.built:
            layer.build(shape)
        channel = layer._channel_axis(len(shape))
        self.axes = tuple(axis for axis in range(1, len(shape)) if axis != channel)
        x = rng.normal(-0.65 * scale, scale, shape)
        if x.size > x.shape[channel]:
            x[(0, *(0 if axis == channel else slice(None) for axis in range(1, x.ndim)))] = 0
        self.x = keras.ops.convert_to_numpy(keras.ops.cast(x, layer.compute_dtype))
        for name in ("gamma", "beta", "tau", "alpha"):
            variable = getattr(layer, name, None)
            if variable is not None:
                variable.assign(rng.normal(0.2, 0.8, variable.shape))

    def parameters(self):
        """gamma, beta and tau as the layer holds them, in float64; tau may be None."""
        values = (self.layer.gamma, self.layer.beta, self.layer.tau)
        return [None if v is None else keras.ops.convert_to_numpy(v).astype("f8") for v in values]

    def epsilon(self):
        epsilon = abs(self.layer.epsilon)
        if self.layer.learned_epsilon:
            epsilon += abs(float(keras.ops.convert_to_numpy(self.layer.epsilon_weight)[0]))
        return epsilon

    def output(self):
        return keras.ops.convert_to_numpy(self.layer(self.x))

    def expected(self):
        return reference.frn(self.x, *self.parameters(), epsilon=self.epsilon(), axes=self.axes)


@pytest.fixture
def case(rng):
    """Builds a :class:`Case`: ``case(layer, shape, scale=2.0)``."""
    return lambda layer, shape, scale=2.0: Case(layer, shape, rng, scale)


@pytest.fixture
def shaped():
    """Builds a shape: (N, spatial..., C) or (N, C, spatial...)."""

    def build(spatial, channels, data_format, batch=2):
        first = data_format == "channels_first"
        return (batch, channels, *spatial) if first else (batch, *spatial, channels)

    return build


@pytest.fixture
def apply_gradient():
    """One step of plain descent, after which Keras applies the variable's constraint."""

    def apply(variable, gradient):
        optimizer = keras.optimizers.SGD(1.0)
        gradient = np.broadcast_to(np.float32(gradient), variable.shape)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [variable])
        return keras.ops.convert_to_numpy(variable)

    return apply


@pytest.fixture
def write_old_file():
    """Writes an HDF5 file as Keras 2 does: ``write(path, {layer: {weight: array}}, config)``.

    Without the config of a model it is a file of weights alone.
    """

    def write(path, weights, config=None):
        with h5py.File(path, "w") as file:
            root = file
            if config is not None:
                file.attrs["keras_version"] = b"2.3.1"
                file.attrs["backend"] = b"tensorflow"
                file.attrs["model_config"] = json.dumps(config).encode()
                root = file.create_group("model_weights")
            root.attrs["layer_names"] = [name.encode() for name in weights]
            root.attrs["keras_version"] = b"2.3.1"
            root.attrs["backend"] = b"tensorflow"
            for name, values in weights.items():
                group = root.create_group(name)
                group.attrs["weight_names"] = [weight.encode() for weight in values]
                for weight, value in values.items():
                    group.create_dataset(weight, data=value)

    return write


@pytest.fixture
def keras_frn_file(rng, tmp_path, write_old_file):
    """A whole model that Keras 2.3 wrote with keras-frn, which itself fails to load it.

    Gives its path, and gamma, beta and tau of its FRN.
    """
    kernel = rng.normal(size=(1, 1, 2, 3)).astype("f4")
    tau, gamma, beta = (rng.normal(size=3).astype("f4") for _ in range(3))
    weights = {
        "conv2d_1": {"conv2d_1/kernel:0": kernel},
        "frn_1": {"frn_1/tau:0": tau, "frn_1/gamma:0": gamma, "frn_1/beta:0": beta},
    }
    path = tmp_path / "keras_frn.h5"
    write_old_file(path, weights, KERAS_FRN_MODEL)
    return path, (gamma, beta, tau)


@pytest.fixture
def keras_frn_config():
    """What get_config() of keras-frn's layer gives."""
    return copy.deepcopy(KERAS_FRN_MODEL["config"]["layers"][-1]["config"])
