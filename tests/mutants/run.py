"""Mutation run: breaks frn_onnx/graph in many small ways; tests/graph alone must notice.

Each mutant is one change to one place: a comparison or an operator exchanged, a condition negated,
a constant moved, a named argument or a statement left out, a None returned. The tests that run its
line are run against it, those of the module's own file first.

    make mutants ARGS="--sample 200 --only matcher/form.py"
    make mutants ARGS="--sample 600 --write"

prints every survivor; ``--write`` keeps the outcome of each file in results.json, in place of an
older one, and its table in README.md. A survivor that no test can notice, because the result is the
same, has its reason in reviewed.json.
Exits with 1 while more than 5 % survive without one.
"""

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import generated

from mutants import changes, coverage_map, workers
from mutants.changes import Mutant

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGE = "frn_onnx/graph"
FILES = (
    *("matcher/*.py", "transposes/*.py"),
    *("forms.py", "infer.py", "inputs.py", "lowering.py", "sites.py"),
)
RESULTS, REVIEWED, PAGE = HERE / "results.json", HERE / "reviewed.json", HERE / "README.md"
# The tests of one mutant, in seconds; a mutant that only later ones would notice survives.
BUDGET_S = 30.0
_ALLOWED = 0.05


@dataclass(frozen=True)
class Row:
    """Of one file: how many mutants there are, were tried, were noticed, cannot be noticed."""

    file: str
    mutants: int
    tried: int
    noticed: int
    same: int


def all_mutants(only: Sequence[str] = ("",)) -> list[Mutant]:
    """Every mutant of the files whose path holds one of ``only``."""
    paths = sorted(path for pattern in FILES for path in (ROOT / PACKAGE).glob(pattern))
    files = [str(path.relative_to(ROOT)) for path in paths]
    chosen = [file for file in files if any(part in file for part in only)]
    return [mutant for file in chosen for mutant in changes.mutants_of(ROOT, file)]


def try_out(mutants: list[Mutant], suite: Sequence[str], jobs: int) -> Iterator[Mutant]:
    """Runs the tests against each; yields them with their outcomes as they are known."""
    covered = coverage_map.load(ROOT, ROOT / "build" / "mutants", PACKAGE, suite)
    texts = {mutant.file: (ROOT / mutant.file).read_text() for mutant in mutants}
    tasks = []
    for index, mutant in enumerate(mutants):
        stages = covered.stages(mutant.file, mutant.line, mutant.last, BUDGET_S)
        text = mutant.apply(texts[mutant.file])
        tasks.append(workers.Task(index, mutant.file, text, stages, covered.seconds))
    for index, outcome in workers.run(ROOT, suite, tasks, jobs):
        mutants[index].outcome = outcome
        yield mutants[index]


def reviewed() -> dict[str, str]:
    """The reasons why survivors cannot be noticed, by what names them."""
    return json.loads(REVIEWED.read_text()) if REVIEWED.exists() else {}


def summary(everything: list[Mutant], tried: list[Mutant]) -> list[Row]:
    """A row for each file that mutants were tried of, and one for all."""
    reasons = reviewed()
    rows = []
    for name in [*dict.fromkeys(mutant.file for mutant in tried), "all"]:
        mine = [mutant for mutant in tried if name in (mutant.file, "all")]
        count = Counter(mutant.outcome for mutant in mine)
        same = sum(m.outcome == workers.SURVIVED and m.key in reasons for m in mine)
        total = sum(name in (mutant.file, "all") for mutant in everything)
        rows.append(Row(name, total, len(mine), count[workers.NOTICED], same))
    return rows


def share(row: Row) -> float:
    """The part noticed of those that can be."""
    return row.noticed / max(row.tried - row.same, 1)


def write(rows: list[Row], survivors: list[Mutant], seed: int) -> None:
    """Keeps the outcome of these files, and the page with the tables of all."""
    kept = json.loads(RESULTS.read_text())
    files = {row["file"]: row for row in kept["files"]}
    files |= {row.file: vars(row) | {"seed": seed} for row in rows[:-1]}
    others = [m for m in kept["survivors"] if m["file"] not in {row.file for row in rows}]
    left = others + [
        {"file": m.file, "line": m.line, "in": m.where, "change": m.shown, "key": m.key}
        for m in survivors
    ]
    left.sort(key=lambda mutant: (mutant["file"], mutant["line"]))
    kept = {"files": [files[name] for name in sorted(files)], "survivors": left}
    RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
    write_page(kept)


def write_page(kept: dict) -> None:
    reasons, prefix = reviewed(), PACKAGE + "/"
    titles = ("file", "seed", "mutants", "tried", "noticed", "cannot be noticed", "share")
    lines = []
    for row in kept["files"]:
        counts = Row(**{name: n for name, n in row.items() if name != "seed"})
        numbers = (row["seed"], counts.mutants, counts.tried, counts.noticed, counts.same)
        name = f"`{counts.file.removeprefix(prefix)}`"
        lines.append((name, *map(str, numbers), f"{share(counts):.1%}"))
    changes_left = [
        (
            f"`{m['file'].removeprefix(prefix)}:{m['line']}` {m['in']}",
            "`" + m["change"].replace("|", "\\|") + "`",
            reasons.get(m["key"], "not noticed"),
        )
        for m in kept["survivors"]
    ]
    generated.write_sections(
        PAGE,
        {
            "files": generated.table(titles, lines),
            "survivors": generated.table(("place", "change", "why"), changes_left, right=()),
        },
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", nargs="+", default=[""], help="parts of the paths of the files to change"
    )
    parser.add_argument(
        "--tests", nargs="+", default=["tests/graph"], help="folders and files of tests to run"
    )
    parser.add_argument("--sample", type=int, help="how many mutants, drawn at random")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--survivors", type=Path, help="only those of an older run's --json")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    parser.add_argument("--json", type=Path, help="where to write the survivors' keys")
    parser.add_argument("--write", action="store_true", help="keep results.json and README.md")
    options = parser.parse_args()

    everything = all_mutants(options.only)
    mutants = everything
    if options.survivors:
        left = set(json.loads(options.survivors.read_text()))
        mutants = [mutant for mutant in mutants if mutant.key in left]
    if options.sample is not None and options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
        mutants.sort(key=lambda mutant: (mutant.file, mutant.start))
    if options.list:
        for mutant in mutants:
            print(f"{mutant.file}:{mutant.line}: {mutant.shown}")
        print(len(mutants), "mutants")
        return 0

    reasons, start = reviewed(), time.monotonic()
    for count, mutant in enumerate(try_out(mutants, options.tests, options.jobs), 1):
        if mutant.outcome == workers.SURVIVED:
            note = f" (reviewed: {reasons[mutant.key]})" if mutant.key in reasons else ""
            print(f"[{count}/{len(mutants)}] {mutant.file}:{mutant.line}: {mutant.shown}{note}")
        sys.stdout.flush()
    seconds = time.monotonic() - start
    rows = summary(everything, mutants)
    for row in rows:
        print(
            f"{row.file:45} {row.mutants:5} mutants, {row.tried:4} tried, {row.noticed:4} noticed, "
            f"{row.same:3} cannot be: {share(row):6.1%}"
        )
    print(f"{seconds:.0f} s, {seconds / max(len(mutants), 1):.2f} s per mutant")
    survivors = [mutant for mutant in mutants if mutant.outcome == workers.SURVIVED]
    if options.json:
        options.json.write_text(json.dumps([mutant.key for mutant in survivors], indent=1) + "\n")
    if options.write:
        write(rows, survivors, options.seed)
    return 1 if share(rows[-1]) < 1 - _ALLOWED else 0
