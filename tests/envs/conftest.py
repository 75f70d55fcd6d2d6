"""The built wheel, as users install it, in environments of ``environments.PACKAGES``."""

import os
import subprocess
import textwrap
from dataclasses import dataclass
from pathlib import Path

import environments
import pytest


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
            cwd=environments.ENVS,
            timeout=300,
        )


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """The wheel as a user would build it, in isolation; one for all processes of this run."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder /= "wheel"
    with environments.locked("wheel"):
        if not (made := list(folder.glob("*.whl"))):
            result = environments.pip(
                "wheel", "--no-deps", "--wheel-dir", folder, environments.ROOT
            )
            if "No matching distribution found" in result.stderr and not environments.required():
                pytest.skip("the wheel's build requirements cannot be fetched")
            assert result.returncode == 0, result.stderr
            made = list(folder.glob("*.whl"))
    return made[0]


@pytest.fixture(scope="session")
def environment(wheel):
    """Gives an environment: ``environment("onnxruntime-1.18.1")``."""

    def make(name: str) -> Environment:
        python = environments.python(name)
        # The wheel is new in every run, what it needs is there already.
        result = environments.install(python, "--force-reinstall", "--no-deps", wheel)
        assert result.returncode == 0, result.stderr
        return Environment(python)

    return make
