"""onnxruntime-gpu, and a library built with CUDA, on a machine that need not have a GPU.

The library is built with CUDA where nvcc is found. Its cudart is static: without a driver it loads
and serves the CPU.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HAS_NVCC = bool(os.environ.get("CUDACXX") or shutil.which("nvcc"))
pytestmark = pytest.mark.gpu_wheel

# One FRN node of each element type, given to a session that prefers CUDA.
SESSIONS = """
import json
import warnings
import ml_dtypes
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper
import frn_onnx
from frn_onnx import op, reference
from frn_onnx.errors import FrnWarning

def model(element):
    graph = helper.make_graph(
        [op.node(op.INPUTS[:4], "Y", axes=(2, 3), epsilon=0.5)],
        "one",
        [helper.make_tensor_value_info("X", element, (2, 5, 6, 7))]
        + [helper.make_tensor_value_info(n, TensorProto.FLOAT, (5, 1, 1)) for n in op.INPUTS[1:4]],
        [helper.make_tensor_value_info("Y", element, (2, 5, 6, 7))],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(op.DOMAIN, op.VERSION)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)

rng = np.random.default_rng(0)
x = rng.normal(1.0, 2.0, (2, 5, 6, 7))
params = dict(zip(op.INPUTS[1:4], rng.normal(size=(3, 5, 1, 1)).astype(np.float32)))
found = {"providers": ort.get_available_providers(), "errors": {}, "warnings": []}
for element, dtype in ((1, np.float32), (10, np.float16), (11, np.float64)):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", FrnWarning)
        session = frn_onnx.InferenceSession(
            model(element), providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
    found["warnings"] += [str(w.message) for w in caught]
    typed = x.astype(dtype)
    y = session.run(None, {"X": typed, **params})[0]
    expected = reference.frn(typed, *params.values(), epsilon=0.5, axes=(2, 3))
    found["errors"][np.dtype(dtype).name] = float(np.abs(y - expected).max() / np.finfo(dtype).eps)
    found["used"] = session.get_providers()
found["cuda"] = frn_onnx.build_info()["cuda"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def gpu_environment(environment):
    return environment("onnxruntime-gpu")


def test_sessions_with_the_gpu_wheel(gpu_environment):
    """CUDA is preferred; where there is none the CPU's kernels run, and a warning says so."""
    found = json.loads(gpu_environment.run(SESSIONS).splitlines()[-1])
    assert "CUDAExecutionProvider" in found["providers"]
    # In units of the type's epsilon; y is of the order of 10.
    assert max(found["errors"].values()) < 16, found["errors"]
    assert (found["cuda"] is not None) == HAS_NVCC
    if "CUDAExecutionProvider" not in found["used"]:
        assert all("CUDAExecutionProvider was asked for" in text for text in found["warnings"])
        assert len(found["warnings"]) == 3


DOCTOR = """
import json
from frn_onnx.runtime import cuda_provider, doctor

found = [check.detail for check in doctor.examine().checks if check.name == "CUDA provider"]
for driver in (12040, 13000):  # as cuDriverGetVersion says it
    cuda_provider.driver_version = lambda: driver
    found.append(cuda_provider.problem())
print(json.dumps(found))
"""


def test_doctor_says_why_the_cuda_provider_does_not_load(gpu_environment):
    """This onnxruntime-gpu is for CUDA 13, of which nothing is here; the drivers are made up."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    none, old, unfit = json.loads(gpu_environment.run(DOCTOR).splitlines()[-1])
    assert "there is no NVIDIA driver here" in none
    assert "the NVIDIA driver is for CUDA 12.4" in old
    assert "built for CUDA 13.0: update the driver to 580 or newer" in old
    assert "does not load: libcublasLt.so.13" in unfit
    assert "pip install nvidia-cublas, or all of it" in unfit


@pytest.mark.skipif(not HAS_NVCC, reason="the library is built without CUDA: no nvcc")
def test_cuda_arrays_without_a_driver(gpu_environment):
    """The kernels' entry for arrays reports CUDA's own words, and nothing crashes."""
    code = """
    from frn_onnx import _native
    print(_native.build_info()["cuda"]["architectures"])
    one = (16, "float32")
    try:
        _native.frn_cuda(x=16, y=16, shape=(1, 2, 3, 4), dtype="float32", axes=(2, 3), gamma=one,
                         beta=one, epsilon=0.0, device=0, stream=0)
    except RuntimeError as error:
        print(error)
    try:
        _native.frn_cuda(x=16, y=16, shape=(1, 2, 3, 4), dtype="float64", axes=(2, 3), gamma=one,
                         beta=one, epsilon=0.0, device=0, stream=0)
    except ValueError as error:
        print(error)
    """
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    architectures, no_device, no_kernel = gpu_environment.run(code).splitlines()
    assert "75-real" in architectures
    assert "90" in architectures
    assert "FRN: looking for a CUDA device failed: cudaError" in no_device
    assert "x on a GPU must be float32, float16 or bfloat16, received float64" in no_kernel


def test_a_build_without_cuda_says_so():
    """FRN_ONNX_CUDA=off is what a machine without nvcc gets from auto."""
    import pybind11

    build = ROOT / "build" / "without-cuda"
    for command in (
        [
            *("cmake", "-S", ROOT / "custom_ops", "-B", build, "-G", "Ninja"),
            *("-DFRN_ONNX_CUDA=off", f"-DPython_EXECUTABLE={sys.executable}"),
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        ],
        ["cmake", "--build", build, "--target", "_native"],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    code = "import _native; print(_native.build_info()['cuda'], hasattr(_native, 'frn_cuda'))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=build / "out", capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == ["None", "False"]
