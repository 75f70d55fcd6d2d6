"""What follows a convolution in these networks: three choices behind one signature.

    norm(x, normalise, activate, data_format) -> tensor of x's shape

``NORMS["frn"]`` is this package's layers, ``NORMS["keras-frn"]`` the same function in the
spelling of keras-frn, ``NORMS["relu"]`` a network without normalisation, which is what one
with batch normalisation becomes when that is folded into the convolutions.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from frn_onnx.layers import TLU, FilterResponseNormalization

Norm = Callable[[keras.KerasTensor, bool, bool, str], keras.KerasTensor]


@keras.saving.register_keras_serializable(package="frn_onnx.models")
class WrittenOutFrn(keras.layers.Layer):
    """FRN in the spelling of keras-frn: x * 1 / sqrt(nu2 + |epsilon|), then the affine part.

    Exporters make another graph of it than of ``FilterResponseNormalization``: a division
    and a product with 1.

    Args:
        threshold: whether ``max(., tau)`` follows.
        epsilon: added to nu2; its absolute value is used.
        data_format: where the channels are.

    Weights, in order: tau if there is one, gamma, beta.
    """

    def __init__(self, threshold=True, epsilon=1e-6, data_format="channels_last", **kwargs):
        super().__init__(**kwargs)
        self.threshold = threshold
        self.epsilon = epsilon
        self.data_format = data_format

    def build(self, input_shape):
        rank = len(input_shape)
        if self.data_format == "channels_first":
            self._axes, shape = list(range(2, rank)), (input_shape[1],) + (1,) * (rank - 2)
        else:
            self._axes, shape = list(range(1, rank - 1)), (input_shape[-1],)
        self.tau = self.add_weight(name="tau", shape=shape) if self.threshold else None
        self.gamma = self.add_weight(name="gamma", shape=shape, initializer="ones")
        self.beta = self.add_weight(name="beta", shape=shape, initializer="zeros")

    def call(self, x):
        nu2 = ops.mean(ops.square(x), axis=self._axes, keepdims=True)
        y = self.gamma * (x * 1 / ops.sqrt(nu2 + abs(self.epsilon))) + self.beta
        return ops.maximum(y, self.tau) if self.threshold else y

    def get_config(self):
        return {
            **super().get_config(),
            "threshold": self.threshold,
            "epsilon": self.epsilon,
            "data_format": self.data_format,
        }


def _frn(x, normalise, activate, data_format):
    if not normalise:
        return TLU(data_format=data_format)(x)
    activation = "tlu" if activate else None
    return FilterResponseNormalization(activation=activation, data_format=data_format)(x)


def _written_out(x, normalise, activate, data_format):
    if not normalise:
        return TLU(data_format=data_format)(x)
    return WrittenOutFrn(threshold=activate, data_format=data_format)(x)


def _relu(x, normalise, activate, data_format):
    return keras.layers.ReLU()(x) if activate else x


NORMS: dict[str, Norm] = {"frn": _frn, "keras-frn": _written_out, "relu": _relu}


def apply_norm(norm, x, *, normalise=True, activate=True, data_format):
    """``x`` after the normalisation, the activation, or both, of the chosen kind."""
    function = norm if callable(norm) else NORMS[norm]
    return function(x, normalise, activate, data_format)


def conv(x, filters, kernel_size, *, norm, data_format, strides=1, up=False):
    """A convolution (transposed if ``up``)."""
    convolution = keras.layers.Conv2DTranspose if up else keras.layers.Conv2D
    return convolution(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        # A folded batch normalisation leaves a bias; FRN brings its own.
        use_bias=norm == "relu",
        kernel_initializer="he_normal",
        data_format=data_format,
    )(x)


def conv_norm(x, filters, kernel_size, *, norm, data_format, strides=1, activate=True, up=False):
    """A convolution, its normalisation and its activation."""
    options = {"norm": norm, "data_format": data_format}
    x = conv(x, filters, kernel_size, strides=strides, up=up, **options)
    return apply_norm(norm, x, activate=activate, data_format=data_format)


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Gives all FRN and TLU parameters of a model distinct values, as training would.

    With the initial values, 1 and 0, a test of an exporter proves little: a product with 1
    and a sum with 0 are folded away.

    Returns: the model, changed in place.
    """
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if variable.name == "gamma":
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
        elif variable.name in ("beta", "tau", "alpha"):
            variable.assign(rng.normal(0.0, 0.3, variable.shape))
        elif variable.name == "learned_epsilon":
            variable.assign(rng.uniform(-1e-2, 1e-2, variable.shape))
    return model
