"""What a process holds while sessions come and go and many threads run them.

    python tests/long_life.py sessions|runs|arrays COUNT

opens and closes COUNT sessions, or runs one session, or frn() on arrays, COUNT times from 16
threads, in this process, and prints as JSON how many were done and the resident bytes then, 40
times on the way.
"""

import concurrent.futures
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import ort_models
from native_cases import make_params, make_x

import frn_onnx

THREADS = 16
POINTS = 40
SHAPE, CHANNELS = (2, 8, 24, 24), 8


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _feeds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    params = zip(("gamma", "beta", "tau"), make_params(rng, CHANNELS, np.float32), strict=True)
    feeds = {name: value.reshape(CHANNELS, 1, 1) for name, value in params}
    return {"X": make_x(rng, SHAPE, np.float32), **feeds}


def _model():
    return ort_models.frn_model(x=["N", CHANNELS, "H", "W"], axes=(2, 3), channels=CHANNELS)


def measure(work: Callable[[int], None], count: int) -> list[tuple[int, int]]:
    """(how many are done, resident bytes) at every fortieth; ``work`` does so many."""
    points, done = [], 0
    for point in range(1, POINTS + 1):
        work(count * point // POINTS - done)
        done = count * point // POINTS
        gc.collect()
        points.append((done, resident_bytes()))
    return points


def sessions(count: int) -> list[tuple[int, int]]:
    model, feeds = _model(), _feeds()

    def work(some: int) -> None:
        for i in range(some):
            session = ort_models.session(model, threads=1 + i % 2)
            if i % 10 == 0:
                session.run(None, feeds)

    return measure(work, count)


def _from_threads(call: Callable[[np.ndarray], np.ndarray], count: int) -> list[tuple[int, int]]:
    """Each thread with batches of its own size."""
    x = _feeds()["X"]
    batches = [np.ascontiguousarray(x.repeat(1 + i % 3, axis=0)) for i in range(THREADS)]
    expected = [call(batch).tobytes() for batch in batches]

    def some_calls(thread: int, calls: int) -> None:
        for i in range(calls):
            y = call(batches[thread])
            if i % 100 == 0 and y.tobytes() != expected[thread]:
                raise RuntimeError("a run among others gave other bits than one alone")

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:

        def work(some: int) -> None:
            shares = [some * (t + 1) // THREADS - some * t // THREADS for t in range(THREADS)]
            list(pool.map(some_calls, range(THREADS), shares))

        return measure(work, count)


def runs(count: int) -> list[tuple[int, int]]:
    session, feeds = ort_models.session(_model()), _feeds()
    return _from_threads(lambda x: session.run(None, {**feeds, "X": x})[0], count)


def arrays(count: int) -> list[tuple[int, int]]:
    params = [value.reshape(-1) for name, value in _feeds().items() if name != "X"]
    return _from_threads(lambda x: frn_onnx.frn(x, *params, axes=(2, 3)), count)


WORK = {"sessions": sessions, "runs": runs, "arrays": arrays}


def in_process_of_its_own(name: str, count: int) -> list[tuple[int, int]]:
    """The points of a process that does nothing else."""
    command = [sys.executable, __file__, name, str(count)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{name}: exit status {result.returncode}\n{result.stderr[-2000:]}")
    return [(done, held) for done, held in json.loads(result.stdout)]


def growth_bytes(points: list[tuple[int, int]]) -> int:
    """From the end of the first quarter, when every allocator has what it needs, to the most."""
    settled = [held for done, held in points if done >= points[-1][0] / 4]
    return max(settled) - settled[0]


if __name__ == "__main__":
    print(json.dumps(WORK[sys.argv[1]](int(sys.argv[2]))))
