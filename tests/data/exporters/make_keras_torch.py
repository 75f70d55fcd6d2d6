"""Makes keras_torch*.onnx: FRN as Keras on PyTorch writes it, model.export(format="onnx").

    python make_keras_torch.py [FOLDER]

Needs keras, torch and onnxscript. Every form is an output of its own; the metadata entry "forms"
names them in order. Names that begin with "miss" are not FRN.
"""

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import onnx
from keras import ops

CHANNELS = 6


class Frn(keras.layers.Layer):
    """The layer of keras-frn, with a choice of how it ends and of its epsilon's place."""

    def __init__(self, form, **options) -> None:
        super().__init__(**options)
        self.form = form

    def build(self, input_shape) -> None:
        shape = (1, 1, 1, input_shape[-1])
        self.gamma, self.beta, self.tau = (
            self.add_weight(shape=shape, initializer=keras.initializers.RandomNormal(0, 1, seed=i))
            for i in range(3)
        )

    def call(self, x):
        nu2 = ops.mean(ops.square(x), axis=[1, 2], keepdims=True)
        if self.form == "miss_epsilon_outside":
            normal = x / (ops.sqrt(nu2) + 1e-2)
        else:
            normal = x * 1 / ops.sqrt(nu2 + abs(1e-6))
        y = self.gamma * normal + self.beta
        if self.form == "relu":
            return ops.relu(y)
        if self.form == "swish":
            return ops.silu(y)
        return ops.maximum(y, self.tau)


FORMS = ("keras_frn", "relu", "swish", "miss_epsilon_outside")


def main(folder: Path) -> None:
    for name, policy, shape in (
        ("keras_torch.onnx", "float32", (None, None, CHANNELS)),
        ("keras_torch_float16.onnx", "mixed_float16", (5, 7, CHANNELS)),
    ):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(policy)
        x = keras.Input(shape)
        outputs = [Frn(form)(keras.layers.Conv2D(CHANNELS, 1)(x)) for form in FORMS]
        model = keras.Model(x, outputs)
        model(np.zeros((2, 5, 7, CHANNELS), np.float32))
        model.export(folder / name, format="onnx", verbose=False)
        proto = onnx.load(folder / name)
        for node in proto.graph.node:
            del node.metadata_props[:]
            node.ClearField("doc_string")
        onnx.helper.set_model_props(proto, {"forms": ",".join(FORMS)})
        onnx.save(proto, folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
