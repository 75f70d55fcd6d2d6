"""Every form of FRN in TensorFlow, its near misses, and a U-Net, as tf2onnx and Keras write them.

Each form is an output of its own behind a convolution of its own; the model's metadata entry
"forms" names them in order.
"""

import os
import tempfile
from pathlib import Path
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tf2onnx import optimizer

from frn_onnx import models

C, HEIGHT, WIDTH = 6, 5, 7
RNG = np.random.default_rng(0)
GAMMA, BETA, TAU = RNG.normal(size=(3, C)).astype(np.float32)
PLANE = RNG.normal(size=(HEIGHT, WIDTH, C)).astype(np.float32)
EPSILON = np.linspace(1e-3, 1, C, dtype=np.float32)


def nu2(x, axes=(1, 2)):
    return tf.reduce_mean(tf.square(x), list(axes), keepdims=True)


def tlu(normal):
    return tf.maximum(GAMMA * normal + BETA, TAU)


def affine(x):
    return GAMMA * (x * tf.math.rsqrt(nu2(x) + 1e-6)) + BETA


def affine_tlu(x):
    y = affine(x)
    return tf.maximum(y, GAMMA * y + TAU)


def squeeze_excite(x):
    gate = tf.matmul(tf.reduce_mean(x, [1, 2]), tf.constant(PLANE[0, :C]))
    return x * tf.sigmoid(gate)[:, None, None, :]


FORMS = {
    "paper": lambda x: tlu(x * tf.math.rsqrt(nu2(x) + 1e-6)),
    "keras_frn": lambda x: tlu(x * 1 / tf.sqrt(nu2(x) + tf.abs(1e-6))),
    "division": lambda x: tlu(x / tf.sqrt(nu2(x) + 1e-6)),
    "xseg": lambda x: tlu(x * (1.0 / tf.sqrt(nu2(x) + tf.abs(tf.constant([1e-3]))))),
    "power_minus_half": lambda x: tlu(x * tf.pow(nu2(x) + 1e-6, -0.5)),
    "power_half": lambda x: tlu(x / tf.pow(nu2(x) + 1e-6, 0.5)),
    "power_of_x": lambda x: tlu(
        x * tf.math.rsqrt(tf.reduce_mean(x**2, [1, 2], keepdims=True) + 1e-6)
    ),
    "epsilon_per_channel": lambda x: tlu(x * tf.math.rsqrt(nu2(x) + EPSILON)),
    "sum_over_number": lambda x: tlu(
        x * tf.math.rsqrt(tf.reduce_sum(x * x, [1, 2], keepdims=True) / 35 + 1e-6)
    ),
    "new_axes": lambda x: tlu(
        x * tf.math.rsqrt(tf.reduce_mean(x * x, [1, 2])[:, None, None, :] + 1e-6)
    ),
    "einsum": lambda x: tlu(
        x * tf.math.rsqrt(tf.einsum("nhwc,nhwc->nc", x, x)[:, None, None] / 35 + 1e-6)
    ),
    "tiled": lambda x: tlu(x / tf.tile(tf.sqrt(nu2(x) + 1e-6), [1, HEIGHT, WIDTH, 1])),
    "scale_folded": lambda x: tf.maximum(x * (GAMMA * tf.math.rsqrt(nu2(x) + 1e-6)) + BETA, TAU),
    "no_affine": lambda x: x * tf.math.rsqrt(nu2(x) + 1e-6),
    "tlu_of_the_plane": lambda x: tf.maximum(affine(x), PLANE),
    "affine_tlu": affine_tlu,
    "relu_shifted": lambda x: tf.nn.relu(affine(x) - TAU) + TAU,
    "relu": lambda x: tf.nn.relu(affine(x)),
    "leaky_relu": lambda x: tf.nn.leaky_relu(affine(x)),
    "swish": lambda x: tf.nn.swish(affine(x)),
    "swish_after_tlu": lambda x: tf.nn.swish(tf.maximum(affine(x), TAU)),
    "negative_axes": lambda x: tlu(x * tf.math.rsqrt(nu2(x, (-3, -2)) + 1e-6)),
    "miss_epsilon_outside": lambda x: tlu(x / (tf.sqrt(nu2(x)) + 1e-2)),
    "miss_floor": lambda x: tlu(x * tf.math.rsqrt(tf.maximum(nu2(x), 1e-2))),
    "miss_over_height": lambda x: tlu(x * tf.math.rsqrt(nu2(x, (1,)) + 1e-6)),
    "miss_over_batch": lambda x: tlu(x * tf.math.rsqrt(nu2(x, (0, 1, 2)) + 1e-6)),
    "miss_over_channels": lambda x: tlu(x * tf.math.rsqrt(nu2(x, (3,)) + 1e-6)),
    "miss_mean_of_x": lambda x: tlu(
        x * tf.math.rsqrt(tf.abs(tf.reduce_mean(x, [1, 2], keepdims=True)) + 1e-2)
    ),
    "miss_l2": lambda x: tf.nn.l2_normalize(x, [1, 2]) * 35**0.5,
    "miss_squeeze_excite": squeeze_excite,
}
KERNELS = RNG.normal(size=(len(FORMS), 1, 1, C, C)).astype(np.float32) * 0.6


def network(x, *, between_convolutions):
    outputs = []
    for kernel, form in zip(KERNELS, FORMS.values(), strict=True):
        y = form(tf.nn.conv2d(x, kernel, 1, "SAME") + 0.3)
        outputs.append(tf.nn.conv2d(y, kernel, 1, "SAME") if between_convolutions else y)
    return outputs


def forms(opset: int, *, optimised: bool, between_convolutions: bool) -> onnx.ModelProto:
    """All forms through tf2onnx, with its optimisers or without."""
    spec = tf.TensorSpec([None, HEIGHT, WIDTH, C], tf.float32)
    traced = tf.function(
        lambda x: network(x, between_convolutions=between_convolutions), input_signature=[spec]
    )
    optimizers = optimizer._get_optimizers() if optimised else {}
    with mock.patch.object(optimizer, "_get_optimizers", return_value=optimizers):
        model, _ = tf2onnx.convert.from_function(traced, [spec], opset=opset)
    return _named(model)


class Form(keras.layers.Layer):
    """One form as a Keras layer."""

    def __init__(self, form: str) -> None:
        super().__init__(name=form)
        self.form = FORMS[form]

    def call(self, x):
        return self.form(x)


def keras_forms() -> onnx.ModelProto:
    """All forms in a Keras model on TensorFlow, through its own export."""
    x = keras.Input((HEIGHT, WIDTH, C))
    outputs = []
    for name, kernel in zip(FORMS, KERNELS, strict=True):
        convolution = keras.layers.Conv2D(C, 1)
        y = convolution(x)
        convolution.set_weights([kernel, np.full(C, 0.3, np.float32)])
        outputs.append(Form(name)(y))
    model = keras.Model(x, outputs)
    model(np.zeros((1, HEIGHT, WIDTH, C), np.float32))  # export asks for that
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "keras.onnx"
        model.export(path, format="onnx", verbose=False)
        return _named(onnx.load(path))


def unet(norm: str, *, inputs_as_nchw: bool) -> onnx.ModelProto:
    """A U-Net with 36 layers of FRN and TLU at opset 13, its input as it is or turned to NCHW."""
    keras.utils.set_random_seed(0)
    network = models.randomize(models.unet(width=4, norm=norm))
    (image,) = network.inputs
    spec = tf.TensorSpec((None, *image.shape[1:]), tf.float32, name="image")
    model, _ = tf2onnx.convert.from_function(
        tf.function(lambda image: network(image), input_signature=[spec]),
        [spec],
        opset=13,
        inputs_as_nchw=["image"] if inputs_as_nchw else None,
    )
    return model


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    onnx.helper.set_model_props(model, {"forms": ",".join(FORMS)})
    return model
