"""The table and the figure of docs/serving.md, from benchmarks/results/serving.json."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from generated import table, write_sections

NAMES = {
    "embedded": "`frn-onnx serve`",
    "ray1": "Ray, 1 replica",
    "ray2": "Ray, 2 replicas",
    "haproxy1": "Ray with HAProxy, 1 replica",
    "haproxy2": "Ray with HAProxy, 2 replicas",
}
COLUMNS = (
    ("start to ready, s", lambda row: f"{row['start_s']:.1f}"),
    ("memory, MiB", lambda row: f"{row['memory_bytes'] / 2**20:.0f}"),
    ("1 client: p50, ms", lambda row: spread(row, "p50_ms_1", ".1f")),
    ("`session.run` beside it", lambda row: spread(row, "bare_p50_ms", ".1f")),
    ("overhead, ms", lambda row: spread(row, "overhead_ms", ".2f")),
    ("16 clients, JSON: requests / s", lambda row: spread(row, "json_per_s", ".1f")),
)
CLIENTS = (1, 4, 16, 64)
LOAD_COLUMNS = (
    ("clients", lambda row, n: str(n)),
    ("requests / s", lambda row, n: spread(row, f"per_s_{n}", ".1f")),
    ("of the bare loop", lambda row, n: spread(row, f"ratio_{n}", ".2f")),
    ("samples per run", lambda row, n: spread(row, f"batch_{n}", ".1f")),
    ("p50, ms", lambda row, n: spread(row, f"p50_ms_{n}", ".0f")),
)


def spread(row: dict, name: str, form: str) -> str:
    """The median, and the lowest and highest round where there were several."""
    figure = row["figures"].get(name)
    if figure is None:
        return ""
    text = format(figure["median"], form)
    if figure["lowest"] == figure["highest"]:
        return text
    return f"{text} ({figure['lowest']:{form}} to {figure['highest']:{form}})"


def render(results: dict, root: Path) -> str:
    """Writes tables and figure into the documentation; returns the tables."""
    rows = [results["rows"][host] for host in NAMES if host in results["rows"]]
    hosts = table(
        ["", *(title for title, _ in COLUMNS)],
        [[NAMES[row["host"]], *(cell(row) for _, cell in COLUMNS)] for row in rows],
    )
    loads = table(
        ["", *(title for title, _ in LOAD_COLUMNS)],
        [
            [NAMES[row["host"]], *(cell(row, clients) for _, cell in LOAD_COLUMNS)]
            for row in rows
            for clients in CLIENTS
        ],
    )
    figures = f"{hosts}\n\n{loads}"
    text = "\n".join([*_about(rows), "", figures, *_memory(results, root)])
    write_sections(root / "docs" / "serving.md", {"bench_serving": text})
    return figures


def _about(rows: list[dict]) -> list[str]:
    first = rows[0]
    machine = first["machine"]
    return [
        "ResNet-20-FRN, 224x224, float32, 2 threads. Client and server share one machine "
        f"({machine['cpu']}, {machine['cores']} cores, which others use too: load average "
        f"{machine['load_average']:.1f} before the start), ONNX Runtime {machine['onnxruntime']}, "
        "`tritonclient[http]`, binary tensors unless said otherwise.",
        "Medians of the rounds, in brackets the lowest and the highest. Overhead: what a request "
        "takes beside the run that answered it (Ray does not tell). Bare loop: `session.run` "
        "alone, with the batch sizes that the server ran (Ray: one by one).",
        f"Of the embedded server's start, {first['load_s']:.2f} s is loading and trying the model. "
        f"Of its overhead, {spread(first, 'inside_ms', '.2f')} ms is spent in the server, from a "
        "request's head to its answer, the rest in the client and on the loopback: with a server "
        "that does nothing but run the model, and checks nothing, the client measures "
        f"{first['floor_ms']:.2f} ms.",
        f"`{first['command']}`, commit {first['commit']}.",
    ]


def _memory(results: dict, root: Path) -> list[str]:
    """The figure of the soak, drawn and described."""
    if "soak" not in results:
        return []
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "serving"
    from matplotlib import pyplot

    soak = results["soak"]
    done, held = zip(*soak["memory"], strict=True)
    mib = [value / 2**20 for value in held]
    figure, axes = pyplot.subplots(figsize=(7, 2.6), layout="constrained")
    axes.plot(done, mib, color="#0a7d5a", linewidth=1.2)
    axes.set(xlabel="requests answered", ylabel="resident memory, MiB", ylim=(0, 1.3 * max(mib)))
    axes.set(xlim=(0, soak["requests"]))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    path = root / "docs" / "images" / "serving-memory.svg"
    figure.savefig(path, metadata={"Date": None})
    settled = [value for n, value in zip(done, mib, strict=True) if n >= soak["requests"] / 4]
    counts = ", ".join(f"{n:,} x {status}" for status, n in sorted(soak["statuses"].items()))
    return [
        "",
        f"Memory over {soak['requests']:,} requests of 200 image sizes, binary and JSON, some of "
        f"them broken, from {soak['clients']} clients ({counts}): {settled[0]:.0f} MiB after a "
        f"quarter, {settled[-1]:.0f} MiB at the end.",
        "",
        "![Memory over the requests](images/serving-memory.svg)",
    ]
