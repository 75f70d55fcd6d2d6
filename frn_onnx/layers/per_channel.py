"""What the layers share: a channel axis, and parameters with one value per channel."""

import math
from collections.abc import Sequence

import keras
from keras import constraints, initializers, ops, regularizers

from frn_onnx.errors import ArgumentError, ShapeError

CHANNELS_FIRST = "channels_first"
CHANNELS_LAST = "channels_last"
# What can be chosen about every parameter, and what reads and writes such a choice.
_OPTIONS = {"initializer": initializers, "regularizer": regularizers, "constraint": constraints}


class PerChannelLayer(keras.layers.Layer):
    """A layer that treats every channel by itself; gives a tensor of its input's shape.

    Args:
        axis: the channel axis, or None to take it from ``data_format``.
        data_format: ``"channels_last"`` (channel axis -1), ``"channels_first"`` (channel
            axis 1), or None for ``keras.config.image_data_format()``. Cannot be given
            together with ``axis``.
        **kwargs: of ``keras.layers.Layer``: name, dtype, trainable, ...

    Raises:
        ArgumentError: an argument has a value that means nothing here.
    """

    def __init__(self, *, axis=None, data_format=None, **kwargs):
        super().__init__(**kwargs)
        # A mask goes through unchanged; masked positions take part like any others.
        self.supports_masking = True
        if axis is None and data_format is None:
            data_format = keras.config.image_data_format()
        elif axis is not None and data_format is not None:
            raise ArgumentError(
                f"{type(self).__name__}: axis and data_format both say where the channels are; "
                f"pass one of them. Received: axis={axis}, data_format={data_format!r}"
            )
        if data_format not in (None, CHANNELS_FIRST, CHANNELS_LAST):
            raise ArgumentError(
                f"{type(self).__name__}: data_format must be {CHANNELS_LAST!r} or "
                f"{CHANNELS_FIRST!r}. Received: data_format={data_format!r}"
            )
        self.axis = axis
        self.data_format = data_format

    def _channel_axis(self, rank: int) -> int:
        """The channel axis of an input of that rank, counted from the front."""
        axis = self.axis
        if axis is None:
            axis = 1 if self.data_format == CHANNELS_FIRST else -1
        if not -rank <= axis < rank or axis % rank == 0:
            raise ShapeError(
                f"{type(self).__name__}: the channel axis must be within 1..{rank - 1} (or "
                f"{1 - rank}..-1) for an input of rank {rank}; axis 0 is the batch. "
                f"Received: axis={axis}"
            )
        return axis % rank

    def _channels(self, input_shape: Sequence[int | None]) -> int:
        """C, which must be known to build the layer, unlike all other dimensions."""
        axis = self._channel_axis(len(input_shape))
        channels = input_shape[axis]
        if channels is None:
            raise ShapeError(
                f"{type(self).__name__}: the number of channels must be known to build the "
                f"layer, and axis {axis} of the input has no fixed size. Received: "
                f"input_shape={tuple(input_shape)}. Fix it in keras.Input, or set axis or "
                "data_format if the channels are elsewhere"
            )
        return channels

    def _fix_channels(self, input_shape: Sequence[int | None]) -> None:
        """Has Keras refuse later inputs of another rank or another number of channels."""
        rank = len(input_shape)
        axes = {self._channel_axis(rank): self._channels(input_shape)}
        self.input_spec = keras.layers.InputSpec(ndim=rank, axes=axes)

    def _set_options(self, parameter: str, initializer, regularizer, constraint) -> None:
        """Keeps the three options that every parameter has, as Keras' own layers do."""
        options = (initializer, regularizer, constraint)
        for (kind, module), option in zip(_OPTIONS.items(), options, strict=True):
            setattr(self, f"{parameter}_{kind}", module.get(option))

    def _refuse_options(self, parameter: str, because: str) -> None:
        """Raises if an option was set for a parameter that this layer does not have."""
        if (
            not isinstance(getattr(self, f"{parameter}_initializer"), initializers.Zeros)
            or getattr(self, f"{parameter}_regularizer") is not None
            or getattr(self, f"{parameter}_constraint") is not None
        ):
            raise ArgumentError(
                f"{type(self).__name__}: {parameter}_initializer, {parameter}_regularizer and "
                f"{parameter}_constraint have no effect, because {because}; leave them out"
            )

    def _options(self, parameter: str) -> dict:
        """The part of the config that :meth:`_set_options` took."""
        names = {kind: f"{parameter}_{kind}" for kind in _OPTIONS}
        return {name: _OPTIONS[kind].serialize(getattr(self, name)) for kind, name in names.items()}

    def _add_parameter(self, parameter: str, channels: int):
        """A trainable (C,) variable, kept in its own dtype under mixed precision."""
        options = {kind: getattr(self, f"{parameter}_{kind}") for kind in _OPTIONS}
        return self.add_weight(name=parameter, shape=(channels,), autocast=False, **options)

    def _along_channels(self, variable, rank: int, dtype: str):
        """A (C,) variable as a tensor that broadcasts along the channel axis of the input."""
        behind = rank - 1 - self._channel_axis(rank)
        value = ops.cast(variable, dtype)
        return ops.reshape(value, (-1,) + (1,) * behind) if behind else value

    def compute_output_shape(self, input_shape):
        self._channels(input_shape)
        return tuple(input_shape)

    def get_config(self):
        return {**super().get_config(), "axis": self.axis, "data_format": self.data_format}

    def set_weights(self, weights):
        """Sets all parameters; takes (1, 1, 1, C) for (C,), as TensorFlow Addons has it.

        Raises:
            ShapeError: an array does not hold one value per channel.
        """
        if len(weights) == len(self.weights):
            weights = [self._fit(*pair) for pair in zip(self.weights, weights, strict=True)]
        super().set_weights(weights)

    def load_own_variables(self, store):
        """As :meth:`set_weights`, for ``load_weights`` and ``load_model``."""
        if len(store.keys()) == len(self.weights):
            store = {f"{i}": self._fit(v, store[f"{i}"]) for i, v in enumerate(self.weights)}
        super().load_own_variables(store)

    def _fit(self, variable, value):
        """``value`` in the shape of ``variable``, if only leading axes of size 1 differ."""
        expected, received = tuple(variable.shape), tuple(value.shape)
        if received == expected:
            return value
        if received[-1:] == expected and math.prod(received) == math.prod(expected):
            return ops.convert_to_numpy(value).reshape(expected)
        raise ShapeError(
            f"{type(self).__name__} {self.name!r}: {variable.name} must have shape {expected}, "
            f"received {received}.{self._shape_hint(expected, received)}"
        )

    def _shape_hint(self, expected: tuple[int, ...], received: tuple[int, ...]) -> str:
        """What to do about a parameter of a wrong shape, where the layer knows."""
        return ""
