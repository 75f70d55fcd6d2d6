"""The files that the runtimes are given, an input for each, and what Keras makes of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import frn_onnx
from frn_onnx import demo as demos
from frn_onnx.graph.forms import FORMS


@dataclass(frozen=True)
class Network:
    """A network in a folder.

    Attributes:
        folder: has ``custom.onnx``, ``portable.onnx``, ``primitives.onnx``, whose every size is
            stated, and the input as ``x.npy`` and, without a head, ``x.f32``.
        expected: Keras's output.
    """

    folder: Path
    expected: np.ndarray


def demo(folder: Path, epochs: int) -> Network:
    """The demo's network as it is trained there, on one of its test images."""
    import keras

    made = demos.run(folder, epochs=epochs, progress=lambda *_: None)
    model = keras.models.load_model(made.keras_path)
    return _write(folder, model, demos.load_digits().test_x[:1])


def unet(folder: Path, *, size: int, width: int) -> Network:
    """The U-Net that segmentation of faces uses, on noise; every parameter is another."""
    import keras

    from frn_onnx import models

    keras.utils.set_random_seed(0)
    model = models.norms.randomize(models.unet((size, size, 3), width=width))
    x = np.random.default_rng(0).random((1, size, size, 3), dtype=np.float32)
    return _write(folder, model, x)


def _write(folder: Path, model, x: np.ndarray) -> Network:
    folder.mkdir(exist_ok=True)
    portable = frn_onnx.export(model)
    # Converters of other formats ask for sizes; ONNX Runtime and OpenVINO do not need them.
    for value in (*portable.graph.input, *portable.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del portable.graph.value_info[:]
    for form in FORMS:
        onnx.save(frn_onnx.lower(portable, form), folder / f"{form}.onnx")
    np.save(folder / "x.npy", x)
    x.tofile(folder / "x.f32")
    return Network(folder, np.asarray(model.predict_on_batch(x)))
