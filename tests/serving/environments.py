"""Environments of their own for other projects' programs, made once under .envs/ and kept.

``clients`` holds Triton's client, whose gRPC half wants another protobuf, and schemathesis;
``ray`` holds Ray Serve, ``frameworks`` the servers of the documentation's examples. The last two
take a GB, so they are made only where FRN_ONNX_REQUIRE_ENVS=1 is set, as CI does. Where an
environment is missing the tests skip visibly, with that setting they fail.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ENVS = ROOT / ".envs"
# What frn_onnx itself needs; it comes from the source tree.
_FRN_ONNX = ("onnx", "onnx-ir", "onnxruntime", "numpy", "rich")
_PACKAGES = {
    "clients": ("tritonclient[http,grpc]", "schemathesis"),
    "ray": (
        *("ray[serve]", "httptools", "orjson", "prometheus_client", "starlette", "uvicorn"),
        *("uvloop", *_FRN_ONNX),
    ),
    "frameworks": ("fastapi", "uvicorn", "bentoml", "litserve", *_FRN_ONNX),
}


_LARGE = ("ray", "frameworks")


def is_made(name: str) -> bool:
    """Whether an environment is there already."""
    return (_ENVS / f"serving-{name}" / ".complete").exists()


def python(name: str) -> Path:
    """The interpreter of an environment, which is made if it is not there."""
    folder = _ENVS / f"serving-{name}"
    interpreter = folder / "bin" / "python"
    if is_made(name):
        return interpreter
    required = os.environ.get("FRN_ONNX_REQUIRE_ENVS") == "1"
    if name in _LARGE and not required:
        pytest.skip(f"{folder} is not there; FRN_ONNX_REQUIRE_ENVS=1 makes it, about 1 GB")
    _ENVS.mkdir(exist_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    pip = [interpreter, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    result = subprocess.run([*pip, *_PACKAGES[name]], capture_output=True, text=True)
    if result.returncode:
        reason = f"the environment {name!r} cannot be made: {result.stderr.strip()[-500:]}"
        if required:
            pytest.fail(reason)
        pytest.skip(reason)
    (folder / ".complete").touch()
    return interpreter


def run(name: str, *args: str | Path, timeout: float = 120) -> str:
    """What a script prints in an environment; its failure fails the test, with its output."""
    command = [python(name), *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout
