"""The C++ test programs under sanitizers: memory, undefined behaviour, threads."""

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
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


def build(source: str, name: str, sanitizers: str, options: Sequence[str], *targets: str) -> Path:
    """The folder of a project's programs, built as far as they are not up to date."""
    for tool in ("c++", "cmake", "ninja"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    with tempfile.TemporaryDirectory() as made:  # never /dev/null: root replaces it
        probe = ["c++", f"-fsanitize={sanitizers}", "-x", "c++", "-", "-o", f"{made}/probe"]
        result = subprocess.run(probe, input="int main() {}", capture_output=True, text=True)
    if result.returncode != 0:
        reason = result.stderr.strip()[-200:]
        pytest.skip(f"this compiler has no runtime for -fsanitize={sanitizers}: {reason}")
    folder = ROOT / "build" / name
    for command in (
        ["cmake", "-S", ROOT / source, "-B", folder, "-G", "Ninja", *options],
        ["cmake", "--build", folder, "--target", *targets],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"
    return folder


def build_ops(name: str, sanitizers: str, *targets: str) -> Path:
    """The same programs in the same folders as those of make sanitize."""
    options = ["-DFRN_ONNX_TESTS=ON", "-DFRN_ONNX_CUDA=off", f"-DFRN_ONNX_SANITIZE={sanitizers}"]
    return build("custom_ops", name, sanitizers, options, *targets) / "tests"


def run(*command) -> None:
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{result.stdout[-4000:]}\n{result.stderr[-4000:]}"


@pytest.fixture(scope="module")
def programs() -> Path:
    return build_ops("sanitize", "address,undefined", *PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_memory_and_undefined_behaviour(programs, name):
    run(programs / name, *PROGRAMS[name])


def test_threads():
    run(build_ops("tsan", "thread", "threads_test") / "threads_test", "10")


def test_the_emulated_cuda_kernels():
    """As tests/mutate.py runs them."""
    options = ["-DFRN_ONNX_UBSAN=ON", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"]
    source = "custom_ops/tests/simt"
    run(build(source, "simt-ubsan", "undefined", options, "kernels_test") / "kernels_test")
