"""Long life: resident memory while 10,000 sessions come and go, and while 16 threads run one
session, and frn() on arrays, 100,000 times each. Writes results/memory.json and the table in
custom_ops/README.md.

    python bench_memory.py [--times N]      N times as many; 1 unless told
"""

import argparse

import harness
import long_life
from generated import table, write_sections

COUNTS = {"sessions": 10_000, "runs": 100_000, "arrays": 100_000}
WORDS = {
    "sessions": "sessions opened and closed, every tenth run",
    "runs": f"runs of one session from {long_life.THREADS} threads",
    "arrays": f"calls of `frn_onnx.frn` from {long_life.THREADS} threads",
}


def report(results) -> str:
    head = ["", "count", "MB at a quarter", "MB at the end", "most since, MB more"]
    rows = []
    for name, points in results["points"].items():
        quarter = next(held for done, held in points if done >= points[-1][0] / 4)
        growth = long_life.growth_bytes(points)
        figures = (f"{held / 2**20:.1f}" for held in (quarter, points[-1][1], growth))
        rows.append([WORDS[name], f"{points[-1][0]:,}", *figures])
    versions = results["machine"]["versions"]
    about = f"ONNX Runtime {versions['onnxruntime']}, Python {versions['python']}."
    return f"{table(head, rows)}\n\n{about}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=float, default=1)
    times = parser.parse_args().times
    points = {
        name: long_life.in_process_of_its_own(name, int(count * times))
        for name, count in COUNTS.items()
    }
    results = {"machine": harness.machine(), "points": points}
    harness.write_json(harness.RESULTS / "memory.json", results)
    write_sections(harness.ROOT / "custom_ops" / "README.md", {"memory": report(results)})


if __name__ == "__main__":
    main()
