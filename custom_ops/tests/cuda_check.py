"""What can be known of the CUDA kernels without a GPU: compiles them and reads the results.

For every architecture the library is built for, from the compiler's own report: no register is
spilled and no local memory used; from the disassembly (sass.py): few instructions stand before the
first load of x, and none of them waits for a parameter; few instructions are executed for an
element. For sm_90: wherever a kernel loads 16 bytes, at least four such loads are in flight before
the first value is used. The kernels are small, and the library needs none of CUDA's to load. Prints
tables; exits 1 with what does not hold.

Instructions per element are those of a warp. Of NchwTile: the whole kernel, with full registers.
Of the others with 16-byte loads: the loops of both passes, the second one's longer form (of x that
is read again, or was kept). What is done once per block, and a device's time per instruction, are
left out. "+" stands for a residual.

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

import sass

CUSTOM_OPS = Path(__file__).parents[1]
ENVS = CUSTOM_OPS.parent / ".envs"
# All of one version: nvcc's own requirements would mix it with parts of a newer one.
NVCC_WHEELS = [
    f"nvidia-{part}==13.0.*"
    for part in ("cuda-nvcc", "cuda-crt", "cuda-runtime", "cuda-cccl", "nvvm")
]
CUOBJDUMP_WHEEL = "triton==3.5.1"  # PyPI has no other wheel that holds it
MAX_KERNEL_BYTES = 700_000  # of all architectures, compressed
TUNED_FOR = "90"
LOADS_IN_FLIGHT = 4
# Instructions before the first load, of the architecture that was tuned for and of the others.
MOST_BEFORE_LOAD, MOST_BEFORE_LOAD_ELSEWHERE = 100, 140
# Instructions per element of 2 and of 4 bytes, and how many more with a residual, for which there
# is half as much time again.
MOST_PER_ELEMENT = {"NchwTile": (0.8, 0.9), "NchwPlane": (0.4, 0.4), "Nhwc": (0.4, 0.4)}
MORE_WITH_RESIDUAL = 0.1
TILE_PACKS = 8  # kTilePacks


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
    """ "Nhwc<BF16, 8>", or "Nhwc<BF16, 8> +" with a residual, of a mangled kernel name."""
    pattern = r"_ZN3frn4cuda\d+(\w+?)I(f|NS0_\d(\w+?)E)(?:Li(\d+)E)?(?:Lb([01])E)?E"
    match = re.match(pattern, mangled)
    if match is None:
        sys.exit(f"cuda-check: cannot read the kernel's name {mangled}")
    size = f", {match[4]}" if match[4] else ""
    residual = " +" if match[5] == "1" else ""
    return f"{match[1]}<{match[3] or 'float'}{size}>{residual}"


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


def disassembly(
    cuobjdump: str, library: Path, architecture: str
) -> dict[str, list[sass.Instruction]]:
    """Instructions per kernel."""
    listing = run(cuobjdump, "--dump-sass", "--gpu-architecture", f"sm_{architecture}", library)
    return {short_name(name): code for name, code in sass.read(listing).items()}


def is_wide(kernel: str) -> bool:
    """Whether the kernel loads 16 bytes at once."""
    return ", 1>" not in kernel and not kernel.startswith("Strided")


def per_element(kernel: str, code: list[sass.Instruction]) -> float | None:
    """Instructions of a warp for each element, as this file's head says; None if not countable."""
    if not is_wide(kernel):
        return None
    elements = sass.WARP * (4 if "<float" in kernel else 8)  # of a pack in each thread
    try:
        if kernel.startswith("NchwTile"):
            return sass.straight_cost(code) / (elements * TILE_PACKS)
        costs = sass.loop_costs(code)
        return (costs["sum"] + max(costs["again"], costs["kept"])) / elements
    except (KeyError, ValueError):  # the loops or accesses that are counted are not there
        return None


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


def code_problems(kernel: str, architecture: str, code: list[sass.Instruction]) -> list[str]:
    """What one kernel's instructions do not hold."""
    problems = []
    counts = sass.loads_before_use(code)
    wide = is_wide(kernel)
    with_residual = kernel.endswith("+")
    # The maps of eight channels leave room for three residuals.
    least = LOADS_IN_FLIGHT - (with_residual and kernel.startswith("Nhwc") and ", 8>" in kernel)
    few = architecture == TUNED_FOR and any(count < least for count in counts)
    if wide != bool(counts) or few:
        problems.append(
            f"16-byte loads in flight before the first use: {counts}, expected "
            f"{f'runs of at least {least}' if wide else 'none'}"
        )
    before = sass.before_first_load(code)
    most = MOST_BEFORE_LOAD if architecture == TUNED_FOR else MOST_BEFORE_LOAD_ELSEWHERE
    if len(before) > most:
        problems.append(
            f"{len(before)} instructions before the first load, expected at most {most}"
        )
    if waits := sass.waits_for_loads(before):
        problems.append(f"waits for another load before the first one of x, at {waits[0].text}")
    in_software = architecture == "75" and "BF16" in kernel  # which cannot round to bfloat16
    if wide and not in_software:
        cost = per_element(kernel, code)
        limit = MOST_PER_ELEMENT[kernel.partition("<")[0]]["<float" in kernel]
        limit += MORE_WITH_RESIDUAL * with_residual
        if cost is None or cost > limit:
            problems.append(f"{cost} instructions per element, expected at most {limit}")
    return problems


def problems_of(
    kernels: list[Usage], codes: dict[str, dict[str, list[sass.Instruction]]], library: Path
) -> list[str]:
    """What does not hold; `codes` has the instructions by architecture and kernel."""
    problems = []
    for usage in kernels:
        if usage.spill_bytes or usage.stack_bytes:
            problems.append(f"{usage.kernel} on sm_{usage.architecture} uses local memory: {usage}")
    for architecture, code in codes.items():
        expected = {usage.kernel for usage in kernels if usage.architecture == architecture}
        if not expected or set(code) != expected:
            problems.append(
                f"the disassembly for sm_{architecture} has {sorted(code)}, the report "
                f"{sorted(expected)}"
            )
        for kernel, instructions in code.items():
            problems += [
                f"{kernel} on sm_{architecture}: {problem}"
                for problem in code_problems(kernel, architecture, instructions)
            ]
    if (size := kernel_bytes(library)) > MAX_KERNEL_BYTES:
        problems.append(f"the kernels have {size} bytes, expected at most {MAX_KERNEL_BYTES}")
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\]", run("readelf", "--dynamic", "--wide", library))
    problems += [f"{library.name} needs {name}" for name in needed if "cuda" in name]
    return problems


def kernel_bytes(library: Path) -> int:
    """Bytes of the section with the code for GPUs."""
    sections = run("readelf", "--sections", "--wide", library)
    (size,) = re.findall(r"\.nv_fatbin +PROGBITS +\w+ +\w+ +(\w+)", sections)
    return int(size, 16)


def table(cells: dict[tuple[str, str], str]) -> str:
    """Cells by kernel (rows) and architecture (columns), as Markdown."""
    architectures = list(dict.fromkeys(architecture for _, architecture in cells))
    lines = [
        f"| kernel | {' | '.join('sm_' + name for name in architectures)} |",
        f"|---|{'---:|' * len(architectures)}",
    ]
    for kernel in sorted({kernel for kernel, _ in cells}):
        row = " | ".join(cells[kernel, name] for name in architectures)
        lines.append(f"| `{kernel}` | {row} |")
    return "\n".join(lines)


def instruction_cell(kernel: str, code: list[sass.Instruction]) -> str:
    before, cost = len(sass.before_first_load(code)), per_element(kernel, code)
    return str(before) if cost is None else f"{before}, {cost:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path("build/cuda-check"))
    arguments = parser.parse_args()
    provide_nvcc()
    cuobjdump = find_cuobjdump()

    kernels = usages(build(arguments.build))
    library = arguments.build / "out" / "libfrn_onnx_ops.so"
    codes = {
        architecture: disassembly(cuobjdump, library, architecture)
        for architecture in dict.fromkeys(usage.architecture for usage in kernels)
    }
    print("Registers per thread:\n")
    print(table({(u.kernel, u.architecture): str(u.registers) for u in kernels}))
    print("\nInstructions before the first load of x, and per element:\n")
    cells = {
        (kernel, architecture): instruction_cell(kernel, code)
        for architecture, functions in codes.items()
        for kernel, code in functions.items()
    }
    print(table(cells))
    print(
        f"\n{len(kernels)} kernels, {sum(u.spill_bytes for u in kernels)} bytes spilled, "
        f"{max(u.smem_bytes for u in kernels)} bytes of static shared memory; "
        f"{kernel_bytes(library) / 1e6:.2f} MB of kernels"
    )
    problems = problems_of(kernels, codes, library)
    if problems:
        sys.exit("cuda-check:\n" + "\n".join(problems))


if __name__ == "__main__":
    main()
