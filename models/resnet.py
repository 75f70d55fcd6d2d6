"""ResNets with FRN in place of batch normalisation and TLU in that of ReLU."""

import keras

from .norms import apply_norm, conv, conv_norm


def resnet20(input_shape=(32, 32, 3), classes=10, *, norm="frn", data_format="channels_last"):
    """The ResNet-20 of CIFAR-10: three stages of three basic blocks, 21 FRN layers.

    Args:
        input_shape: (H, W, C), or (C, H, W) for channels first; H and W may be None.
        classes: number of classes.
        norm: one of ``NORMS``, or a function with their signature.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns: an uncompiled model; its output is logits, (N, classes).

    Source: arXiv 1512.03385, section 4.2; shortcuts that change the shape are projections.
    """
    options = {"norm": norm, "data_format": data_format}
    image = keras.Input(input_shape, name="image")
    x = conv_norm(image, 16, 3, **options)
    for stage, filters in enumerate((16, 32, 64)):
        for block in range(3):
            strides = 2 if stage and not block else 1
            y = conv_norm(x, filters, 3, strides=strides, **options)
            y = conv_norm(y, filters, 3, activate=False, **options)
            x = _join(x, y, filters, strides, project=strides == 2, **options)
    return _classifier(image, x, classes, data_format, name="resnet20")


def resnet50(
    input_shape=(224, 224, 3), classes=1000, *, width=64, norm="frn", data_format="channels_last"
):
    """ResNet-50 V1.5: bottlenecks 3, 4, 6, 3, the stride on the 3x3 convolution; 53 FRN layers.

    Args:
        input_shape: (H, W, C), or (C, H, W) for channels first; H and W may be None.
        classes: number of classes.
        width: channels of the stem; all others are multiples of it. Tests make it small.
        norm: one of ``NORMS``, or a function with their signature.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns: an uncompiled model; its output is logits, (N, classes).

    Source: arXiv 1512.03385, table 1; V1.5 is NVIDIA's name for the moved stride.
    """
    options = {"norm": norm, "data_format": data_format}
    image = keras.Input(input_shape, name="image")
    x = conv_norm(image, width, 7, strides=2, **options)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", data_format=data_format)(x)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        filters = width * 2**stage
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            y = conv_norm(x, filters, 1, **options)
            y = conv_norm(y, filters, 3, strides=strides, **options)
            y = conv_norm(y, 4 * filters, 1, activate=False, **options)
            x = _join(x, y, 4 * filters, strides, project=not block, **options)
    return _classifier(image, x, classes, data_format, name="resnet50")


def resnetv2_50d(
    input_shape=(224, 224, 3), classes=1000, *, width=64, norm="frn", data_format="channels_last"
):
    """ResNet-50-D V2: norms before convolutions, three 3x3 ones first; 51 FRN layers.

    Args:
        input_shape: (H, W, C), or (C, H, W) for channels first; H and W may be None.
        classes: number of classes.
        width: channels of the stem; all others are multiples of it. Tests make it small.
        norm: one of ``NORMS``, or a function with their signature.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns: an uncompiled model; its output is logits, (N, classes).

    Source: arXiv 1603.05027 (V2), 1812.01187, figure 2 (D). It is what timm calls
    ``resnetv2_50d_frn``.
    """
    options = {"norm": norm, "data_format": data_format}
    image = keras.Input(input_shape, name="image")
    x = conv_norm(image, width // 2, 3, strides=2, **options)
    x = conv_norm(x, width // 2, 3, **options)
    x = conv(x, width, 3, **options)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", data_format=data_format)(x)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        filters = width * 2**stage
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            ready = apply_norm(norm, x, data_format=data_format)
            if not block:
                x = ready
                if strides == 2:
                    x = keras.layers.AveragePooling2D(2, data_format=data_format)(x)
                x = conv(x, 4 * filters, 1, **options)
            y = conv_norm(ready, filters, 1, **options)
            y = conv_norm(y, filters, 3, strides=strides, **options)
            y = conv(y, 4 * filters, 1, **options)
            x = keras.layers.Add()([y, x])
    x = apply_norm(norm, x, data_format=data_format)
    return _classifier(image, x, classes, data_format, name="resnetv2_50d")


def _join(shortcut, y, filters, strides, *, project, norm, data_format):
    """The sum of a block and its shortcut, and the activation behind it."""
    if project:
        shortcut = conv_norm(
            shortcut,
            filters,
            1,
            strides=strides,
            activate=False,
            norm=norm,
            data_format=data_format,
        )
    x = keras.layers.Add()([y, shortcut])
    return apply_norm(norm, x, normalise=False, data_format=data_format)


def _classifier(image, x, classes, data_format, *, name):
    x = keras.layers.GlobalAveragePooling2D(data_format=data_format)(x)
    logits = keras.layers.Dense(classes, name="logits")(x)
    return keras.Model(image, logits, name=name)
