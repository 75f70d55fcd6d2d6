"""What ``make cuda-check`` reads out of compiler reports and disassemblies."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "custom_ops" / "tests" / "cuda_check.py"


@pytest.fixture(scope="module")
def cuda_check():
    spec = importlib.util.spec_from_file_location("cuda_check", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NHWC = "_ZN3frn4cuda4NhwcINS0_4BF16ELi8EEEvNS0_12KernelParamsENS0_3CutE"


def test_reads_the_report(cuda_check):
    log = f"""
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{NHWC}' for 'sm_90'
ptxas info    : Function properties for {NHWC}
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 128 bytes smem, 488 bytes cmem[0]
"""
    (usage,) = cuda_check.usages(log)
    assert usage == cuda_check.Usage("Nhwc<BF16, 8>", "90", 64, 16, 12, 128)


@pytest.mark.parametrize(
    ("instructions", "counts"),
    [
        (["LDG.E.128 R4, desc[UR6][R4.64]", "FFMA R9, R4, R4, R9"], [1]),
        (
            [
                "LDG.E.128 R4, desc[UR6][R20.64]",
                "@P0 LDG.E.EF.128 R8, desc[UR6][R22.64]",
                "IADD3 R30, R31, 0x1, RZ",
                "@!P0 STS.128 [R40], R4",
                "LDG.E.128 R4, desc[UR6][R20.64]",
                "FMUL R1, R7, R7",
            ],
            [2, 1],
        ),
        # A use of any of the four registers counts, an address that was just loaded too.
        (["LDG.E.128 R4, desc[UR6][R20.64]", "LDG.E.128 R8, desc[UR6][R6.64]"], [1, 1]),
        (["LDG.E R4, desc[UR6][R20.64]", "FADD R1, R4, R5"], []),
    ],
)
def test_counts_loads_in_flight(cuda_check, instructions, counts):
    assert cuda_check.loads_before_use(instructions) == counts


def test_problems_are_found(cuda_check, monkeypatch, tmp_path):
    library = tmp_path / "library.so"
    library.write_bytes(bytes(3_000_001))
    monkeypatch.setattr(cuda_check, "run", lambda *_: "0x1 (NEEDED) Shared library: [libcudart.so]")
    usage = cuda_check.Usage("Nhwc<BF16, 8>", "90", 64, 16, 12, 0)
    one_load = ["LDG.E.128 R4, desc[UR6][R20.64]", "FFMA R9, R4, R4, R9"]
    found = "\n".join(cuda_check.problems_of([usage], {"Nhwc<BF16, 8>": one_load}, library))
    assert "uses local memory" in found
    assert "in flight before the first use: [1], expected runs of at least 4" in found
    assert "3000001 bytes" in found
    assert "needs libcudart.so" in found
