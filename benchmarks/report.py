"""Writes the tables and the plot of benchmarks/README.md from benchmarks/results/*.json.

python benchmarks/report.py
"""

import json
import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
PLOT = FOLDER / "results" / "op.svg"
LARGE_BYTES = 4 << 20
MIDDLE_BYTES = 256 << 10


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def microseconds(row, name: str) -> float:
    return row["times"][name]["median_us"]


def geometric_mean(values: Sequence[float]) -> float:
    return math.exp(sum(map(math.log, values)) / len(values))


def megabytes(row) -> str:
    return f"{row['bytes'] / 2**20:.1f}"


def machine_text(results) -> str:
    machine = results["machine"]
    caches = ", ".join(f"{level} {size}" for level, size in machine["caches"].items())
    versions = {**machine["versions"], **results.get("peers", {})}
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({caches}), {results['threads']} threads, "
        f"CPU target {machine['cpu_target']}, {machine['compiler']}; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + f". Load average before the start: {machine['load_before']}. "
        f"`{machine['command']}`, commit {machine['commit']}, {machine['date']}. "
        "Medians; times in µs."
    )


def speed_table(results) -> str:
    """Sessions of ONNX Runtime, float32, and the peers."""
    rows = [row for row in results["rows"] if row["dtype"] == "float32"]
    peers = list(results["peers"])
    head = ["shape (N, C, ...)", "layout", "MB", "plugin", "primitives", "speed-up", *peers]
    lines, speedups = [], []
    for row in rows:
        speedups.append(microseconds(row, "primitives") / microseconds(row, "plugin"))
        lines.append(
            [
                row["name"],
                row["layout"],
                megabytes(row),
                f"{microseconds(row, 'plugin'):.0f}",
                f"{microseconds(row, 'primitives'):.0f}",
                f"**{speedups[-1]:.1f}**",
                *(f"{microseconds(row, peer):.0f}" for peer in peers),
            ]
        )
    if not lines:
        return "No float32 rows."
    summary = (
        f"Speed-up over the primitive graph: geometric mean **{geometric_mean(speedups):.1f}**, "
        f"smallest {min(speedups):.1f}, largest {max(speedups):.1f}."
    )
    return summary + "\n\n" + table(head, lines)


def copy_table(results) -> str:
    """The kernel against a copy of the same array, every element type."""
    by_shape: dict[tuple[str, str], dict[str, dict]] = {}
    dtypes = list(dict.fromkeys(row["dtype"] for row in results["rows"]))
    for row in results["rows"]:
        by_shape.setdefault((row["name"], row["layout"]), {})[row["dtype"]] = row

    def cell(row) -> str:
        if row is None:
            return ""
        ratio = microseconds(row, "copy") / microseconds(row, "kernel")
        return f"{microseconds(row, 'kernel'):.0f} ({ratio:.2f})"

    lines = [
        [*key, megabytes(next(iter(rows.values()))), *(cell(rows.get(dtype)) for dtype in dtypes)]
        for key, rows in by_shape.items()
    ]
    head = ["shape (N, C, ...)", "layout", f"MB in {dtypes[0]}", *dtypes]
    return copy_summary(results["rows"]) + "\n\n" + table(head, lines)


def copy_summary(rows) -> str:
    """For each size class and element type: the smallest and the mean share of a copy's speed."""
    lines = []
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        for title, low, high in (
            ("from 4 MB on", LARGE_BYTES, math.inf),
            ("256 KB to 4 MB", MIDDLE_BYTES, LARGE_BYTES),
        ):
            ratios = [
                microseconds(row, "copy") / microseconds(row, "kernel")
                for row in rows
                if row["dtype"] == dtype and low <= row["bytes"] < high
            ]
            if ratios:
                lines.append(
                    [
                        dtype,
                        title,
                        str(len(ratios)),
                        f"{min(ratios):.2f}",
                        f"{geometric_mean(ratios):.2f}",
                    ]
                )
    return table(["type", "tensors", "rows", "smallest", "geometric mean"], lines)


def model_table(results) -> str:
    columns = list(dict.fromkeys(name for row in results["rows"] for name in row["times"]))
    head = ["network", "batch", "FRN layers", *(f"{name}, ms" for name in columns)]
    lines = []
    for row in results["rows"]:
        best = min(microseconds(row, name) for name in row["times"] if "ReLU" not in name)
        cells = []
        for name in columns:
            if name not in row["times"]:
                cells.append("")
                continue
            value = microseconds(row, name)
            text = f"{value / 1e3:.1f}"
            cells.append(f"**{text}**" if value == best else text)
        lines.append([row["network"], str(row["batch"]), str(row["frn_layers"]), *cells])
    return table(head, lines)


def plot(results) -> None:
    """Throughput of the kernel, the primitive graph and a copy, float32."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "frn_onnx"
    from matplotlib import pyplot

    rows = [row for row in results["rows"] if row["dtype"] == "float32"]
    figure, axes = pyplot.subplots(figsize=(9, 0.28 * len(rows) + 1.6))
    places = range(len(rows))
    series = {"copy": "0.75", "kernel": "tab:blue", "primitives": "tab:orange"}
    for offset, (name, colour) in zip((0.27, 0, -0.27), series.items(), strict=True):
        rates = [2 * row["bytes"] / microseconds(row, name) / 1e3 for row in rows]
        axes.barh([p + offset for p in places], rates, 0.25, label=name, color=colour)
    axes.set_yticks(places, [f"{row['name']} {row['layout']}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("GB/s, one read and one write of the tensor (float32)")
    axes.set_xscale("log")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.06), ncols=3, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PLOT, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def replace_section(text: str, name: str, body: str) -> str:
    """Puts ``body`` between the marks of section ``name``."""
    begin, end = f"<!-- {name}: generated, do not edit -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise SystemExit(f"{README} has no section {name!r}: expected the marks {begin} and {end}")
    before, rest = text.split(begin, 1)
    return f"{before}{begin}\n\n{body}\n\n{end}{rest.split(end, 1)[1]}"


def main() -> None:
    text = README.read_text()
    op = json.loads((FOLDER / "results" / "op.json").read_text())
    text = replace_section(text, "op machine", machine_text(op))
    text = replace_section(text, "op speed", speed_table(op))
    text = replace_section(text, "op copy", copy_table(op))
    model = json.loads((FOLDER / "results" / "model.json").read_text())
    text = replace_section(text, "model", machine_text(model) + "\n\n" + model_table(model))
    plot(op)
    temporary = README.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, README)


if __name__ == "__main__":
    main()
