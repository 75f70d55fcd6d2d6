"""docs/migrating.md: its Python runs, and does what the text says."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from tolerances import assert_within, frn_bound

from frn_onnx import reference

GUIDE = Path(__file__).parents[2] / "docs" / "migrating.md"


def blocks(section):
    """The Python under one heading of the guide."""
    text = GUIDE.read_text().split(f"## From {section}\n")[1].split("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def check(layer, rng, gamma, beta, tau, epsilon):
    x = rng.normal(-1.3, 2.0, (2, 5, 6, 3)).astype("f4")
    expected = reference.frn(x, gamma, beta, tau, epsilon=epsilon)
    bound = frn_bound(x, gamma, beta, tau, epsilon=epsilon)
    assert_within(keras.ops.convert_to_numpy(layer(x)), expected, bound)


def test_from_keras_frn(keras_frn_file, rng, tmp_path, monkeypatch):
    _, parameters = keras_frn_file
    monkeypatch.chdir(tmp_path)
    constructor, whole, weights = blocks("keras-frn")
    names = {}
    exec(constructor, names)
    exec(whole, names)
    check(names.pop("model").layers[-1], rng, *parameters, epsilon=0.125)
    exec(weights, names)
    check(names["model"].layers[-1], rng, *parameters, epsilon=0.125)


@pytest.mark.parametrize("config", [None, {"class_name": "Model"}])
def test_from_tensorflow_addons(rng, tmp_path, monkeypatch, write_old_file, config):
    kernel = rng.normal(size=(1, 1, 2, 3)).astype("f4")
    gamma, beta = (rng.normal(size=(1, 1, 1, 3)).astype("f4") for _ in range(2))
    frn = {"learned_epsilon:0": np.float32([0.25]), "frn/gamma:0": gamma, "frn/beta:0": beta}
    weights = {"conv2d": {"conv2d/kernel:0": kernel}, "frn": frn}
    write_old_file(tmp_path / "addons.h5", weights, config)
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks("TensorFlow Addons"):
        exec("import keras\n" + block, names)
    _, conv, layer = names["model"].layers
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(conv.kernel), kernel)
    check(layer, rng, gamma.ravel(), beta.ravel(), None, epsilon=0.375)
    assert [output.shape for output in (names["y"], names["x"])] == [
        (None, 8, 8, 2),
        (None, 8, 8, 3),
    ]
