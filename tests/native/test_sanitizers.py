"""The C++ test programs under sanitizers: memory, undefined behaviour, threads."""

import shutil
import subprocess
from pathlib import Path

import golden
import pytest

ROOT = Path(__file__).resolve().parents[2]
FUZZ_CASES = "2000"
PROGRAMS = {
    "kernel_test": [],
    "golden_test": [golden.PATH],
    "fuzz_test": [FUZZ_CASES],
}


def build(name: str, sanitizers: str, *targets: str) -> Path:
    """The folder of the programs, which are built as far as they are not up to date."""
    for tool in ("c++", "cmake", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    probe = ["c++", f"-fsanitize={sanitizers}", "-x", "c++", "-", "-o", "/dev/null"]
    result = subprocess.run(probe, input="int main() {}", capture_output=True, text=True)
    if result.returncode != 0:
        reason = result.stderr.strip()[-200:]
        pytest.skip(f"this compiler has no runtime for -fsanitize={sanitizers}: {reason}")
    folder = ROOT / "build" / name  # that of make sanitize
    options = ["-DFRN_ONNX_TESTS=ON", "-DFRN_ONNX_CUDA=off", f"-DFRN_ONNX_SANITIZE={sanitizers}"]
    for command in (
        ["cmake", "-S", ROOT / "custom_ops", "-B", folder, "-G", "Ninja", *options],
        ["cmake", "--build", folder, "--target", *targets],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return folder / "tests"


def run(*command) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"


@pytest.fixture(scope="module")
def programs() -> Path:
    return build("sanitize", "address,undefined", *PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_memory_and_undefined_behaviour(programs, name):
    run(programs / name, *PROGRAMS[name])


def test_threads():
    run(build("tsan", "thread", "threads_test") / "threads_test", "10")
