"""The machine: driver, GPU, clocks, versions, the build, and how fast a large copy is."""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import time
from pathlib import Path

from context import Context, summary
from harness import ROOT, Call, Param

_QUERY = (
    *("name", "driver_version", "memory.total", "clocks.max.sm", "clocks.max.memory"),
    *("clocks.sm", "clocks.mem", "power.limit", "temperature.gpu"),
)
_PACKAGES = ("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "triton", "frn_onnx")


def _output(*command: str) -> str | None:
    """What a command prints; None where it is not there or fails."""
    if shutil.which(command[0]) is None:
        return None
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return result.stdout.strip() if result.returncode == 0 else None


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """The repository's, or the kit's: a machine with a GPU may have the files alone."""
    kit = os.environ.get("FRN_GPU_WORK")
    here = _output("git", "describe", "--always", "--dirty", "--abbrev=40")
    if here is None and kit and (facts := Path(kit, "kit.json")).exists():
        return json.loads(facts.read_text())["commit"]
    return here


def machine() -> dict[str, object]:
    """What the tables say of where they come from."""
    gpu = _output("nvidia-smi", f"--query-gpu={','.join(_QUERY)}", "--format=csv,noheader")
    return {
        "host": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "nvcc": (_output("nvcc", "--version") or "").splitlines()[-1:],
        "gpu": dict(zip(_QUERY, gpu.split(", "), strict=False)) if gpu else None,
    }


def run(context: Context) -> dict:
    begin = time.perf_counter()
    harness = context.harness
    seconds = time.perf_counter() - begin
    size = 1 << 16 if context.dry_run else 1 << 30
    x, y = harness.memory(size), harness.memory(size)
    x.fill(0x3C)
    nothing = Param(0)
    call = Call(x.address, y.address, (1, 1, 1, 1), "float32", nothing, nothing)
    speed = {"bytes": size}
    for name, by_kernel in (("driver", False), ("kernel", True)):
        times = harness.time_copy([call], size, by_kernel=by_kernel, replays=9)
        speed[f"{name}_gbps"] = summary([2 * size / ms / 1e6 for ms in times])
    return {
        "machine": machine(),
        "device": harness.device(),
        "build_s": seconds,
        "copy": speed,
    }
