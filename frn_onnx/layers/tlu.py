"""The layer ``TLU``."""

import keras
from keras import ops

from frn_onnx.errors import ArgumentError
from frn_onnx.layers.per_channel import PerChannelLayer
from frn_onnx.whole import as_int


@keras.saving.register_keras_serializable(package="frn_onnx")
class TLU(PerChannelLayer):
    """Thresholded Linear Unit: a ReLU whose threshold is learned, one per channel.

        y = max(x, tau)                 affine=False
        y = max(x, alpha * x + tau)     affine=True

    ``FilterResponseNormalization`` has it built in; this is the layer for elsewhere.

    The first seven arguments are those of TensorFlow Addons' layer, in its order. That layer
    learns a threshold for every position, (H, W, C), where the paper has one per channel;
    such weights are refused.

    Args:
        affine: whether to learn a slope alpha for the part under the threshold.
        tau_initializer, tau_regularizer, tau_constraint: of the threshold tau, (C,).
        alpha_initializer, alpha_regularizer, alpha_constraint: of the slope alpha, (C,); only
            with ``affine=True``.
        axis: the channel axis, or None to take it from ``data_format``.
        data_format: ``"channels_last"``, ``"channels_first"``, or None for
            ``keras.config.image_data_format()``. Cannot be given together with ``axis``.
        **kwargs: of ``keras.layers.Layer``: name, dtype, trainable, ...

    Input shape: rank 2 or more; all but C may be unknown. Output shape: the same.

    Weights, in order: tau, alpha if affine.

    Raises:
        ArgumentError: an argument has a value that means nothing here, or cannot be honoured.
        ShapeError: the number of channels is unknown, ``axis`` does not fit the input, or
            weights do not hold one value per channel.

    Source:
        arXiv 1911.09737, section 3.

    Example:
        >>> y = TLU(tau_initializer="ones")(keras.ops.array([[0.0, 3.0]]))
        >>> keras.ops.convert_to_numpy(y)
        array([[1., 3.]], dtype=float32)
    """

    def __init__(
        self,
        affine=False,
        tau_initializer="zeros",
        tau_regularizer=None,
        tau_constraint=None,
        alpha_initializer="zeros",
        alpha_regularizer=None,
        alpha_constraint=None,
        *,
        axis=None,
        data_format=None,
        **kwargs,
    ):
        channel_axis = as_int(axis)
        if axis is not None and channel_axis is None:
            raise ArgumentError(
                f"TLU: axis must be the channel axis (an int), or None. Received: axis={axis!r}"
            )
        super().__init__(axis=channel_axis, data_format=data_format, **kwargs)
        self.affine = bool(affine)
        self._set_options("tau", tau_initializer, tau_regularizer, tau_constraint)
        self._set_options("alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        if not self.affine:
            self._refuse_options("alpha", "affine=False has no slope")

    def build(self, input_shape):
        self._fix_channels(input_shape)
        channels = self._channels(input_shape)
        self.tau = self._add_parameter("tau", channels)
        self.alpha = self._add_parameter("alpha", channels) if self.affine else None

    def call(self, inputs):
        rank = len(inputs.shape)
        tau = self._along_channels(self.tau, rank, self.compute_dtype)
        if not self.affine:
            return ops.maximum(inputs, tau)
        alpha = self._along_channels(self.alpha, rank, self.compute_dtype)
        return ops.maximum(inputs, alpha * inputs + tau)

    def _shape_hint(self, expected, received):
        if len(received) < 2 or received[-1:] != expected:
            return ""
        return (
            " TensorFlow Addons' TLU learns one value for every position, this layer one per "
            "channel. If the values of each channel are all the same, pass the first of each, "
            "value.reshape(-1, C)[0]; if not, that model needs keras.ops.maximum(x, tau) in "
            "place of this layer"
        )

    def get_config(self):
        return {
            **super().get_config(),
            "affine": self.affine,
            **self._options("tau"),
            **self._options("alpha"),
        }
