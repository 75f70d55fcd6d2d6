"""Whatever becomes of the threads, frn() returns, and the same: forks, limits, affinity."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from native_cases import channels_of, make_params, make_x

import frn_onnx
from frn_onnx import _native

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="fork, rlimits and affinity")

# What the children below share: a call that two threads take part in, and what it returns. Where a
# thread fails, so does the child.
CALL = """
import multiprocessing, os, resource, signal, sys, threading, time
import numpy as np
from frn_onnx import _native
def failed(args):
    sys.excepthook(*args[:3])
    os._exit(4)
threading.excepthook = failed
x = np.random.default_rng(0).normal(size=(8, 64, 56, 56)).astype(np.float32)
one = np.ones(64, np.float32)
def total(threads=2):
    return float(_native.frn(x, one, one, one, epsilon=1e-6, axes=(2, 3), threads=threads).sum())
def in_child(work):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if work() == expected else 3)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def run_python(body: str, timeout: float = 60) -> None:
    """Runs CALL and the body in a process of its own, which must end well, and in time."""
    code = CALL + textwrap.dedent(body)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr


def test_fork_with_and_without_calls_before():
    run_python("""
        expected = total(1)
        assert in_child(total) == 0
        assert total() == expected
        assert in_child(total) == 0
        assert in_child(lambda: in_child(total) or total()) == 0
        assert total() == expected
    """)


def test_a_short_call_does_not_wait_for_threads_that_run_python():
    """Given away, the GIL comes back when the other thread has had it for the switch interval."""
    run_python("""
        small = np.ones((1, 14, 14, 64), np.float32)
        def call(array):
            _native.frn(array, one, one, one, epsilon=1e-6, axes=(1, 2), threads=1)
        def keep_busy():
            while not stop.is_set():
                pass
        def seconds(array, calls):
            start = time.perf_counter()
            for _ in range(calls):
                call(array)
            return time.perf_counter() - start
        call(small)
        stop = threading.Event()
        thread = threading.Thread(target=keep_busy)
        thread.start()
        sys.setswitchinterval(0.5)
        short = seconds(small, 100)
        long = seconds(np.ones((8, 56, 56, 64), np.float32), 20)
        stop.set()
        thread.join()
        assert short < 0.4, short  # had it waited once, it would be longer than the interval
        assert long > 0.5, long
    """)


def test_fork_while_another_thread_calls():
    """The child's copy of the team is in the middle of that call."""
    run_python("""
        expected, stop = total(), threading.Event()
        def keep_busy():
            while not stop.is_set():
                total()
        threads = [threading.Thread(target=keep_busy) for _ in range(2)]
        [t.start() for t in threads]
        codes = [in_child(total) for _ in range(8)]
        stop.set()
        [t.join() for t in threads]
        assert codes == [0] * 8, codes
    """)


def test_fork_from_a_thread():
    run_python("""
        expected, codes = total(), []
        thread = threading.Thread(target=lambda: codes.append(in_child(total)))
        thread.start()
        thread.join()
        assert codes == [0] and total() == expected
    """)


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_multiprocessing(tmp_path, method):
    script = tmp_path / "pool.py"
    script.write_text(
        CALL
        + textwrap.dedent("""
            if __name__ == "__main__":
                expected = total()
                with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                    assert pool.map(total, [1, 2, 3]) == [expected] * 3
        """)
    )
    done = subprocess.run(
        [sys.executable, str(script), method], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("threads", [2, 8, 300])
@pytest.mark.parametrize("room_mib", [1, 12, 20])
def test_no_memory_for_threads(threads, room_mib):
    """Not one stack of 8 MiB fits, or one, or two: the others do the work."""
    run_python(f"""
        expected, y = total(1), np.empty_like(x)
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ({room_mib} << 20),) * 2)
        for _ in range(3):
            _native.frn(x, one, one, one, epsilon=1e-6, axes=(2, 3), out=y, threads={threads})
        assert y.sum(dtype=np.float32) == np.float32(expected)
    """)


def test_threads_that_live_at_the_end():
    """Daemon threads in the middle of calls, when the interpreter ends."""
    for _ in range(5):
        run_python("""
            def keep_busy():
                while True:
                    total()
            [threading.Thread(target=keep_busy, daemon=True).start() for _ in range(3)]
            time.sleep(0.2)
        """)


def test_threads_come_and_go(rng):
    """Every number of threads in turn, from many threads at once."""
    x = make_x(rng, (4, 16, 90, 90), np.float32)
    params = make_params(rng, channels_of(x.shape, (2, 3)), np.float32)
    results = {
        _native.frn(x, *params, epsilon=1e-3, axes=(2, 3), threads=n).tobytes()
        for n in (3, 1, 7, 0, 2, 40, 1, 3)
    }
    assert len(results) == 1


def test_affinity_is_what_counts():
    """A call that may use one CPU makes no thread."""
    run_python("""
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        before = os.listdir("/proc/self/task")
        total(0)
        assert os.listdir("/proc/self/task") == before
    """)


def test_same_bits_whatever_the_cpus():
    """How squares are added does not depend on how many CPUs there are."""
    if len(os.sched_getaffinity(0)) == 1:
        pytest.skip("takes two CPUs")
    run_python("""
        def bits():
            made = np.random.default_rng(1)
            found = []
            for shape, axes in (((1, 3, 600, 601), (2, 3)), ((1, 12, 300, 300), (2, 3)),
                                ((1, 90, 91, 200), (1, 2)), ((2, 50, 51, 264), (1, 2))):
                x = made.normal(size=shape).astype(np.float32)
                c = np.ones(shape[3 if axes == (1, 2) else 1], np.float32)
                y = _native.frn(x, c, c, c, epsilon=1e-6, axes=axes)
                found.append(hash(y.tobytes()))
            return found
        many = bits()
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        assert bits() == many
    """)


def test_no_threads_to_be_had():
    """The limit on processes is reached: the caller does the work alone."""
    run_python("""
        expected = total(1)
        if os.geteuid() == 0:  # for whom there is no limit
            os.setresuid(65534, 65534, 65534)
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
        try:
            threading.Thread(target=int).start()
        except RuntimeError:
            pass
        else:
            raise SystemExit("the limit is none")
        assert total(8) == expected
        assert total(0) == expected
    """)


# As servers do that load an application before they fork: a session made and run, and frn() called.
PRELOADED = """
import onnxruntime as ort
import ort_models
model = ort_models.frn_model(x=(1, 8, 90, 91), axes=(2, 3), channels=8).SerializeToString()
feeds = {value: np.ones((8, 1, 1), np.float32) for value in ("gamma", "beta", "tau")}
feeds["X"] = np.linspace(-2, 3, 8 * 90 * 91, dtype=np.float32).reshape(1, 8, 90, 91)
path = sys.argv[1]
def register():
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    options.register_custom_ops_library(path)
    return options
def of_session():
    session = ort.InferenceSession(model, register(), providers=["CPUExecutionProvider"])
    return float(session.run(None, feeds)[0].sum())
"""


def run_preloaded(body: str) -> None:
    code = CALL + PRELOADED + textwrap.dedent(body)
    library = str(frn_onnx.get_library_path())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, library],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr


def test_fork_after_preloading():
    """Each worker makes sessions of its own, and has the parent's results."""
    run_preloaded("""
        kept = ort.InferenceSession(model, register(), providers=["CPUExecutionProvider"])
        expected = kept.run(None, feeds)[0].sum(), total()
        def work():
            signal.alarm(60)
            return of_session(), total()
        assert [in_child(work) for _ in range(3)] == [0] * 3
        assert (kept.run(None, feeds)[0].sum(), total()) == expected
    """)


def test_fork_while_others_register():
    run_preloaded("""
        expected, stop = of_session(), threading.Event()
        def keep_busy():
            while not stop.is_set():
                register()
        threads = [threading.Thread(target=keep_busy) for _ in range(3)]
        [t.start() for t in threads]
        def work():
            signal.alarm(60)
            return of_session()
        codes = [in_child(work) for _ in range(10)]
        stop.set()
        [t.join() for t in threads]
        assert codes == [0] * 10, codes
    """)
