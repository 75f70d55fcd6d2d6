"""examples/cpp, built and run."""

import shutil
import subprocess

import cpp_example
import numpy as np
import onnx
import ort_models
import pytest

import frn_onnx
from frn_onnx import op, reference

SHAPE, AXES = (1, 3, 5, 7), (2, 3)
pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler"),
]


@pytest.fixture(scope="module")
def program():
    return cpp_example.build()


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_it_computes(program, rng, tmp_path):
    params = [rng.normal(size=(3, 1, 1)).astype(np.float32) for _ in range(3)]
    model = ort_models.frn_model(x=["N", *SHAPE[1:]], axes=AXES, channels=3)
    ort_models.with_constants(model, dict(zip(op.INPUTS[1:4], params, strict=True)))
    onnx.save(model, tmp_path / "été.onnx")
    ran = run(program, frn_onnx.get_library_path(), tmp_path / "été.onnx")
    assert ran.returncode == 0, ran.stderr
    x = (np.float32(0.01) * np.arange(np.prod(SHAPE), dtype=np.float32)).reshape(SHAPE)
    expected = reference.frn(x, *params, epsilon=1e-3, axes=AXES)
    np.testing.assert_allclose(np.array(ran.stdout.split(), float), expected.ravel(), atol=1e-5)


def test_it_names_what_is_wrong(program, tmp_path):
    ran = run(program, tmp_path / "gone.so", tmp_path / "gone.onnx")
    assert ran.returncode == 1
    assert "gone.so" in ran.stderr
