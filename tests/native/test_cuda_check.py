"""What ``make cuda-check`` reads out of compiler reports and disassemblies."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "custom_ops" / "tests"))
import cuda_check
import sass

NHWC = "_ZN3frn4cuda4NhwcINS0_4BF16ELi8ELb0EEEvNS0_12KernelParamsENS0_3CutE"


def test_reads_the_report():
    log = f"""
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '{NHWC}' for 'sm_90'
ptxas info    : Function properties for {NHWC}
    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 128 bytes smem, 488 bytes cmem[0]
"""
    (usage,) = cuda_check.usages(log)
    assert usage == cuda_check.Usage("Nhwc<BF16, 8>", "90", 64, 16, 12, 128)


def test_names_what_has_a_residual():
    assert cuda_check.short_name(NHWC.replace("Lb0", "Lb1")) == "Nhwc<BF16, 8> +"
    strided = "_ZN3frn4cuda7StridedIfLb1EEEvNS0_12KernelParamsENS0_3CutE"
    assert cuda_check.short_name(strided) == "Strided<float> +"


def code(*texts: str) -> list[sass.Instruction]:
    """Instructions of 16 bytes each, from address 0 on."""
    return [sass.Instruction(16 * i, text) for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("texts", "counts"),
    [
        (["LDG.E.128 R4, desc[UR6][R4.64]", "FFMA R9, R4, R4, R9"], [1]),
        (
            [
                "LDG.E.128 R4, desc[UR6][R20.64]",
                "@P0 LDG.E.EF.128 R8, desc[UR6][R22.64]",
                "IADD3 R30, R31, 0x1, RZ",
                "@!P0 STS.128 [R40], R4",
                "LDG.E.128.SYS R4, [R20]",
                "FMUL R1, R7, R7",
            ],
            [2, 1],
        ),
        # A use of any of the four registers counts, an address that was just loaded too.
        (["LDG.E.128 R4, desc[UR6][R20.64]", "LDG.E.128 R8, desc[UR6][R6.64]"], [1, 1]),
        (["LDG.E R4, desc[UR6][R20.64]", "FADD R1, R4, R5"], []),
    ],
)
def test_counts_loads_in_flight(texts, counts):
    assert sass.loads_before_use(code(*texts)) == counts


def test_reads_what_waits_for_a_load():
    def line(address: int, text: str, releases: int, waits: int) -> str:
        upper = (releases << 5 | waits << 11) << 41
        return f"  /*{address:04x}*/  {text} ;  /* 0x{0:016x} */\n  /* 0x{upper:016x} */\n"

    listing = "\tFunction : kernel\n" + "".join(
        [
            line(0, "S2R R0, SR_TID.X", 1, 0),
            line(16, "LDG.E R1, desc[UR4][R2.64]", 5, 0b000010),
            line(32, "IADD3 R3, R0, R0, RZ  &req={1} ?trans2", 7, 0b000010),
            line(48, "@!P0 HADD2.F32 R1, -RZ, R1.H0_H0", 7, 0b100000),
            line(64, "FADD R5, R1, R1", 7, 0b100000),
            line(80, "LDG.E.128 R8, desc[UR4][R2.64]", 5, 0),
        ]
    )
    (instructions,) = sass.read(listing).values()
    assert [i.text for i in instructions][2] == "IADD3 R3, R0, R0, RZ"
    before = sass.before_first_load(instructions)
    assert len(before) == 5
    assert [i.text for i in sass.waits_for_loads(before)] == ["@!P0 HADD2.F32 R1, -RZ, R1.H0_H0"]


def test_counts_the_shortest_way():
    tile = code(
        *("LDG.E.128 R4, desc[UR6][R20.64]", "@P0 BRA 0x30", "LDG.E R1, desc[UR6][R2.64]"),
        *("FFMA R9, R4, R4, RZ", "STS [R3], R9", "BAR.SYNC 0x0", "@P1 BRA 0x90"),
        *("LDS R9, [R3]", "MUFU.RSQ R9, R9", "BAR.SYNC 0x0", "LDS.128 R12, [R3]"),
        *("@!P2 BRA 0xf0", "STG.E desc[UR6][R2.64], R4", "STG.E desc[UR6][R2.64], R5"),
        *("BRA 0x100", "STG.E.128 desc[UR6][R2.64], R4", "EXIT"),
    )
    assert sass.straight_cost(tile) == len(tile) - 3  # all but the stores of single elements


def test_counts_loops_per_access():
    loads = [f"LDG.E.128 R{4 * i}, desc[UR6][R40.64]" for i in range(4)]
    loops = code(
        *("MOV R0, R1", *loads, "@!P1 BRA 0x70", "STS.128 [R41], R4", "@P0 BRA 0x10"),
        *("LDS.128 R4, [R41]", "STG.E.128 desc[UR6][R40.64], R4", "@P0 BRA 0x80", "EXIT"),
    )
    assert sass.loop_costs(loops) == {"sum": 6 / 4, "kept": 3}


def test_counts_a_residual_with_the_store():
    """Read before what is kept, and before what is read again."""
    residual, store = "LDG.E.128 R8, desc[UR6][R40.64]", "STG.E.128 desc[UR6][R40.64], R4"
    loops = code(
        *("MOV R0, R1", residual, "LDS.128 R4, [R41]", store, "@P0 BRA 0x10"),
        *(residual, residual, "FADD R1, R2, R3", store, "@P0 BRA 0x50", "EXIT"),
    )
    assert sass.loop_costs(loops) == {"kept": 4, "again": 5}


def test_problems_are_found(monkeypatch):
    said = {
        "--sections": "[14] .nv_fatbin  PROGBITS  0021672c 21672c 0aae61 00   A  0   0  4",
        "--dynamic": "0x1 (NEEDED) Shared library: [libcudart.so]",
    }
    monkeypatch.setattr(cuda_check, "run", lambda _, option, *rest: said[option])
    usage = cuda_check.Usage("Nhwc<BF16, 8>", "90", 64, 16, 12, 0)
    wait = sass.Instruction(32, "FADD R1, R1, R1", waits=1)
    instructions = [
        *[sass.Instruction(0, "LDG.E R1, desc[UR6][R2.64]", releases=0), wait],
        *code(*["NOP"] * 99, "LDG.E.128 R4, desc[UR6][R20.64]", "FFMA R9, R4, R4, R9"),
    ]
    codes = {"90": {"Nhwc<BF16, 8>": instructions}}
    found = "\n".join(cuda_check.problems_of([usage], codes, Path("library.so")))
    assert "uses local memory" in found
    assert "in flight before the first use: [1], expected runs of at least 4" in found
    assert "101 instructions before the first load, expected at most 100" in found
    assert "waits for another load before the first one of x, at FADD R1, R1, R1" in found
    assert "None instructions per element" in found
    assert "the kernels have 700001 bytes" in found
    assert "needs libcudart.so" in found


@pytest.mark.parametrize(
    ("kernel", "fewest"), [("Nhwc<F16, 8>", 4), ("Nhwc<float, 4> +", 4), ("Nhwc<F16, 8> +", 3)]
)
def test_loads_one_by_one_are_found(monkeypatch, kernel, fewest):
    """Those of a residual, too."""
    monkeypatch.setattr(cuda_check, "per_element", lambda *_: 0.1)
    loads = [f"LDG.E.128 R{4 * i}, desc[UR6][R40.64]" for i in range(fewest)]
    enough = code(*loads, "FFMA R9, R4, R4, R9")
    assert cuda_check.code_problems(kernel, "90", enough) == []
    (found,) = cuda_check.code_problems(kernel, "90", code(*loads[1:], "FFMA R9, R4, R4, R9"))
    assert f"[{fewest - 1}], expected runs of at least {fewest}" in found


@pytest.mark.parametrize(
    ("kernel", "most"),
    [("Nhwc<F16, 8>", 0.4), ("NchwTile<float, 4>", 0.9), ("NchwTile<float, 4> +", 1.0)],
)
def test_limits_are_held(monkeypatch, kernel, most):
    loads = [f"LDG.E.128 R{4 * i}, desc[UR6][R40.64]" for i in range(4)]
    for cost, problems in ((most, []), (most + 0.01, [f"{most + 0.01} instructions per element"])):
        monkeypatch.setattr(cuda_check, "per_element", lambda *_, cost=cost: cost)
        found = cuda_check.code_problems(kernel, "90", code(*loads, "FFMA R9, R4, R4, R9"))
        assert [problem.partition(",")[0] for problem in found] == problems
