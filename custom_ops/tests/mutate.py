"""Mutation run: breaks the CUDA kernels in many small ways; the emulator's tests must notice.

Each mutant is one change to one line of a kernel file: a barrier taken out, a comparison, an
operator or a constant changed, a statement dropped. It is compiled with the emulator and run
against the quick subset of tests/simt/kernels_test, under the undefined behaviour sanitizer.
Prints a table per file, and every mutant that survived, for review: it must be equivalent (the
result cannot change) or a matter of speed.

    python custom_ops/tests/mutate.py [--build FOLDER] [--only FILE] [--list] [--json FILE]

One compilation and one run at a time: about 6 seconds per mutant.
"""

import argparse
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

CUSTOM_OPS = Path(__file__).parents[1]
FILES = ["elements.h", "nchw_tile.cuh", "nchw_plane.cuh", "nhwc.cuh", "strided.cuh", "cluster.cuh"]
TIMEOUT_S = 120

# What is replaced by what, at its first place in a line of code.
OPERATORS = [
    (r" < ", " <= "),
    (r" <= ", " < "),
    (r" >= ", " > "),
    (r" > ", " >= "),
    (r" == ", " != "),
    (r" && ", " || "),
    (r" \+ ", " - "),
    (r" - ", " + "),
    (r" \* ", " + "),
    (r" / ", " * "),
    (r" % ", " / "),
    (r" \+= ", " = "),
    (r" /= 2", " /= 4"),
    (r"\b0\.0f", "1.0f"),
    (r"\b1\b(?!\.)", "2"),
    (r"= 0([,;])", r"= 1\1"),
    (r"kUnroll \* ", ""),
    (r"Min(?:<int64_t>)?\(([^(),]+), ([^()]+)\)", r"(\1)"),
    (r"Min(?:<int64_t>)?\(([^(),]+), ([^()]+)\)", r"(\2)"),
]
# Statements on a line of their own that are dropped.
STATEMENTS = re.compile(
    r"^\s*((Sync|Arrive|Wait)\w+\(\);|[\w.\[\]*+ >-]+ [-+*/]?= .*;|if \(.*\) .*;|Store\(.*\);)$"
)
DECLARATION = re.compile(r"^\s*(const |constexpr |using |float |int |uint32_t |T\*|auto |Affine )")


@dataclass
class Mutant:
    """One changed line; outcome is filled in by the run."""

    file: str
    line: int
    before: str
    after: str
    outcome: str = ""


def mutants_of(file: str) -> list[Mutant]:
    """All mutants of one file; comments, templates and includes are left alone."""
    found = []
    for number, line in enumerate((CUSTOM_OPS / "cuda" / file).read_text().splitlines(), 1):
        code = line.split("//")[0].rstrip()
        if not code or re.match(
            r"\s*(#|template|namespace|struct|__device__|__global__|\}$)", code
        ):
            continue
        changed = []
        for pattern, replacement in OPERATORS:
            changed.append(re.sub(pattern, replacement, code, count=1))
        if STATEMENTS.match(code) and not DECLARATION.match(code):
            changed.append("")
        for after in dict.fromkeys(changed):
            if after != code:
                found.append(Mutant(file, number, code.strip(), after.strip()))
    return found


class Bench:
    """A copy of the sources in which one line at a time is changed, and what it takes to run it."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self._sources = folder / "custom_ops"
        shutil.copytree(CUSTOM_OPS, self._sources)
        self._build = folder / "build"
        subprocess.run(
            [
                *("cmake", "-S", self._sources / "tests" / "simt", "-B", self._build),
                *("-G", "Ninja", "-DCMAKE_CXX_FLAGS=-w", "-DCMAKE_CXX_FLAGS_RELEASE=-O1"),
                "-DFRN_ONNX_UBSAN=ON",
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        if self._run() != "survived":
            raise SystemExit("mutate: the tests fail without a mutant")

    def _run(self) -> str:
        built = subprocess.run(
            ["cmake", "--build", self._build, "--target", "kernels_test"], capture_output=True
        )
        if built.returncode != 0:
            return "not compiled"
        try:
            ran = subprocess.run(
                [self._build / "kernels_test"], capture_output=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            return "killed"
        return "survived" if ran.returncode == 0 else "killed"

    def try_out(self, mutant: Mutant) -> str:
        path = self._sources / "cuda" / mutant.file
        original = path.read_text()
        lines = original.splitlines()
        lines[mutant.line - 1] = mutant.after
        path.write_text("\n".join(lines) + "\n")
        try:
            return self._run()
        finally:
            path.write_text(original)


def table(mutants: list[Mutant]) -> str:
    """Counts per file, as Markdown."""
    outcomes = ("not compiled", "killed", "survived")
    lines = ["| file | mutants | " + " | ".join(outcomes) + " |", "|---|---:|---:|---:|---:|"]
    for name in [*dict.fromkeys(mutant.file for mutant in mutants), "all"]:
        count = Counter(mutant.outcome for mutant in mutants if name in (mutant.file, "all"))
        cells = " | ".join(str(count[outcome]) for outcome in outcomes)
        lines.append(f"| {name} | {count.total()} | {cells} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", type=Path, default=Path("build/mutate"))
    parser.add_argument("--only", choices=FILES)
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    parser.add_argument("--json", type=Path, help="where to write every mutant and its outcome")
    arguments = parser.parse_args()
    files = [arguments.only] if arguments.only else FILES
    mutants = [mutant for file in files for mutant in mutants_of(file)]
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.file}:{mutant.line}: {mutant.before}  =>  {mutant.after}")
        print(len(mutants), "mutants")
        return
    bench = Bench(arguments.build)
    for count, mutant in enumerate(mutants, 1):
        mutant.outcome = bench.try_out(mutant)
        if mutant.outcome != "killed":
            print(
                f"[{count}/{len(mutants)}] {mutant.outcome}: {mutant.file}:{mutant.line}: "
                f"{mutant.before}  =>  {mutant.after}",
                flush=True,
            )
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(m) for m in mutants], indent=1) + "\n")
    print(table(mutants))


if __name__ == "__main__":
    main()
