"""Clang's compiler and linker, which the wheels are made by, take the library's sources."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In the Python module alone.
MODULE = {"bindings.cc", "shared_team.cc"}


def test_no_symbol_is_defined_twice(tmp_path):
    """GCC merges what is specialised in a header; Clang defines it in each file that includes it.

    Sources as they are in a wheel for Linux, on any machine, but not optimised: 25 s of one core,
    none when nothing has changed. What is undefined is the build's own to say.
    """
    ziglang = pytest.importorskip("ziglang")
    folder = ROOT / "custom_ops"
    sources = [
        path
        for path in sorted([*folder.glob("*.cc"), *folder.glob("cpu/*.cc")])
        if path.name not in MODULE
    ]
    linked = subprocess.run(
        [
            *(Path(ziglang.__file__).parent / "zig", "c++", "-target", "x86_64-linux-gnu.2.28"),
            # All instruction sets: without, the files for AVX are empty.
            *("-march=x86_64_v4", "-std=c++17", "-O0", "-w", '-DFRN_ONNX_VERSION="0.0.0"'),
            *(f"-I{folder}", "-r", "-o", tmp_path / "library.o", *sources),
        ],
        capture_output=True,
        text=True,
    )
    assert linked.returncode == 0, linked.stderr
