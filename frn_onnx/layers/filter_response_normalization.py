"""The layer ``FilterResponseNormalization``."""

import math

import keras
from keras import activations, constraints, ops

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ShapeError
from frn_onnx.layers.per_channel import PerChannelLayer
from frn_onnx.whole import as_int

# The initial value of a learned epsilon, in the paper as in TensorFlow Addons.
_LEARNED_EPSILON_INIT = 1e-4


@keras.saving.register_keras_serializable(package="frn_onnx")
class FilterResponseNormalization(PerChannelLayer):
    """Filter Response Normalization with its Thresholded Linear Unit, or another activation.

        nu2 = mean(x**2) over the spatial axes, per sample and channel
        y   = activation(gamma * x / sqrt(nu2 + eps) + beta)
        eps = |epsilon|, or |epsilon| + |learned epsilon|

    The statistic needs neither the batch nor running averages, so training and inference are
    the same. The mean is taken in float32 at least, and x is cast before it is squared: under
    mixed_float16 the square of 256 would overflow. NaN in x is NaN in y.

    The first eleven arguments are those of TensorFlow Addons' layer, in its order. That layer
    has no activation: code that puts a ``TLU`` behind it passes ``activation=None`` here.

    Args:
        epsilon: added to nu2 inside the root; its absolute value is used.
        axis: an integer is the channel axis, as in Keras' normalisation layers; a list is the
            spatial axes, as in TensorFlow Addons, and leaves one channel axis beside axis 0.
            None takes the channel axis from ``data_format``.
        beta_initializer, beta_regularizer, beta_constraint: of the offset beta, (C,).
        gamma_initializer, gamma_regularizer, gamma_constraint: of the scale gamma, (C,).
        learned_epsilon: whether to learn a second epsilon, one number, from 1e-4. The paper
            has it for 1x1 maps, where a small fixed epsilon turns the layer into a sign
            function that passes almost no gradient.
        learned_epsilon_constraint: of the learned epsilon.
        name: of the layer.
        data_format: ``"channels_last"``, ``"channels_first"``, or None for
            ``keras.config.image_data_format()``. Cannot be given together with ``axis``.
        activation: ``"tlu"`` for ``max(y, tau)`` with a learned tau per channel; None; or
            anything ``keras.activations.get`` takes, also a layer, such as PReLU.
        tau_initializer, tau_regularizer, tau_constraint: of the threshold tau, (C,); only
            with ``activation="tlu"``.
        **kwargs: of ``keras.layers.Layer``: dtype, trainable, ...

    Input shape: rank 3 to 5, (N, spatial..., C) or (N, C, spatial...); all but C may be
        unknown. Output shape: the same.

    Weights, in order: learned_epsilon (1,) if there is one, gamma, beta, tau, and those of an
        activation that is a layer.

    Raises:
        ArgumentError: an argument has a value that means nothing here, or cannot be honoured.
        ShapeError: the input is not of rank 3 to 5, its number of channels is unknown, or
            ``axis`` does not fit it.

    Source:
        arXiv 1911.09737, section 3.

    Example:
        >>> layer = FilterResponseNormalization(epsilon=16.0, activation=None)
        >>> y = layer(keras.ops.full((1, 4, 4, 2), -3.0))
        >>> keras.ops.convert_to_numpy(y)[0, 0, 0]
        array([-0.6, -0.6], dtype=float32)
    """

    _WEIGHT_ORDER = ("gamma", "beta", "tau")

    def __init__(
        self,
        epsilon=op.DEFAULT_EPSILON,
        axis=None,
        beta_initializer="zeros",
        gamma_initializer="ones",
        beta_regularizer=None,
        gamma_regularizer=None,
        beta_constraint=None,
        gamma_constraint=None,
        learned_epsilon=False,
        learned_epsilon_constraint=None,
        name=None,
        *,
        data_format=None,
        activation="tlu",
        tau_initializer="zeros",
        tau_regularizer=None,
        tau_constraint=None,
        **kwargs,
    ):
        super().__init__(axis=_checked_axis(axis), data_format=data_format, name=name, **kwargs)
        self.epsilon = _checked_epsilon(epsilon)
        self.learned_epsilon = bool(learned_epsilon)
        self.learned_epsilon_constraint = constraints.get(learned_epsilon_constraint)
        if self.learned_epsilon_constraint is not None and not self.learned_epsilon:
            raise ArgumentError(
                "FilterResponseNormalization: learned_epsilon_constraint has no effect without "
                "learned_epsilon=True; pass both, or leave it out"
            )
        keep = activation is None or activation == "tlu"
        self.activation = activation if keep else activations.get(activation)
        self._set_options("gamma", gamma_initializer, gamma_regularizer, gamma_constraint)
        self._set_options("beta", beta_initializer, beta_regularizer, beta_constraint)
        self._set_options("tau", tau_initializer, tau_regularizer, tau_constraint)
        if not self._has_tau:
            self._refuse_options("tau", f"activation={activation!r} has no threshold")

    @property
    def _has_tau(self) -> bool:
        return self.activation == "tlu"

    def build(self, input_shape):
        self._fix_channels(input_shape)
        channels = self._channels(input_shape)
        self.epsilon_weight = None
        if self.learned_epsilon:
            self.epsilon_weight = self.add_weight(
                name="learned_epsilon",
                shape=(1,),
                initializer=keras.initializers.Constant(_LEARNED_EPSILON_INIT),
                constraint=self.learned_epsilon_constraint,
                autocast=False,
            )
        for parameter in self._WEIGHT_ORDER:
            has = parameter != "tau" or self._has_tau
            setattr(self, parameter, self._add_parameter(parameter, channels) if has else None)
        # Keras does not trace call where compute_output_shape is known, so that nothing else would
        # make the weights of an activation such as PReLU before they are set or loaded.
        if isinstance(self.activation, keras.layers.Layer) and not self.activation.built:
            self.activation.build(input_shape)

    def call(self, inputs):
        rank = len(inputs.shape)
        dtype = keras.backend.result_type(self.compute_dtype, "float32")

        def along_channels(variable):
            return self._along_channels(variable, rank, dtype)

        x = ops.cast(inputs, dtype)
        epsilon = abs(self.epsilon)
        if self.learned_epsilon:
            epsilon = epsilon + ops.abs(ops.cast(self.epsilon_weight, dtype))
        nu2 = ops.mean(ops.square(x), axis=self._spatial_axes(rank), keepdims=True)
        # gamma meets the small tensor: one pass over x fewer than scaling x twice.
        scale = along_channels(self.gamma) * ops.rsqrt(nu2 + epsilon)
        y = x * scale + along_channels(self.beta)
        if self._has_tau:
            y = ops.maximum(y, along_channels(self.tau))
        elif self.activation is not None:
            y = self.activation(y)
        return ops.cast(y, self.compute_dtype)

    def _channel_axis(self, rank: int) -> int:
        if rank not in op.RANKS:
            raise ShapeError(
                f"{type(self).__name__}: the input must have rank 3, 4 or 5: a batch, one to "
                "three spatial axes, and channels, for example (N, H, W, C). Received an input "
                f"of rank {rank}. The mean is taken over the spatial axes: give features without "
                "any a spatial axis of one, keras.layers.Reshape((1, C)), and use "
                "learned_epsilon=True"
            )
        if isinstance(self.axis, int | None):
            return super()._channel_axis(rank)
        return op.channel_axis(op.normalize_axes(self.axis, rank))

    def _spatial_axes(self, rank: int) -> tuple[int, ...]:
        channel = self._channel_axis(rank)
        return tuple(axis for axis in range(1, rank) if axis != channel)

    def get_config(self):
        activation = self.activation
        if callable(activation):
            activation = activations.serialize(activation)
        return {
            **super().get_config(),
            "axis": _channel_axis_of(self.axis),
            "epsilon": self.epsilon,
            "learned_epsilon": self.learned_epsilon,
            "learned_epsilon_constraint": constraints.serialize(self.learned_epsilon_constraint),
            "activation": activation,
            **self._options("gamma"),
            **self._options("beta"),
            **self._options("tau"),
        }

    @classmethod
    def from_config(cls, config):
        """The layer of a config, also of one that TensorFlow Addons wrote.

        Those have no ``activation``, because that layer has none. Their ``axis`` is always
        [1, 2], and Keras' loader of HDF5 files drops lists under that name.
        """
        if "activation" not in config:
            config = {"activation": None, "axis": [1, 2], **config}
        return super().from_config(config)


def _checked_axis(axis):
    """``axis`` as None, an int, or a list that is this layer's own."""
    if axis is None:
        return None
    if (channel_axis := as_int(axis)) is not None:
        return channel_axis
    if isinstance(axis, list | tuple):
        spatial_axes = [as_int(item) for item in axis]
        if None not in spatial_axes:
            op.normalize_axes(spatial_axes)
            return spatial_axes
    raise ArgumentError(
        "FilterResponseNormalization: axis must be the channel axis (an int), or the list of "
        f"the spatial axes ([1, 2] for NHWC), or None. Received: axis={axis!r}"
    )


def _channel_axis_of(axis):
    """``axis`` as a config holds it: never as a list.

    Keras' loader of HDF5 files drops an ``axis`` of several items, and makes [1] the integer
    1, which has the other meaning here.
    """
    if not isinstance(axis, list):
        return axis
    channel = op.channel_axis(op.normalize_axes(axis))
    return -1 if channel == len(axis) + 1 else channel


def _checked_epsilon(epsilon) -> float:
    """``epsilon`` as a float; TensorFlow Addons keeps and writes it as a scalar tensor."""
    try:
        value = float(epsilon)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentError(
            "FilterResponseNormalization: epsilon must be a finite number. "
            f"Received: epsilon={epsilon!r}"
        )
    return value
