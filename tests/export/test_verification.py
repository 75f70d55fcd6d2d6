"""Given inputs, labels, and originals that cannot be compared."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import frn_onnx
from frn_onnx.cli import main
from frn_onnx.errors import ArgumentError, ModelError, VerificationError
from frn_onnx.export import api, export_model
from frn_onnx.layers import FilterResponseNormalization

IMAGE = tf.TensorSpec((None, 6, 5, 4), name="image")


def normal(x):
    return x * tf.math.rsqrt(tf.reduce_mean(x * x, [1, 2], True) + 0.1)


@pytest.fixture(scope="module")
def conditional():
    """A network that knows labels of three classes only."""
    image, label = (
        keras.Input((6, 5, 4), name="image"),
        keras.Input((), dtype="int32", name="label"),
    )
    row = keras.layers.Reshape((1, 1, 4))(keras.layers.Embedding(3, 4)(label))
    return keras.Model([image, label], FilterResponseNormalization()(image + row))


def test_labels_are_small(conditional):
    assert export_model(conditional).report.ok


def test_given_inputs(conditional, tmp_path, rng):
    inputs = {"image": rng.normal(size=(1, 6, 5, 4)), "label": np.array([2])}
    report = export_model(conditional, inputs=inputs).report
    assert report.samples == [{"image": (1, 6, 5, 4), "label": (1,)}]
    source, target, given = (str(tmp_path / n) for n in ("m.keras", "m.onnx", "i.npz"))
    conditional.save(source)
    np.savez(given, **inputs)
    assert main(["export", source, "-o", target, "--inputs", given]) == 0


def test_given_inputs_that_do_not_fit(conditional, tmp_path, monkeypatch):
    target = tmp_path / "model.onnx"
    image = np.ones((1, 6, 5, 4))
    with pytest.raises(ArgumentError, match="each of the inputs image, label, received image"):
        frn_onnx.export(conditional, target, inputs={"image": image})
    with pytest.raises(ArgumentError, match=r"'label' has shape \(\?\), received \(1, 1\)"):
        frn_onnx.export(conditional, target, inputs={"image": image, "label": [[1]]})
    with pytest.raises(VerificationError, match=r"(?s)does not run on.*verify=False \(--no-verify"):
        frn_onnx.export(conditional, target, inputs={"image": image, "label": [7]})
    monkeypatch.setattr(api, "load", None)
    with pytest.raises(ModelError, match="not a readable"):
        frn_onnx.export(conditional, target, inputs="missing.npz")
    with pytest.raises(ArgumentError, match=r"verify=False \(--no-verify\) compares nothing"):
        frn_onnx.export(conditional, target, inputs={"image": image}, verify=False)
    assert not target.exists()


def test_noise_in_the_original(tmp_path):
    """TensorFlow's draws cannot be ONNX Runtime's."""

    @tf.function(input_signature=[IMAGE])
    def noisy(image):
        return normal(image), image + tf.random.normal((1, 6, 5, 4))

    target = tmp_path / "model.onnx"
    expected = r"(?s)outputs cannot be compared with those of 'noisy'.*from run to run.*--no-verify"
    with pytest.raises(VerificationError, match=expected):
        frn_onnx.export(noisy, target)
    assert not target.exists()
    frn_onnx.export(noisy, target, verify=False)
    assert target.exists()


def test_a_decision_at_the_end():
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = FilterResponseNormalization()(keras.layers.Conv2D(16, 3)(image))
    model = keras.Model(image, keras.layers.Conv2D(21, 1)(x))

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), name="image")])
    def decided(image):
        return tf.argmax(model(image), -1)

    assert export_model(decided).report.ok
