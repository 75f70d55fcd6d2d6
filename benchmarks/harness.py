"""What every benchmark here shares: timing in turns, the facts of the machine, JSON results.

Method. The alternatives of one row are timed in turns, in one process (frn_onnx.runtime.latency);
only ratios within a row mean something on a shared machine. Meanwhile the caller's thread has the
first core to itself, since a worker that wakes beside it would take turns with it.
"""

import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from frn_onnx.runtime import latency

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).parent / "results"
sys.path.insert(0, str(ROOT / "tests"))  # tolerances.py, the only tolerances


def time_in_turns(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    turns: int = 5,
    base: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Times each call for about ``seconds``; name -> median, quartiles (µs), number of calls.

    Args:
        calls: name -> the call.
        seconds: for each call.
        turns: of each call.
        base: name -> another name. Then there is also "ratio", of the first to the other within
            each turn: lower quartile, median, upper quartile.
    """
    for call in calls.values():
        call()  # makes its threads
    with _first_core_for_this_thread():
        times = latency.compare(calls, seconds=seconds * len(calls), turns=turns)
    entries = {name: _entry(taken) for name, taken in times.items()}
    for name, other in (base or {}).items():
        pairs = zip(times[name].turns_ms, times[other].turns_ms, strict=True)
        quartiles = statistics.quantiles([a / b for a, b in pairs], n=4, method="inclusive")
        entries[name]["ratio"] = [round(value, 4) for value in quartiles]
    return entries


def _entry(taken: latency.Latency) -> dict[str, Any]:
    return {
        "median_us": round(taken.median_ms * 1e3, 2),
        "low_us": round(taken.low_ms * 1e3, 2),
        "high_us": round(taken.high_ms * 1e3, 2),
        "calls": taken.calls,
    }


@contextlib.contextmanager
def _first_core_for_this_thread() -> Iterator[None]:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        yield
        return
    this = threading.get_native_id()
    threads = [int(thread) for thread in os.listdir("/proc/self/task")]
    for thread in threads:
        os.sched_setaffinity(thread, cores[:1] if thread == this else cores[1:])
    try:
        yield
    finally:
        for thread in threads:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                os.sched_setaffinity(thread, cores)


def machine() -> dict[str, Any]:
    """The machine, the versions and the command: everything a figure depends on."""
    import numpy
    import onnx
    import onnxruntime

    import frn_onnx

    info = frn_onnx.build_info()
    versions = {
        "frn_onnx": info["version"],
        "onnxruntime": onnxruntime.__version__,
        "onnx": onnx.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }
    return {
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "caches": _caches(),
        "cpu_target": info["cpu_target"],
        "compiler": info["compiler"],
        "os": platform.platform(),
        "load_before": round(os.getloadavg()[0], 2),
        "versions": versions,
        "commit": _commit(),
        "command": " ".join(["python", os.path.relpath(sys.argv[0], ROOT), *sys.argv[1:]]),
        "date": time.strftime("%Y-%m-%d"),
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _caches() -> dict[str, str]:
    folders = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")
    return {
        f"L{(folder / 'level').read_text().strip()}": (folder / "size").read_text().strip()
        for folder in sorted(folders)
        if (folder / "type").read_text().strip() != "Instruction"
    }


def _commit() -> str:
    """The commit, with a mark if the tree has changes in what is measured."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run(
            [*git, "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--", "custom_ops", "frn_onnx", "benchmarks/*.py"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return commit + ("+" if changed else "")


def write_json(path: Path, payload: Mapping[str, Any]) -> None:
    """Writes results beside the place, then moves them there."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(payload, indent=1) + "\n")
    os.replace(temporary, path)
