"""examples/cpp, built with the official header against this environment's ONNX Runtime."""

import functools
import subprocess
import tempfile
from pathlib import Path

import onnxruntime
import pytest

ROOT = Path(__file__).parents[1]


@functools.cache
def build() -> Path:
    """The program, in a folder that goes with the process; skips the test where that cannot be."""
    fetch = ["sh", ROOT / "custom_ops" / "tests" / "fetch_ort_header.sh", ROOT / "build/ort-header"]
    fetched = subprocess.run(fetch, capture_output=True, text=True)
    if fetched.returncode:
        pytest.skip(fetched.stderr.strip())
    found = sorted(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"))
    if not found:
        pytest.skip("this onnxruntime has no libonnxruntime.so beside it")
    folder = Path(_folder().name)
    library = folder / "libonnxruntime.so.1"  # the name by which programs look for it
    library.symlink_to(found[0])
    for command in (
        [
            *("cmake", "-G", "Ninja", "-S", ROOT / "examples" / "cpp", "-B", folder),
            f"-DONNXRUNTIME_INCLUDE={fetched.stdout.strip()}",
            f"-DONNXRUNTIME_LIBRARY={library}",
            "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror",
        ],
        ["cmake", "--build", folder],
    ):
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return folder / "run_frn"


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="run_frn-")
