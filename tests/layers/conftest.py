"""Random input and parameters for the layers."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import pytest

from frn_onnx import reference


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
