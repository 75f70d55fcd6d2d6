"""A small CNN for scikit-learn's handwritten digits."""

import keras

from .norms import conv_norm


def digits_cnn(input_shape=(8, 8, 1), classes=10, *, norm="frn", data_format="channels_last"):
    """Four convolutions with FRN + TLU, for 8x8 grey images.

    Args:
        input_shape: (H, W, C), or (C, H, W) for channels first; H and W may be None.
        classes: number of classes.
        norm: one of ``NORMS``, or a function with their signature.
        data_format: ``"channels_last"`` or ``"channels_first"``.

    Returns: an uncompiled model; its output is softmax probabilities, (N, classes).
    """
    options = {"norm": norm, "data_format": data_format}
    image = keras.Input(input_shape, name="image")
    x = conv_norm(image, 32, 3, **options)
    x = conv_norm(x, 32, 3, **options)
    x = conv_norm(x, 64, 3, strides=2, **options)
    x = conv_norm(x, 64, 3, **options)
    x = keras.layers.GlobalAveragePooling2D(data_format=data_format)(x)
    probabilities = keras.layers.Dense(classes, activation="softmax", name="probabilities")(x)
    return keras.Model(image, probabilities, name="digits_cnn")
