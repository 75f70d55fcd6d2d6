"""The CUDA part without a GPU: kernels, planner and ONNX Runtime glue under the SIMT emulator.

The kernels' own source is compiled as C++ (custom_ops/tests/simt). This runs the quick subset;
``make simt`` runs the full one.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import ort_models
import pybind11
import pytest
from cuda_cases import check, feeds_for
from native_cases import CASES, DTYPES, channels_of

from frn_onnx import op

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulator needs ucontext")

# Emulation takes microseconds per thread.
SMALL = [case for case in CASES if np.prod(case[0]) <= 20_000]
HALVES_AND_FLOAT = [name for name in DTYPES if name != "float64"]


@pytest.fixture(scope="session")
def built() -> Path:
    """The folder with the emulator's programs, built where they are not up to date."""
    folder = ROOT / "build" / "simt"
    source = ROOT / "custom_ops" / "tests" / "simt"
    pybind11_folder = f"-Dpybind11_DIR={pybind11.get_cmake_dir()}"
    python = f"-DPython_EXECUTABLE={sys.executable}"
    for command in (
        ["cmake", "-S", source, "-B", folder, "-G", "Ninja", pybind11_folder, python],
        ["cmake", "--build", folder],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return folder


@pytest.mark.parametrize(
    "program", ["simt_test", "elements_test", "planner_test", "launch_test", "kernels_test"]
)
def test_program(built, program):
    result = subprocess.run([built / program], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout[-4000:]


@pytest.fixture(scope="session")
def session(built):
    """Makes sessions whose FRN nodes run the CUDA op, its kernels emulated."""

    def make(model) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.register_custom_ops_library(str(built / "libemulated_ops.so"))
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    return make


@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize(("shape", "axes"), SMALL, ids=str)
def test_every_shape(rng, session, name, shape, axes):
    feeds = feeds_for(rng, shape, axes, DTYPES[name])
    channels = channels_of(shape, axes)
    model = ort_models.frn_model(x=shape, axes=axes, channels=channels, dtype=name)
    check(ort_models.run(session(model), feeds), feeds, axes)


@pytest.mark.parametrize("param_dtype", ["float32", "as X"])
@pytest.mark.parametrize(
    "inputs",
    [op.INPUTS[:3], op.INPUTS[:4], op.INPUTS, ("X", "gamma", "beta", "", "epsilon")],
    ids=["no tau", "tau", "tau and epsilon", "epsilon"],
)
@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
def test_every_combination_of_inputs(rng, session, name, inputs, param_dtype):
    shape, axes = (2, 6, 7, 5), (1, 2)
    param_dtype = name if param_dtype == "as X" else param_dtype
    feeds = feeds_for(rng, shape, axes, DTYPES[name], inputs, DTYPES[param_dtype])
    model = ort_models.frn_model(
        x=shape, axes=axes, channels=5, inputs=inputs, dtype=name, param_dtype=param_dtype
    )
    check(ort_models.run(session(model), feeds), feeds, axes)


RESIDUAL_INPUTS = op.RESIDUAL_INPUTS[:5]


@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize(("shape", "axes"), SMALL[::2], ids=str)
def test_residual(rng, session, name, shape, axes):
    feeds = feeds_for(rng, shape, axes, DTYPES[name], RESIDUAL_INPUTS)
    channels = channels_of(shape, axes)
    model = ort_models.frn_model(
        x=shape, axes=axes, channels=channels, dtype=name, inputs=RESIDUAL_INPUTS
    )
    check(ort_models.run(session(model), feeds), feeds, axes)


def test_parameters_of_different_types(rng, session):
    shape, axes = (1, 2, 3, 4), (2, 3)
    feeds = feeds_for(rng, shape, axes, DTYPES["float16"])
    model = ort_models.frn_model(x=shape, axes=axes, channels=2, dtype="float16")
    for value in model.graph.input:
        if value.name == "beta":
            value.type.tensor_type.elem_type = ort_models.ELEMENT_TYPES["float32"]
            feeds["beta"] = feeds["beta"].astype(np.float32)
    check(session(model).run(None, feeds)[0], feeds, axes)


def test_nodes_in_a_row(rng, session):
    """Where ONNX Runtime lets a node write over its input, the bits are the same."""
    shape, axes = (2, 8, 9, 16), (1, 2)
    feeds = feeds_for(rng, shape, axes, DTYPES["float32"])
    row = ort_models.frn_model(x=shape, axes=axes, channels=16, nodes=3)
    single = session(ort_models.frn_model(x=shape, axes=axes, channels=16))
    y = feeds["X"]
    for _ in range(3):
        y = single.run(None, {**feeds, "X": y})[0]
    np.testing.assert_array_equal(session(row).run(None, feeds)[0], y)


def test_wrong_parameter_shape_is_an_error(rng, session):
    model = ort_models.frn_model(x=["N", "C", "H", "W"], axes=(2, 3), channels=3)
    for value in model.graph.input[1:]:
        value.type.tensor_type.shape.dim[0].dim_param = "C"
    feeds = feeds_for(rng, (1, 3, 4, 4), (2, 3), DTYPES["float32"])
    feeds["gamma"] = feeds["gamma"][:2]
    with pytest.raises(Exception, match=r"gamma must have shape \(3, 1, 1\)"):
        session(model).run(None, feeds)


def test_double_has_no_cuda_kernel(session):
    """So that with a GPU ONNX Runtime takes the CPU's, which is not in the emulated library."""
    model = ort_models.frn_model(x=(1, 2, 3, 4), axes=(2, 3), channels=2, dtype="float64")
    with pytest.raises(Exception, match="FilterResponseNormalization"):
        session(model)


def test_kernels_are_loaded_when_a_session_is_made(built):
    """Not in its first run, which may be timed or captured in a CUDA graph."""
    program = """
import ctypes, sys
import numpy as np, onnxruntime as ort, ort_models
library = sys.argv[1]
loads = ctypes.CDLL(library).fake_attribute_writes
options = ort.SessionOptions()
options.register_custom_ops_library(library)
model = ort_models.frn_model(x=(1, 2, 3, 4), axes=(2, 3), channels=2)
counts = [loads()]
session = ort.InferenceSession(model.SerializeToString(), options)
counts.append(loads())
feeds = {value.name: np.ones(value.shape, np.float32) for value in session.get_inputs()}
session.run(None, feeds)
print(*counts, loads())
"""
    command = [sys.executable, "-c", program, built / "libemulated_ops.so"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    before, made, run = map(int, result.stdout.split())
    assert before == 0
    assert made == run > 0


@pytest.mark.parametrize(("driver", "has_kernel"), [(12090, False), (13000, True)])
def test_a_driver_that_is_too_old_gets_no_cuda_kernels(built, driver, has_kernel):
    """So that ONNX Runtime runs the node as if the library had none, instead of failing at it."""
    program = """
import ctypes, sys
import onnxruntime as ort, ort_models
library = sys.argv[1]
ctypes.CDLL(library).fake_driver(int(sys.argv[2]))
options = ort.SessionOptions()
options.register_custom_ops_library(library)
model = ort_models.frn_model(x=(1, 2, 3, 4), axes=(2, 3), channels=2)
ort.InferenceSession(model.SerializeToString(), options)
"""
    command = [sys.executable, "-c", program, built / "libemulated_ops.so", str(driver)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert (result.returncode == 0) == has_kernel, result.stderr
    assert has_kernel or "FilterResponseNormalization" in result.stderr


@pytest.fixture(scope="session")
def emulated(built):
    """The part of ``_native`` that runs on CUDA arrays, on NumPy's."""
    (path,) = built.glob("_emulated*.so")
    spec = importlib.util.spec_from_file_location("_emulated", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def on_arrays(emulated, feeds, axes, y, changes=()) -> None:
    """frn_cuda on NumPy arrays."""

    def param(name):
        return (feeds[name].ctypes.data, feeds[name].dtype.name) if name in feeds else None

    x = feeds["X"]
    arguments = {
        **{name: param(name) for name in op.INPUTS[1:4]},
        "x": x.ctypes.data,
        "y": y.ctypes.data,
        "shape": x.shape,
        "dtype": x.dtype.name,
        "axes": axes,
        "epsilon": 1e-3,
        "epsilons": feeds["epsilon"].ctypes.data if "epsilon" in feeds else None,
        "device": 0,
        "stream": 0,
    }
    emulated.frn_cuda(**{**arguments, **dict(changes)})


@pytest.mark.parametrize("param_dtype", ["float32", "as X"])
@pytest.mark.parametrize("inputs", [op.INPUTS[:3], op.INPUTS[:4], op.INPUTS], ids=len)
@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize(("shape", "axes"), [((2, 6, 7, 5), (1, 2)), ((2, 5, 6, 7), (2, 3))])
def test_arrays(rng, emulated, shape, axes, name, inputs, param_dtype):
    param_dtype = name if param_dtype == "as X" else param_dtype
    feeds = feeds_for(rng, shape, axes, DTYPES[name], inputs, DTYPES[param_dtype])
    y = np.full_like(feeds["X"], np.nan)
    on_arrays(emulated, feeds, axes, y)
    check(y, feeds, axes)


@pytest.mark.parametrize("over", ["y", "X", "residual"])
@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize(("shape", "axes"), [((2, 6, 7, 5), (1, 2)), ((2, 5, 6, 7), (2, 3))])
def test_residual_of_arrays(rng, emulated, shape, axes, name, over):
    feeds = feeds_for(rng, shape, axes, DTYPES[name], RESIDUAL_INPUTS)
    given = {key: value.copy() for key, value in feeds.items()}
    y = given[over] if over in given else np.full_like(feeds["X"], np.nan)
    on_arrays(emulated, given, axes, y, {"residual": given["residual"].ctypes.data})
    check(y, feeds, axes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dtype": "float64"}, "x on a GPU must be float32, float16 or bfloat16, received float64"),
        ({"gamma": (16, "float64")}, r"gamma must be float32 .* received float64"),
        ({"epsilon": -1.0}, "epsilon must be finite and not negative"),
        ({"axes": (1, 1)}, "axes must name 1 to 3 distinct spatial axes"),
        ({"shape": (2, 5)}, "X must have rank 4"),
        ({"x": 17}, "X and Y, and residual, must begin at a multiple of their element's 4 bytes"),
    ],
)
def test_wrong_arguments_for_arrays(rng, emulated, changes, message):
    feeds = feeds_for(rng, (1, 5, 2, 2), (2, 3), DTYPES["float32"])
    with pytest.raises((ValueError, RuntimeError), match=message):
        on_arrays(emulated, feeds, (2, 3), np.empty_like(feeds["X"]), changes)


def test_warm_up(emulated):
    emulated.warm_up_cuda(device=0)
    with pytest.raises(RuntimeError, match="choosing the CUDA device failed"):
        emulated.warm_up_cuda(device=9)
