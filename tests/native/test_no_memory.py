"""Where the system gives no more memory, sessions fail with ONNX Runtime's error and live on."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from frn_onnx.runtime import library

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the limit and /proc")
TESTS = Path(__file__).parents[1]
PRELUDE = """
import contextlib, resource, sys
import numpy as np, onnx, onnx.numpy_helper, onnxruntime as ort, ort_models

@contextlib.contextmanager
def room(mib):
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (mib << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.register_custom_ops_library(sys.argv[1])
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

def feeds(channels, height, width):
    values = {name: np.ones((channels, 1, 1), np.float32) for name in ("gamma", "beta", "tau")}
    return {"X": np.ones((1, channels, height, width), np.float32), **values}

refused = []
"""


def run_python(body: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(body), library.get_library_path()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("constant", [False, True], ids=["given", "constant"])
def test_no_memory_for_a_session_or_a_run(constant):
    """From hardly any room on: what does not fit is an error, and there is a room where it fits."""
    run_python(f"""
        channels = 1 << 20
        model = ort_models.frn_model(x=(1, None, None, None), axes=(2, 3), channels=channels)
        values = feeds(channels, 2, 2)
        if {constant}:
            for name in ("gamma", "beta", "tau"):
                value = onnx.numpy_helper.from_array(values.pop(name), name)
                model.graph.initializer.append(value)
            inputs = [value for value in model.graph.input if value.name in values]
            del model.graph.input[:]
            model.graph.input.extend(inputs)
        model = model.SerializeToString()
        for mib in (1, 2, 4, 8, 16, 32, 64, 128, 1024):
            try:
                with room(mib):
                    y = session(model).run(None, values)[0]
            except Exception as error:
                refused.append(error)
            else:
                assert y.shape == values["X"].shape
        assert 2 <= len(refused) < 9, refused
        for error in refused:
            assert type(error) is not ort.capi.onnxruntime_pybind11_state.InvalidArgument, error
    """)


def test_no_memory_for_the_output():
    """ONNX Runtime's own code and text, and the session is as good as before."""
    run_python("""
        model = ort_models.frn_model(x=(None, 8, None, None), axes=(2, 3), channels=8)
        kept = session(model.SerializeToString())
        small, large = feeds(8, 8, 8), feeds(8, 2048, 1024)
        before = kept.run(None, small)[0]
        try:
            with room(40):
                kept.run(None, large)
        except ort.capi.onnxruntime_pybind11_state.Fail as error:
            assert "Failed to allocate memory" in str(error), error
        else:
            raise SystemExit("64 MiB in a room of 40")
        assert (kept.run(None, small)[0] == before).all()
        assert kept.run(None, large)[0].shape == large["X"].shape
    """)
