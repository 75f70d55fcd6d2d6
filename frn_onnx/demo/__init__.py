"""The main job on real data: train an FRN network, export it, run it with and without the plugin.

The data are the 1797 handwritten digits of scikit-learn's wheel (8x8 pixels, UCI Optical
Recognition of Handwritten Digits): real images, nothing to download.
"""

import importlib.util
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

import frn_onnx
from frn_onnx import errors, op
from frn_onnx.demo.picture import draw
from frn_onnx.runtime.latency import Latency, compare

_TEST_SHARE = 0.2


@dataclass(frozen=True)
class Row:
    """One way to run the trained network on the test images.

    Attributes:
        name: what runs it.
        accuracy: share of the test images classified correctly.
        same_predictions: whether each image gets the class that Keras gives it.
        max_error: largest difference of a class probability from Keras's.
        nodes: ONNX nodes of the graph that runs, before ONNX Runtime optimises it; None for Keras.
        latency: time of one call on all test images; None for Keras.
    """

    name: str
    accuracy: float
    same_predictions: bool
    max_error: float
    nodes: int | None = None
    latency: Latency | None = None


@dataclass(frozen=True)
class Result:
    """What the demo found and wrote."""

    rows: tuple[Row, ...]
    layers: int
    train_seconds: float
    images: int
    keras_path: Path
    onnx_path: Path
    picture_path: Path

    def to_dict(self) -> dict[str, Any]:
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Digits:
    """(n, 8, 8, 1) float32 images within 0..1, and their (n,) classes, for training and test."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load_digits() -> Digits:
    """The digits, split the same way each time, every class in both parts."""
    from sklearn import datasets, model_selection

    images, classes = datasets.load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16.0).astype(np.float32)
    parts = model_selection.train_test_split(
        images, classes, test_size=_TEST_SHARE, stratify=classes, random_state=0
    )
    train_x, test_x, train_y, test_y = parts
    return Digits(train_x, train_y, test_x, test_y)


def run(
    folder: str | Path = "demo", *, epochs: int = 12, progress: Callable[[int, float], None]
) -> Result:
    """Trains, exports, runs, and writes ``digits.keras``, ``digits.onnx`` and ``digits.png``.

    Args:
        folder: where the files go; made if it is not there.
        epochs: passes over the training images.
        progress: called after each epoch with its number, from 1, and the test accuracy.

    Raises:
        ArgumentError: there are fewer epochs than 1.
        DependencyError: Keras, scikit-learn, matplotlib or ONNX Runtime is not installed.
    """
    if epochs < 1:
        raise errors.ArgumentError(f"epochs must be at least 1, received {epochs}")
    for package in ("keras", "tf2onnx", "sklearn", "matplotlib", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise errors.missing_dependency(package, "demo", "The demo")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    data = load_digits()
    model, seconds = _train(data, epochs, progress)
    keras_path, onnx_path = folder / "digits.keras", folder / "digits.onnx"
    model.save(keras_path)
    portable = frn_onnx.export(model, onnx_path)
    rows, predictions = _run_all(model, portable, data)
    picture_path = folder / "digits.png"
    draw(picture_path, data.test_x, data.test_y, predictions, rows)
    layers = sum(op.is_frn(node) for node in portable.graph.node)
    return Result(
        tuple(rows), layers, seconds, len(data.test_x), keras_path, onnx_path, picture_path
    )


def _train(data: Digits, epochs: int, progress: Callable[[int, float], None]) -> tuple[Any, float]:
    """A trained model, and the seconds it took."""
    import keras

    from frn_onnx.models import digits_cnn

    keras.utils.set_random_seed(0)
    model = digits_cnn()
    steps = epochs * -(-len(data.train_x) // 32)
    # Warm-up and cosine decay, as the paper trains FRN networks.
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=3e-3, warmup_steps=steps // 10
    )
    model.compile(
        keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    report = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: progress(epoch + 1, logs["val_accuracy"])
    )
    start = time.perf_counter()
    model.fit(
        data.train_x,
        data.train_y,
        batch_size=32,
        epochs=epochs,
        validation_data=(data.test_x, data.test_y),
        callbacks=[report],
        verbose=0,
    )
    return model, time.perf_counter() - start


def _run_all(model: Any, portable: onnx.ModelProto, data: Digits) -> tuple[list[Row], np.ndarray]:
    """One row for each way to run the network, and the predicted classes."""
    from frn_onnx.runtime.session import InferenceSession

    alone = _tf2onnx_alone(model)
    sessions = {
        "tf2onnx alone": (alone, InferenceSession(alone, plugin=False)),
        "portable file, no plugin": (portable, InferenceSession(portable, plugin=False)),
        "portable file, plugin": (portable, InferenceSession(portable, plugin=True)),
    }
    feed = {portable.graph.input[0].name: data.test_x}
    timed = compare(
        {name: partial(session.run, None, feed) for name, (_, session) in sessions.items()},
        seconds=4.0,
    )
    expected = np.asarray(model.predict_on_batch(data.test_x))
    classes = expected.argmax(axis=1)

    def row(name: str, probabilities: np.ndarray, **measured) -> Row:
        predicted = probabilities.argmax(axis=1)
        return Row(
            name,
            accuracy=float((predicted == data.test_y).mean()),
            same_predictions=bool((predicted == classes).all()),
            max_error=float(np.abs(probabilities - expected).max()),
            **measured,
        )

    rows = [row("Keras", expected)]
    for name, (file, session) in sessions.items():
        probabilities = session.run(None, feed)[0]
        rows.append(row(name, probabilities, nodes=len(file.graph.node), latency=timed[name]))
    return rows, classes


def _tf2onnx_alone(model: Any) -> onnx.ModelProto:
    """The same model as tf2onnx exports and optimises it, which is what one has without us."""
    import tensorflow as tf
    import tf2onnx

    from frn_onnx.export.conversion import quiet

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]
    with quiet():
        exported, _ = tf2onnx.convert.from_function(
            tf.function(model, input_signature=signature), signature, opset=18
        )
    return exported
