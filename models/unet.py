"""A U-Net with FRN, for images of any size."""

import keras

from .norms import conv_norm

_LEVELS = 5
_CONVOLUTIONS = 4


def unet(
    input_shape=(None, None, 3), classes=1, *, width=32, norm="frn", data_format="channels_last"
):
    """A U-Net of five levels with four convolutions each way: 36 FRN + TLU layers.

    The way up begins each level with a transposed convolution of stride 2.

    Args:
        input_shape: (H, W, C), or (C, H, W) for channels first; H and W are multiples of 16,
            or None, and then every input's must be. With channels first tf2onnx 1.17 needs them:
            it cuts a transposed convolution of unknown size along the axes of channels last.
        classes: channels of the mask.
        width: channels of the first level; each level below has twice as many.
        norm: one of ``NORMS``, or a function with their signature.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns: an uncompiled model; its output is sigmoid probabilities of the input's H and W.

    Source: arXiv 1505.04597.
    """
    options = {"norm": norm, "data_format": data_format}
    channel_axis = 1 if data_format == "channels_first" else -1
    image = keras.Input(input_shape, name="image")
    x, skips = image, []
    for level in range(_LEVELS):
        if level:
            skips.append(x)
            x = keras.layers.MaxPooling2D(data_format=data_format)(x)
        for _ in range(_CONVOLUTIONS):
            x = conv_norm(x, width * 2**level, 3, **options)
    for level in reversed(range(_LEVELS - 1)):
        x = conv_norm(x, width * 2**level, 3, strides=2, up=True, **options)
        x = keras.layers.Concatenate(axis=channel_axis)([skips[level], x])
        for _ in range(_CONVOLUTIONS - 1):
            x = conv_norm(x, width * 2**level, 3, **options)
    mask = keras.layers.Conv2D(
        classes, 1, activation="sigmoid", data_format=data_format, name="mask"
    )(x)
    return keras.Model(image, mask, name="unet")
