"""The AVX-512 kernels, whatever the machine: their intrinsics in plain C++, by SIMDe."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEADERS = [Path("/usr/include"), Path("/usr/local/include")]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.skipif(
    not any((folder / "simde/x86/avx512.h").exists() for folder in HEADERS),
    reason="needs SIMDe (Debian: libsimde-dev)",
)
def test_every_case_of_the_kernel_test(tmp_path):
    program = tmp_path / "kernel_test"
    custom_ops = ROOT / "custom_ops"
    flags = ["-std=c++17", "-O1", "-fno-math-errno", "-DFRN_ONNX_EMULATE_AVX512", "-pthread"]
    # All that computes, without what speaks to ONNX Runtime.
    cpu = {*custom_ops.glob("cpu/*.cc")} - {*custom_ops.glob("cpu/*_op.cc")}
    tests = [custom_ops / f"tests/{name}.cc" for name in ("kernel_test", "blocked_check")]
    sources = [custom_ops / "frn_shape.cc", *tests, *sorted(cpu)]

    def compiled(source: Path) -> Path:
        made = tmp_path / f"{source.stem}.o"
        subprocess.run(["g++", *flags, f"-I{custom_ops}", "-c", source, "-o", made], check=True)
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compiled, sources))
    subprocess.run(["g++", "-pthread", *objects, "-o", program], check=True)
    done = subprocess.run([program], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    assert "skipped: avx512" not in done.stdout
    assert " 0 failures" in done.stdout
