"""Fuzzing of fuse, lower and convert: FRN graphs with operands misaligned on purpose.

A case is a graph of FRN in one of the many ways it is written in, or of FRN, elementwise ops and
Transposes, with up to five changes: an axis twice, swapped, of size 1 or broadcast from another
rank, other constants, ops, attributes and operands, nodes put in and left out. What fuse (and
lower or convert) make of it must compute the same, in float64, for several sizes of x; a part of
the cases is compared in ONNX Runtime as well.

    make fuzz ARGS="--cases 5000"              new cases, their seed is printed
    make fuzz ARGS="--seed 7 --case 123"       one case again
    make fuzz ARGS="--cases 300000 --jobs 2 --json progress.json"

Cases that fail are made smaller and saved to build/fuzz as .onnx files. Exits with 1 if any did.
"""

import argparse
import json
import os
import secrets
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from random import Random

import onnx

from fuzz import arithmetic, cases
from fuzz.arithmetic import Invalid
from fuzz.cases import Finding
from fuzz.graphs import Graph

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "fuzz"
_CHUNK = 500
# One case in so many that were fused is run in ONNX Runtime, too.
_RUNTIME = 15


def run_case(seed: int, index: int) -> tuple[Graph, cases.Outcome]:
    graph = cases.graph_of(seed, index)
    return graph, cases.judge(graph, Random(index))


def run_chunk(seed: int, first: int, last: int) -> tuple[Counter, list[tuple[int, Finding]]]:
    """Counts, and what was found, of a row of cases."""
    counts: Counter[str] = Counter()
    found = []
    for index in range(first, last):
        graph, outcome = run_case(seed, index)
        finding = outcome.finding
        counts["cases"] += 1
        counts["fused"] += outcome.fused > 0
        counts["skipped with a reason"] += outcome.skipped > 0
        if finding is None and outcome.fused and index % _RUNTIME == 0:
            finding = _in_onnx_runtime(graph, counts)
        if finding is not None:
            counts[finding.kind] += 1
            found.append((index, finding))
    return counts, found


def _in_onnx_runtime(graph: Graph, counts: Counter) -> Finding | None:
    try:
        text = cases.run_in_onnx_runtime(graph, graph.shape)
    except Exception as error:
        # It lacks some kernels of float16 and float64.
        counts["not in ONNX Runtime"] += 1
        missing = "NOT_IMPLEMENTED" in str(error) or "implementation" in str(error)
        return None if missing else Finding("runtime", str(error)[:300])
    counts["compared in ONNX Runtime"] += 1
    return Finding("runtime", text) if text else None


def smaller(graph: Graph, index: int, kind: str) -> Graph:
    """The graph with every node left out that the finding can do without."""
    changed = True
    while changed:
        changed = False
        for node in reversed(graph.nodes):
            for source in (name for name in node.inputs if name):
                trial = graph.copy()
                for other in trial.nodes:
                    other.inputs = [source if i == node.output else i for i in other.inputs]
                trial.outputs = [source if o == node.output else o for o in trial.outputs]
                trial.outputs = list(dict.fromkeys(trial.outputs))
                try:
                    trial.refresh()
                    if "x" in trial.outputs:
                        continue
                    finding = cases.judge(trial, Random(index)).finding
                except (Invalid, arithmetic.Invalid):
                    continue
                if finding is not None and finding.kind == kind:
                    graph, changed = trial, True
                    break
            if changed:
                break
    return graph


def report(seed: int, index: int, finding: Finding) -> None:
    graph, _ = run_case(seed, index)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / f"{finding.kind}-{seed}-{index}.onnx"
    if finding.kind in ("wrong", "error", "probe"):
        graph = smaller(graph, index, finding.kind)
    model = graph.model()
    onnx.save(model, path)
    print(f"{finding.kind}: {finding.text}")
    print(f"    make fuzz ARGS='--seed {seed} --case {index}'; {path.relative_to(ROOT)}")
    print("    " + onnx.printer.to_text(model).replace("\n", "\n    ").rstrip(), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9))
    parser.add_argument("--case", type=int, help="run this one alone")
    parser.add_argument("--seconds", type=float, help="stop after so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--json", type=Path, help="where to keep count; a run goes on from there")
    options = parser.parse_args()
    if options.case is not None:
        _, found = run_chunk(options.seed, options.case, options.case + 1)
        for index, finding in found:
            report(options.seed, index, finding)
        return 1 if found else 0

    start, counts, first = time.monotonic(), Counter(), 0
    if options.json and options.json.exists():
        kept = json.loads(options.json.read_text())
        options.seed, counts, first = kept["seed"], Counter(kept["counts"]), kept["next"]
    print(f"seed {options.seed}, cases {first} to {options.cases}", flush=True)
    failed = 0
    chunks = [(a, min(a + _CHUNK, options.cases)) for a in range(first, options.cases, _CHUNK)]
    with ProcessPoolExecutor(options.jobs) as pool:
        for at in range(0, len(chunks), options.jobs):
            if options.seconds and time.monotonic() - start > options.seconds:
                break
            some = chunks[at : at + options.jobs]
            futures = [pool.submit(run_chunk, options.seed, a, b) for a, b in some]
            for future in futures:
                counted, found = future.result()
                counts += counted
                failed += len(found)
                for index, finding in found[:5]:
                    report(options.seed, index, finding)
            if options.json:
                _keep(options.json, options.seed, counts, some[-1][1])
    print(f"{dict(counts)}, {time.monotonic() - start:.0f} s")
    return 1 if failed else 0


def _keep(path: Path, seed: int, counts: Counter, following: int) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps({"seed": seed, "next": following, "counts": counts}) + "\n")
    os.replace(temporary, path)
