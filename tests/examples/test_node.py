"""examples/node, run with onnxruntime-node from npm."""

import shutil
import subprocess
from pathlib import Path

import environments
import numpy as np
import onnx
import ort_models
import pytest

import frn_onnx
from frn_onnx import op, reference

SOURCE = Path(__file__).parents[2] / "examples" / "node" / "run_frn.mjs"
SHAPE, AXES = (1, 3, 5, 7), (2, 3)
pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("node") is None, reason="there is no node (apt install npm)"),
]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "node_modules").symlink_to(environments.node_modules())
    program = shutil.copy(SOURCE, tmp_path)
    return lambda *args: subprocess.run(
        ["node", program, *args], capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def params(rng):
    return [rng.normal(size=(3, 1, 1)).astype(np.float32) for _ in range(3)]


@pytest.fixture
def model(params):
    made = ort_models.frn_model(x=["N", *SHAPE[1:]], axes=AXES, channels=3)
    return ort_models.with_constants(made, dict(zip(op.INPUTS[1:4], params, strict=True)))


@pytest.mark.parametrize("form", ["portable", "primitives"])
def test_it_computes(run, model, params, form, tmp_path):
    onnx.save(frn_onnx.lower(model, form), tmp_path / "été.onnx")
    ran = run(tmp_path / "été.onnx")
    assert ran.returncode == 0, ran.stderr
    x = (np.float32(0.01) * np.arange(np.prod(SHAPE), dtype=np.float32)).reshape(SHAPE)
    expected = reference.frn(x, *params, epsilon=1e-3, axes=AXES)
    np.testing.assert_allclose(np.array(ran.stdout.split(), float), expected.ravel(), atol=1e-5)


def test_it_reads_an_input(run, model, params, rng, tmp_path):
    x = rng.normal(size=SHAPE).astype(np.float32)
    x.tofile(tmp_path / "x")
    onnx.save(frn_onnx.lower(model, "portable"), tmp_path / "model.onnx")
    ran = run(tmp_path / "model.onnx", tmp_path / "x")
    expected = reference.frn(x, *params, epsilon=1e-3, axes=AXES)
    np.testing.assert_allclose(np.array(ran.stdout.split(), float), expected.ravel(), atol=1e-5)


def test_without_a_body_it_names_the_op(run, model, tmp_path):
    onnx.save(model, tmp_path / "custom.onnx")
    ran = run(tmp_path / "custom.onnx")
    assert ran.returncode == 1
    assert "frn_onnx:FilterResponseNormalization" in ran.stderr
