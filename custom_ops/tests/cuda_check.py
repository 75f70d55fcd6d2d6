"""What can be known of the CUDA kernels without a GPU: compiles them and reads the results.

For every architecture the library is built for, from the compiler's own report: no register is
spilled and no local memory used. In the disassembly for sm_90: wherever a kernel loads 16 bytes,
at least four such loads are in flight before the first value is used. Of the library: it is small,
and needs no CUDA library to load. Prints a table; exits 1 with what does not hold.

    python custom_ops/tests/cuda_check.py [--build FOLDER]

Needs CMake and pybind11. nvcc (CUDACXX, or on PATH) and cuobjdump are taken from PyPI, into
.envs/, where the machine has none.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CUSTOM_OPS = Path(__file__).parents[1]
ENVS = CUSTOM_OPS.parent / ".envs"
# All of one version: nvcc's own requirements would mix it with parts of a newer one.
NVCC_WHEELS = [
    f"nvidia-{part}==13.0.*"
    for part in ("cuda-nvcc", "cuda-crt", "cuda-runtime", "cuda-cccl", "nvvm")
]
CUOBJDUMP_WHEEL = "triton==3.5.1"  # PyPI has no other wheel that holds it
MAX_LIBRARY_BYTES = 3_000_000
LOADS_IN_FLIGHT = 4


@dataclass(frozen=True)
class Usage:
    """One kernel compiled for one architecture, as ptxas reports it."""

    kernel: str
    architecture: str
    registers: int
    stack_bytes: int
    spill_bytes: int
    smem_bytes: int


def run(*command: object) -> str:
    """Standard output and error of a command that must succeed."""
    result = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if result.returncode != 0:
        sys.exit(f"cuda-check: {' '.join(map(str, command))} failed:\n{result.stdout[-4000:]}")
    return result.stdout


def build(folder: Path) -> str:
    """Builds the library from the start; what the compiler printed."""
    import pybind11

    run(
        *("cmake", "--fresh", "-S", CUSTOM_OPS, "-B", folder, "-G", "Ninja"),
        *("-DFRN_ONNX_CUDA=on", "-DFRN_ONNX_WERROR=ON", "-DCMAKE_CUDA_FLAGS=-Xptxas=-v"),
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
        f"-DPython_EXECUTABLE={sys.executable}",
    )
    return run("cmake", "--build", folder, "--clean-first", "--target", "frn_onnx_ops")


def short_name(mangled: str) -> str:
    """ "Nhwc<BF16, 8>" of a mangled kernel name."""
    match = re.match(r"_ZN3frn4cuda\d+(\w+?)I(f|NS0_\d(\w+?)E)(?:Li(\d+)E)?E", mangled)
    if match is None:
        sys.exit(f"cuda-check: cannot read the kernel's name {mangled}")
    size = f", {match[4]}" if match[4] else ""
    return f"{match[1]}<{match[3] or 'float'}{size}>"


def usages(log: str) -> list[Usage]:
    """Reads ptxas's report: per kernel a name, a stack line and a register line."""
    pattern = re.compile(
        r"Compiling entry function '(?P<name>\w+)' for 'sm_(?P<architecture>\w+)'"
        r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
        r"(?P<loads>\d+) bytes spill loads"
        r".*?Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
        re.DOTALL,
    )
    found = []
    for match in pattern.finditer(log):
        smem = re.search(r"(\d+) bytes smem", match["rest"])
        found.append(
            Usage(
                kernel=short_name(match["name"]),
                architecture=match["architecture"],
                registers=int(match["registers"]),
                stack_bytes=int(match["stack"]),
                spill_bytes=int(match["stores"]) + int(match["loads"]),
                smem_bytes=int(smem[1]) if smem else 0,
            )
        )
    return found


def loads_before_use(instructions: list[str]) -> list[int]:
    """For each run of 16-byte loads from global memory: how many were issued before a use."""
    counts = []
    pending: list[set[str]] = []
    for instruction in instructions:
        opcode, _, operands = instruction.partition(" ")
        if opcode.startswith("@"):
            opcode, _, operands = operands.partition(" ")
        registers = re.findall(r"\bR(\d+)\b", operands)
        if opcode.startswith("LDG.") and opcode.endswith(".128"):
            sources, first = registers[1:], int(registers[0])
        else:
            # A store has no destination; for the rest it does no harm to count it as a source,
            # for it can only be a value that is dead by then.
            sources, first = registers, None
        if any(register in load for register in sources for load in pending):
            counts.append(len(pending))
            pending = []
        if first is not None:
            pending.append({str(first + i) for i in range(4)})
    return counts + ([len(pending)] if pending else [])


def disassembly(cuobjdump: str, library: Path) -> dict[str, list[str]]:
    """Instructions per kernel, for sm_90."""
    functions: dict[str, list[str]] = {}
    for line in run(cuobjdump, "--dump-sass", "--gpu-architecture", "sm_90", library).splitlines():
        if name := re.search(r"Function : (\w+)", line):
            current = functions.setdefault(short_name(name[1]), [])
        elif code := re.search(r"/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", line):
            current.append(code[1])
    return functions


def wheels(*packages: str) -> Path:
    """A folder with packages from PyPI, without what they require; made once."""
    folder = ENVS / packages[0].replace("==", "-").replace("*", "x")
    if not folder.exists():
        unfinished = folder.with_suffix(".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        run(
            *(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"),
            *("--target", unfinished, *packages),
        )
        unfinished.rename(folder)
    return folder


def provide_nvcc() -> None:
    """Lets CMake find an nvcc and the libraries beside it."""
    if os.environ.get("CUDACXX") or shutil.which("nvcc"):
        return
    toolkit = wheels(*NVCC_WHEELS) / "nvidia" / "cu13"
    os.environ["CUDACXX"] = str(toolkit / "bin" / "nvcc")
    os.environ["LIBRARY_PATH"] = str(toolkit / "lib")


def find_cuobjdump() -> str:
    return shutil.which("cuobjdump") or str(
        wheels(CUOBJDUMP_WHEEL) / "triton" / "backends" / "nvidia" / "bin" / "cuobjdump"
    )


def problems_of(kernels: list[Usage], sass: dict[str, list[str]], library: Path) -> list[str]:
    problems = []
    for usage in kernels:
        if usage.spill_bytes or usage.stack_bytes:
            problems.append(f"{usage.kernel} on sm_{usage.architecture} uses local memory: {usage}")
    expected = {usage.kernel for usage in kernels if usage.architecture == "90"}
    if not expected or set(sass) != expected:
        problems.append(f"the disassembly has {sorted(sass)}, the report {sorted(expected)}")
    for kernel, instructions in sass.items():
        counts = loads_before_use(instructions)
        wide = not kernel.endswith(", 1>") and not kernel.startswith("Strided")
        if wide != bool(counts) or any(count < LOADS_IN_FLIGHT for count in counts):
            problems.append(
                f"{kernel}: 16-byte loads in flight before the first use: {counts}, expected "
                f"{'runs of at least ' + str(LOADS_IN_FLIGHT) if wide else 'none'}"
            )
    size = library.stat().st_size
    if size > MAX_LIBRARY_BYTES:
        problems.append(f"{library.name} has {size} bytes, expected at most {MAX_LIBRARY_BYTES}")
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\]", run("readelf", "--dynamic", "--wide", library))
    problems += [f"{library.name} needs {name}" for name in needed if "cuda" in name]
    return problems


def table(kernels: list[Usage]) -> str:
    """Registers per kernel (rows) and architecture (columns), as Markdown."""
    architectures = list(dict.fromkeys(usage.architecture for usage in kernels))
    registers = {(usage.kernel, usage.architecture): usage.registers for usage in kernels}
    lines = [
        f"| kernel | {' | '.join('sm_' + name for name in architectures)} |",
        f"|---|{'---:|' * len(architectures)}",
    ]
    for kernel in sorted({usage.kernel for usage in kernels}):
        cells = " | ".join(str(registers[kernel, name]) for name in architectures)
        lines.append(f"| `{kernel}` | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path("build/cuda-check"))
    arguments = parser.parse_args()
    provide_nvcc()
    cuobjdump = find_cuobjdump()

    kernels = usages(build(arguments.build))
    library = arguments.build / "out" / "libfrn_onnx_ops.so"
    sass = disassembly(cuobjdump, library)
    print("Registers per thread:\n")
    print(table(kernels))
    print(
        f"\n{len(kernels)} kernels, {sum(u.spill_bytes for u in kernels)} bytes spilled, "
        f"{max(u.smem_bytes for u in kernels)} bytes of static shared memory; "
        f"library {library.stat().st_size / 1e6:.2f} MB"
    )
    problems = problems_of(kernels, sass, library)
    if problems:
        sys.exit("cuda-check:\n" + "\n".join(problems))


if __name__ == "__main__":
    main()
