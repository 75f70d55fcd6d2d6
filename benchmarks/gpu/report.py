"""The tables of a run, and whether the targets are met, from the stages' JSON files.

python benchmarks/gpu/report.py FOLDER            # prints them
python benchmarks/gpu/report.py FOLDER --write    # into FOLDER/README.md
"""

import json
import statistics
import sys
from pathlib import Path

LARGE_MB = 20
TARGETS = (
    f"at least 0.90 of a kernel's copy from {LARGE_MB} MB on",
    "at least 5 times the primitives from batch 8 on",
    "ResNet-50, float16, batch 64: at most 1.06 of the ReLU-only network",
    "U-Net, float16, batch 1: at most 1.10 of its ReLU-only twin",
    "U-Net, float16, batch 1: at most a quarter of the original's time",
)


def load(folder: Path) -> dict[str, dict]:
    """The stages' files by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def table(header: list[str], rows: list[list[object]]) -> str:
    """Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def rows_of(stages: dict[str, dict], name: str) -> list[dict]:
    return (stages.get(name, {}).get("result") or {}).get("rows", [])


def _status(stages: dict[str, dict]) -> str:
    commit = stages.get("environment", {}).get("commit")
    rows = []
    for name, stage in stages.items():
        notes = [stage.get("reason", "")]
        if stage.get("commit") != commit:
            notes.append(f"of commit {stage.get('commit')}")
        rows.append([name, stage["status"], f"{stage['seconds']:.0f}", " ".join(notes).strip()])
    return table(["stage", "status", "s", "note"], rows)


def _bandwidth(rows: list[dict]) -> str:
    """By layout, type and whether there is a residual, and each tensor that is under the target."""
    groups: dict[tuple, list[float]] = {}
    for row in rows:
        if row["megabytes"] >= LARGE_MB:
            key = (row["layout"], row["dtype"], _residual(row))
            groups.setdefault(key, []).append(row["of_copy"])
    whole = table(
        ["layout", "type", "residual", "shapes", "median of copy", "least", "under 0.90"],
        [
            [*key, len(v), statistics.median(v), min(v), sum(of_copy < 0.90 for of_copy in v)]
            for key, v in sorted(groups.items())
        ],
    )
    under = [row for row in rows if row["megabytes"] >= LARGE_MB and row["of_copy"] < 0.90]
    keys = ("layout", "dtype", "batch", "channels", "side", "megabytes", "of_copy")
    rows = [[_residual(row), *map(row.get, keys), _us(row["ms"])] for row in under]
    return f"{whole}\n\n" + table(["residual", *keys, "us"], rows)


def _residual(row: dict) -> str:
    return "yes" if row.get("residual") else ""


def _us(times: dict) -> float:
    return times["median"] * 1e3


def _operators(rows: list[dict]) -> str:
    keys = ("layout", "dtype", "batch", "channels", "side", "megabytes")
    return table(
        ["residual", *keys, "us a node", "primitives us", "speed-up"],
        [
            [
                _residual(row),
                *map(row.get, keys),
                *(_us(row["ms"][k]) / row["nodes"] for k in row["ms"]),
                row["speedup"],
            ]
            for row in rows
        ],
    )


def _unet(result: dict) -> str:
    first = result["ms"]["original"]["median"]
    return table(
        ["U-Net, 256x256, batch 1", "ms", "of the original"],
        [[name, t["median"], t["median"] / first] for name, t in result["ms"].items()],
    )


def _peers(rows: list[dict]) -> str:
    names = [key for key in rows[0] if key.endswith("_over_frn")]
    return table(
        ["residual", "batch", "channels", "side", "layout", "type", "frn ms", *names],
        [
            [
                _residual(row),
                *(row[key] for key in ("batch", "channels", "side", "layout", "dtype", "frn_ms")),
                *(row[name] for name in names),
            ]
            for row in rows
        ],
    )


def _networks(rows: list[dict]) -> str:
    keys = ("dtype", "batch", "prefer_nhwc", "cuda_graph")
    kinds = ("primitives", "plugin", "relu")
    return table(
        [*keys, *(f"{kind} ms" for kind in kinds), "speed-up", "over ReLU"],
        [
            [
                *(row[key] for key in keys),
                *(row["ms"][kind]["median"] for kind in kinds),
                *(row["speedup"], row["over_relu"]),
            ]
            for row in rows
        ],
    )


def verdicts(stages: dict[str, dict]) -> list[tuple[str, str]]:
    """Each target, and "met", "missed: ..." or "not measured"."""
    large = [r for r in rows_of(stages, "bandwidth") if r["megabytes"] >= LARGE_MB]
    small = [r for r in large if r["of_copy"] < 0.90]
    batches = [r for r in rows_of(stages, "operators") if r["batch"] >= 8]
    slow = [r for r in batches if r["speedup"] < 5]
    networks = [
        r for r in rows_of(stages, "resnet50") if r["dtype"] == "float16" and r["batch"] == 64
    ]
    best = None
    if networks:  # the fastest of each, whatever its layout
        plugin, relu = (min(r["ms"][k]["median"] for r in networks) for k in ("plugin", "relu"))
        best = plugin / relu
    unet = stages.get("unet", {}).get("result") or {}
    found = [
        _verdict(large, f"{len(small)} of {len(large)} shapes are under it" if small else ""),
        _verdict(batches, f"{len(slow)} of {len(batches)} shapes are under it" if slow else ""),
        _at_most(best, 1.06),
        _at_most(unet.get("over_relu"), 1.10),
        _at_most(unet.get("of_original"), 0.25),
    ]
    return list(zip(TARGETS, found, strict=True))


def _at_most(value: float | None, target: float) -> str:
    if value is None:
        return "not measured"
    return f"{'met' if value <= target else 'missed'}: {value:.2f}"


def _verdict(measured: list[dict], miss: str) -> str:
    if not measured:
        return "not measured"
    return f"missed: {miss}" if miss else "met"


def render(stages: dict[str, dict]) -> str:
    """The whole report as Markdown."""
    parts = ["## Stages", _status(stages)]
    if rows := rows_of(stages, "bandwidth"):
        parts += [f"## Bandwidth, tensors from {LARGE_MB} MB on", _bandwidth(rows)]
    if rows := rows_of(stages, "peers"):
        parts += ["## PyTorch's time over FRN's", _peers(rows)]
    if rows := rows_of(stages, "operators"):
        parts += ["## One operator in ONNX Runtime", _operators(rows)]
    if rows := rows_of(stages, "resnet50"):
        parts += ["## ResNet-50 in ONNX Runtime", _networks(rows)]
    if unet := stages.get("unet", {}).get("result"):
        parts += ["## U-Net in ONNX Runtime", _unet(unet)]
    if regret := (stages.get("sweep", {}).get("result") or {}).get("geometric_mean_regret"):
        parts += [
            f"The planner's plans take {regret:.3f} of the fastest plan's time (geometric mean)."
        ]
    parts += ["## Targets", table(["target", "verdict"], [list(v) for v in verdicts(stages)])]
    return "\n\n".join(parts)


def page(folder: Path) -> str:
    """The report of a folder of results, under the name of its GPU."""
    stages = load(folder)
    commit, found = stages["environment"]["commit"], stages["environment"]["result"]["machine"]
    packages = ", ".join(
        f"{name} {found['packages'].get(name)}" for name in ("onnxruntime-gpu", "torch", "triton")
    )
    head = (
        f"# {found['gpu']['name']}\n\nDriver {found['gpu']['driver_version']}, "
        f"{' '.join(found['nvcc']).strip()}, {packages}; commit {commit[:12]}. Made by "
        "`benchmarks/gpu/report.py`."
    )
    return f"{head}\n\n{render(stages)}\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    if "--write" in sys.argv[2:]:
        (folder / "README.md").write_text(page(folder))
    else:
        print(render(load(folder)))
