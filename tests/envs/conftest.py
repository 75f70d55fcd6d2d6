"""Virtual environments with other ONNX Runtimes, and the built wheel installed in each.

They are made once under .envs/ and kept. Where packages cannot be fetched the tests skip
visibly; FRN_ONNX_REQUIRE_ENVS=1, as CI sets it, makes that a failure.
"""

import hashlib
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENVS = ROOT / ".envs"


@dataclass(frozen=True)
class Environment:
    """A Python with frn_onnx's wheel and chosen packages in it."""

    python: Path

    def run(self, code: str, *args: str) -> str:
        """What a script prints; its failure fails the test, with its output."""
        result = self.try_run(code, *args)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
        return result.stdout

    def try_run(self, code: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Runs a script outside the repository, so that only what is installed is seen."""
        return subprocess.run(
            [self.python, "-I", "-c", textwrap.dedent(code), *args],
            capture_output=True,
            text=True,
            cwd=ENVS,
            timeout=300,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel as a user would build it, in isolation."""
    folder = tmp_path_factory.mktemp("wheel")
    _pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="session")
def environment(wheel):
    """Makes an environment: ``environment("onnxruntime==1.18.1", "numpy<2")``."""

    def make(*packages: str) -> Environment:
        key = hashlib.sha256("\n".join((sys.version, *packages)).encode()).hexdigest()[:8]
        folder = ENVS / f"{packages[0].replace('==', '-')}-{key}"
        python = folder / "bin" / "python"
        if not (folder / ".complete").exists():
            ENVS.mkdir(exist_ok=True)
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
            _pip(python, "install", "onnx", "onnx-ir", "rich", *packages)
            (folder / ".complete").touch()
        # The wheel is new in every run, what it needs is there already.
        _pip(python, "install", "--force-reinstall", "--no-deps", str(wheel))
        return Environment(python)

    return make


def _pip(python: str | Path, *args: str) -> None:
    command = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", *args]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode == 0:
        return
    reason = f"pip {args[0]} failed: {result.stderr.strip()[-500:]}"
    if os.environ.get("FRN_ONNX_REQUIRE_ENVS") == "1" or args[0] == "wheel":
        pytest.fail(reason)
    pytest.skip(reason)
