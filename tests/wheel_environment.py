"""The wheel for this machine, in an empty environment, away from the source (``make test-wheel``).

Makes a virtual environment in a temporary folder, installs the wheel from dist/ with ONNX Runtime
and pytest, and runs the suites on a copy of tests/: without arguments a quick subset, with them
what pytest makes of them. What the wheel says it needs is all that it gets.

    python tests/wheel_environment.py [tests/native tests/graph ...]
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUICK = (
    *("tests/test_op.py", "tests/test_reference.py", "tests/runtime"),
    *("tests/native/test_golden.py", "tests/native/test_library.py"),
    *("tests/native/test_bad_models.py", "tests/native/test_registration.py"),
)


@dataclass(frozen=True)
class Ran:
    """What came of the tests in an environment.

    Attributes:
        code: pytest's exit code; pip's, where the environment could not be made.
        output: what that printed.
        installed: the version of every package in the environment, by its name.
    """

    code: int
    output: str
    installed: dict[str, str]


def run(
    tests: Sequence[str], packages: Sequence[str] = (), *, interpreter: str = sys.executable
) -> Ran:
    """Installs the wheel in a new environment, and runs tests against it.

    Args:
        tests: arguments of pytest.
        packages: requirements beside the wheel's; those of constraints.txt where there are none.
        interpreter: the Python of the environment.
    """
    with tempfile.TemporaryDirectory(prefix="frn_onnx-wheel-") as name:
        folder = Path(name)
        subprocess.run([interpreter, "-m", "venv", folder / "env"], check=True)
        bin_ = folder / "env" / ("Scripts" if sys.platform == "win32" else "bin")
        constraints = () if packages else ("--constraint", ROOT / "constraints.txt")
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

        def python(*command: str | Path, **options) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [bin_ / "python", *command], cwd=folder, env=environment, text=True, **options
            )

        made = python(
            *("-m", "pip", "--quiet", "--disable-pip-version-check", "install", *constraints),
            # pip takes of dist/ what fits this machine; the source beside it would be built.
            *("--only-binary=frn_onnx", "--find-links", ROOT / "dist", "frn_onnx[cpu]"),
            *("pytest", "hypothesis", *packages),
            capture_output=True,
        )
        if made.returncode != 0:
            return Ran(made.returncode, made.stderr, {})
        listed = python("-m", "pip", "list", "--format=json", capture_output=True, check=True)
        installed = {entry["name"]: entry["version"] for entry in json.loads(listed.stdout)}
        shutil.copytree(
            ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("__pycache__", "envs")
        )
        shutil.copytree(ROOT / "models", folder / "models")
        shutil.copy(ROOT / "pyproject.toml", folder)
        where = python("-P", "-c", "import frn_onnx; print(frn_onnx.__file__)", capture_output=True)
        assert where.stdout.startswith(str(folder)), where
        ran = python(
            *("-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        return Ran(ran.returncode, ran.stdout, installed)


if __name__ == "__main__":
    # 1.23 was the last ONNX Runtime for Macs with Intel's processors.
    intel_mac = (platform.system(), platform.machine()) == ("Darwin", "x86_64")
    ran = run(sys.argv[1:] or QUICK, ["onnxruntime==1.23.2"] if intel_mac else [])
    print(ran.output)
    sys.exit(ran.code)
