"""The library in processes that load it twice, let go of it, and have more than one runtime."""

import _ctypes
import concurrent.futures
import ctypes
import gc
import json
import subprocess
import sys
import threading

import environments
import numpy as np
import ort_models
import pytest
from native_cases import check, make_params, make_x

import frn_onnx

SHAPE, AXES, CHANNELS = (2, 5, 6, 7), (2, 3), 5
MODEL = ort_models.frn_model(x=SHAPE, axes=AXES, channels=CHANNELS)


@pytest.fixture
def feeds(rng) -> dict[str, np.ndarray]:
    params = zip(("gamma", "beta", "tau"), make_params(rng, CHANNELS, np.float32), strict=True)
    shaped = {name: value.reshape(CHANNELS, 1, 1) for name, value in params}
    return {"X": make_x(rng, SHAPE, np.float32), **shaped}


def check_run(session, feeds) -> None:
    y = session.run(None, feeds)[0]
    check(y, *feeds.values(), epsilon=np.float32(1e-3), axes=AXES)


@pytest.mark.skipif(sys.platform == "win32", reason="dlclose")
def test_opened_and_closed_by_others(feeds):
    """Before, between and after sessions; whoever closes last does not take the code away."""
    path = frn_onnx.get_library_path()
    session = ort_models.session(MODEL)
    for _ in range(50):
        handles = [ctypes.CDLL(path)._handle for _ in range(3)]
        for handle in handles:
            _ctypes.dlclose(handle)
        check_run(session, feeds)
    del session
    gc.collect()
    for _ in range(5):
        _ctypes.dlclose(ctypes.CDLL(path)._handle)
        check_run(ort_models.session(MODEL), feeds)


def test_sessions_come_and_go_while_others_run(feeds):
    stay = ort_models.session(MODEL)
    stop = threading.Event()

    def run() -> int:
        count = 0
        while not stop.is_set():
            check_run(stay, feeds)
            count += 1
        return count

    def come_and_go() -> None:
        for i in range(25):
            session = ort_models.session(MODEL, threads=1 + i % 3)
            check_run(session, feeds)
            del session

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        running = [pool.submit(run) for _ in range(3)]
        coming = [pool.submit(come_and_go) for _ in range(3)]
        try:
            for future in coming:
                future.result(timeout=120)
        finally:
            stop.set()
        assert all(future.result(timeout=30) > 0 for future in running)


# Two ONNX Runtimes of different versions, each with sessions that outlive the other's.
TWO_RUNTIMES = """
import json, sys
import numpy as np
folder, tests, other = sys.argv[1:]
sys.path.insert(0, tests)
import ort_models, frn_onnx
import onnxruntime as first

for name in [n for n in sys.modules if n.split(".")[0] == "onnxruntime"]:
    del sys.modules[name]
sys.path.insert(0, other)
import onnxruntime as second

model = ort_models.frn_model(x=(1, 2, 3, 4), axes=(2, 3), channels=2).SerializeToString()
rng = np.random.default_rng(1)
feeds = {name: rng.standard_normal((2, 1, 1), np.float32) for name in ("gamma", "beta", "tau")}
feeds["X"] = rng.standard_normal((1, 2, 3, 4), np.float32)

def session(ort):
    options = ort.SessionOptions()
    options.register_custom_ops_library(folder)
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

answers = set()
sessions = {ort: session(ort) for ort in (first, second)}
for turn in range(6):
    for held in sessions.values():
        answers.add(held.run(None, feeds)[0].tobytes())
    renewed = (first, second)[turn % 2]
    sessions[renewed] = None
    sessions[renewed] = session(renewed)
print(json.dumps([first.__version__, second.__version__, len(answers)]))
"""


def test_two_runtimes_in_a_process(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO_RUNTIMES)
    name = "onnxruntime-1.23.2"
    environments.python(name)
    (other,) = environments.folder(name).glob("lib/python*/site-packages")
    alone = tmp_path / "other"  # onnxruntime alone: the rest is this environment's
    alone.mkdir()
    (alone / "onnxruntime").symlink_to(other / "onnxruntime")
    tests = environments.ROOT / "tests"
    arguments = [script, frn_onnx.get_library_path(), tests, alone]
    result = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr[-3000:]
    first, second, answers = json.loads(result.stdout)
    assert first != second == "1.23.2"
    assert answers == 1
