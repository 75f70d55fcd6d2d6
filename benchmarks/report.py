"""Writes the tables and the plot of benchmarks/README.md, and the figures of the project's README,
from benchmarks/results/*.json.

python benchmarks/report.py
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from generated import table, write_sections

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
FRONT_PAGE = FOLDER.parent / "README.md"
PLOT = FOLDER / "results" / "op.svg"
MODEL_PLOT = FOLDER / "results" / "model.svg"
OPENVINO = ("OpenVINO, primitives", "OpenVINO, ReduceL2")
MODEL_SERIES = {
    "session": "tab:blue",
    "ORT, plugin": "tab:cyan",
    "ORT, primitives": "tab:orange",
    "OpenVINO, ReduceL2": "0.5",
}
LARGE_BYTES = 4 << 20
MIDDLE_BYTES = 256 << 10
SESSION_BYTES = 12 << 20
UNUSUAL_SHAPES = ("8x64x56x56", "1x2048x7x7")


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
    threads = f"{results['threads']} threads, " if "threads" in results else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores ({caches}), {threads}"
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


def session_table(results) -> str:
    """What sessions do: in place, on one thread too; each beside a copy on as many threads."""
    by_shape: dict[tuple[str, str], dict[str, dict]] = {}
    dtypes = ("float32", "float16", "bfloat16")
    for row in results["rows"]:
        if "in place" in row["times"] and row["dtype"] in dtypes:
            by_shape.setdefault((row["name"], row["layout"]), {})[row["dtype"]] = row
    if not by_shape:
        return "Not measured yet."

    def cell(row, name: str, copy: str) -> str:
        if row is None:
            return ""
        own, bare = microseconds(row, name), microseconds(row, copy)
        return f"{own:.0f} ({bare / own:.2f})"

    lines = []
    for key, rows in by_shape.items():
        cells = [cell(rows.get(dtype), "in place", "copy") for dtype in dtypes]
        alone = cell(rows.get("float32"), "kernel, 1 thread", "copy, 1 thread")
        lines.append([*key, *cells, alone])
    small = [
        microseconds(row, "copy") / microseconds(row, "in place")
        for rows in by_shape.values()
        for dtype, row in rows.items()
        if dtype == "float32" and row["bytes"] <= SESSION_BYTES
    ]
    summary = (
        f"In place, float32 up to {SESSION_BYTES >> 20} MB: geometric mean "
        f"**{geometric_mean(small):.2f}** of a copy's throughput.\n\n"
        if small
        else ""
    )
    head = ["shape (N, C, ...)", "layout", *(f"{dtype} in place" for dtype in dtypes)]
    return summary + table([*head, "float32, 1 thread"], lines)


def unusual_table(results) -> str:
    """Input and parameters that take another way, beside the ordinary ones."""
    lines = []
    for row in results["rows"]:
        for name, usual in (("half parameters", "plugin"), ("NaN", "kernel")):
            if name in row["times"] and row["name"] in UNUSUAL_SHAPES:
                times = microseconds(row, name), microseconds(row, usual)
                lines.append(
                    [name, row["dtype"], row["name"], row["layout"]]
                    + [f"{value:.0f}" for value in times]
                    + [f"{times[0] / times[1]:.2f}"]
                )
    if not lines:
        return "Not measured yet."
    head = ["what", "type", "shape (N, C, ...)", "layout", "µs", "ordinary, µs", "ratio"]
    return table(head, sorted(lines), right=(4, 5, 6))


def model_title(row) -> list[str]:
    return [row["network"], str(row["batch"]), str(row["threads"])]


def model_table(results) -> str:
    """Milliseconds, the fastest with FRN in bold."""
    columns = list(dict.fromkeys(name for row in results["rows"] for name in row["times"]))
    head = ["network", "batch", "threads", "FRN layers", *(f"{name}, ms" for name in columns)]
    lines = []
    for row in results["rows"]:
        best = min(microseconds(row, name) for name in row["times"] if "ReLU" not in name)
        cells = []
        for name in columns:
            if name not in row["times"]:
                cells.append("")
                continue
            value = microseconds(row, name)
            text = f"{value / 1e3:.3g}" if value < 1e5 else f"{value / 1e3:.0f}"
            cells.append(f"**{text}**" if value == best else text)
        lines.append([*model_title(row), str(row["frn_layers"]), *cells])
    return table(head, lines)


def ratio_table(results) -> str:
    """Of the time without norms in the same runtime: median and quartiles."""
    columns = list(
        dict.fromkeys(
            name
            for row in results["rows"]
            for name, entry in row["times"].items()
            if "ratio" in entry
        )
    )
    lines = []
    for row in results["rows"]:
        cells = []
        for name in columns:
            low, median, high = row["times"].get(name, {}).get("ratio", (math.nan,) * 3)
            cells.append("" if math.isnan(median) else f"{median:.2f} ({low:.2f} to {high:.2f})")
        lines.append([*model_title(row), *cells])
    return table(["network", "batch", "threads", *columns], lines)


def profile_table(results) -> str:
    """Where the time of a session goes, by op."""
    columns = list(results["rows"][0]["session_ms_by_op"])[:6]
    lines = [
        model_title(row) + [f"{row['session_ms_by_op'].get(name, 0):.2f}" for name in columns]
        for row in results["rows"]
    ]
    return table(["ms in", "batch", "threads", *columns], lines)


def front_page_text(op, model) -> str:
    """What the project's README says of speed: the plugin beside what one would run instead."""
    rows = [row for row in op["rows"] if row["dtype"] == "float32"]
    machine = f"{op['machine']['cpu']}, {op['threads']} threads, {op['machine']['cpu_target']}"
    lines = []
    for name in ("primitives", *op["peers"]):
        ratios = [microseconds(row, name) / microseconds(row, "plugin") for row in rows]
        title = "ONNX Runtime, cheapest standard ops" if name == "primitives" else name
        summary = (geometric_mean(ratios), min(ratios), max(ratios))
        lines.append([title, *(f"{value:.1f}x" for value in summary)])
    return (
        f"How much faster one FRN layer is with the plugin: {len(rows)} shapes and layouts, "
        f"float32 ({machine}).\n\n"
        + table(["beside", "geometric mean", "least", "most"], lines)
        + "\n\nWhole networks, in which the convolutions set the pace: the time of a session "
        "(`frn_onnx.InferenceSession`), and of others, beside the network without norms, which is "
        "what batch normalisation costs when it is folded into the convolutions. Medians and "
        "quartiles; the times are in [benchmarks/README.md](benchmarks/README.md).\n\n"
        "![time with FRN, of the time without norms](benchmarks/results/model.svg)\n\n"
        + cost_text(model)
    )


def cost_text(results) -> str:
    """What FRN costs in whole networks, in one sentence."""
    ratios = [row["times"]["session"]["ratio"][1] for row in results["rows"]]
    faster = sum(
        microseconds(row, "session") <= min(others)
        for row in results["rows"]
        if (others := [microseconds(row, n) for n in row["times"] if n in OPENVINO])
    )
    compared = sum(any(n in OPENVINO for n in row["times"]) for row in results["rows"])
    return (
        f"A session takes {min(ratios):.2f} to {max(ratios):.2f} of the time of the network "
        f"without norms (geometric mean {geometric_mean(ratios):.2f}); it is ahead of "
        f"OpenVINO's fastest form of FRN in {faster} of {compared} rows."
    )


def picture(results) -> None:
    """The ratios of whole networks, with their quartiles."""
    pyplot = quiet_pyplot()
    rows = results["rows"]
    figure, axes = pyplot.subplots(figsize=(9, 0.42 * len(rows) + 1.4))
    for number, (name, colour) in enumerate(MODEL_SERIES.items()):
        found = [
            (i, row["times"][name]["ratio"]) for i, row in enumerate(rows) if name in row["times"]
        ]
        low, middle, high = ([ratio[i] for _, ratio in found] for i in range(3))
        axes.errorbar(
            middle,
            [i + 0.16 * (number - 1.5) for i, _ in found],
            xerr=[np.subtract(middle, low), np.subtract(high, middle)],
            fmt="o",
            markersize=5,
            elinewidth=1.2,
            color=colour,
            label=name,
        )
    axes.axvline(1, color="0.6", linewidth=1)
    titles = [f"{row['network']}, batch {row['batch']}, {row['threads']} thr." for row in rows]
    axes.set_yticks(range(len(rows)), titles, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("time with FRN / time without norms, in the same runtime")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=4, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, MODEL_PLOT)


def quiet_pyplot():
    """matplotlib that makes the same file of the same figures."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "frn_onnx"
    from matplotlib import pyplot

    return pyplot


def save(figure, path: Path) -> None:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    quiet_pyplot().close(figure)


def plot(results) -> None:
    """Throughput of the kernel, the primitive graph and a copy, float32."""
    pyplot = quiet_pyplot()
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
    save(figure, PLOT)


def main() -> None:
    op, model = (
        json.loads((FOLDER / "results" / f"{name}.json").read_text()) for name in ("op", "model")
    )
    write_sections(
        README,
        {
            "op machine": machine_text(op),
            "op speed": speed_table(op),
            "op copy": copy_table(op),
            "op sessions": session_table(op),
            "op unusual": unusual_table(op),
            "model": "\n\n".join(
                [machine_text(model), model_table(model), ratio_table(model), cost_text(model)]
            ),
            "profile": profile_table(model),
        },
    )
    write_sections(FRONT_PAGE, {"speed": front_page_text(op, model)})
    plot(op)
    picture(model)


if __name__ == "__main__":
    main()
