"""How long a session takes to make: plain, blocked, and blocked from a cache.

    python benchmarks/bench_start.py [--repeat 7]

Networks with FRN, exported from Keras to a file. Each way in turns, in one process that has made
such sessions before; then once more as the first session of a process of its own, from the import
of the package on, which is what a command-line tool waits for. The sessions' answers are compared.

Writes benchmarks/results/start.json and the table in docs/sessions.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import harness
import numpy as np

sys.path[:0] = [str(harness.ROOT)]  # models; harness has put tests there

from generated import table, write_sections  # noqa: E402

import frn_onnx  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "start.json"
PAGE = harness.ROOT / "docs" / "sessions.md"
FILES = harness.ROOT / ".cache" / "bench"
CPU = ["CPUExecutionProvider"]
# title -> (builder's name, its arguments, image shape)
NETWORKS = {
    "ResNet-20": ("resnet20", {}, (32, 32, 3)),
    "U-Net": ("unet", {}, (256, 256, 3)),
    "ResNet-50": ("resnet50", {}, (224, 224, 3)),
    "ResNet-50, 2x as wide": ("resnet50", {"width": 128}, (224, 224, 3)),
}
WAYS = ("plain", "blocked", "cached")
# Prints what the first session of a process takes, with the package's import.
FIRST = """
import json, sys, time
begin = time.perf_counter()
import frn_onnx
frn_onnx.InferenceSession(sys.argv[1], **json.loads(sys.argv[2]))
print(time.perf_counter() - begin)
"""


def make(title: str) -> Path:
    """The network's file, exported once."""
    path = FILES / f"{title.replace(' ', '_')}.onnx"
    if not path.exists():
        import models

        name, options, shape = NETWORKS[title]
        path.parent.mkdir(parents=True, exist_ok=True)
        network = models.randomize(getattr(models, name)(shape, **options))
        frn_onnx.export(network, path, form="custom", verify=False)
    return path


def arguments(way: str, cache: Path) -> dict[str, Any]:
    """Of the session that is made in this way."""
    how = {"plain": {"blocked": False}, "blocked": {}, "cached": {"cache": str(cache)}}[way]
    return {"providers": CPU, **how}


def session(path: Path, way: str, cache: Path):
    return frn_onnx.InferenceSession(path, **arguments(way, cache))


def check(path: Path, shape: tuple[int, ...], cache: Path) -> None:
    """All three give the same; this also fills the cache."""
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    expected = None
    for way in WAYS:
        y = session(path, way, cache).run(None, {"image": image})[0]
        expected = y if expected is None else expected
        if not np.allclose(y, expected, rtol=1e-3, atol=1e-4 * float(np.abs(expected).max())):
            raise SystemExit(f"{path.name}, {way}: gives other values")


def measure(title: str, repeat: int, folder: Path) -> dict:
    path, cache = make(title), folder / "cache"
    check(path, NETWORKS[title][2], cache)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    first: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(repeat):
        for way in WAYS:
            begin = time.perf_counter()
            session(path, way, cache)
            taken[way].append(time.perf_counter() - begin)
    for _ in range(max(3, repeat // 2)):
        for way in WAYS:
            how = json.dumps(arguments(way, cache))
            command = [sys.executable, "-c", FIRST, str(path), how]
            first[way].append(float(subprocess.check_output(command, text=True)))
    return {
        "network": title,
        "bytes": path.stat().st_size,
        "seconds": {way: statistics.median(values) for way, values in taken.items()},
        "first_seconds": {way: statistics.median(values) for way, values in first.items()},
        "ratio": statistics.median(
            blocked / plain for plain, blocked in zip(taken["plain"], taken["blocked"], strict=True)
        ),
    }


def render(results: dict) -> str:
    """The table, also written into the page."""
    machine = results["machine"]
    head = ["", "file, MB", *WAYS, "blocked / plain", *(f"first: {way}" for way in WAYS)]
    rows = [
        [
            row["network"],
            f"{row['bytes'] / 1e6:.0f}",
            *(f"{row['seconds'][way]:.3f}" for way in WAYS),
            f"{row['ratio']:.2f}",
            *(f"{row['first_seconds'][way]:.2f}" for way in WAYS),
        ]
        for row in results["rows"]
    ]
    about = (
        f"Seconds, medians; {machine['cpu']}, {machine['cores']} cores, ONNX Runtime "
        f"{machine['versions']['onnxruntime']}, `{machine['command']}`, {machine['commit']}. "
        "First: the first session of a process, with all imports."
    )
    figures = table(head, rows)
    write_sections(PAGE, {"bench_start": f"{about}\n\n{figures}"})
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(title, options.repeat, Path(folder)) for title in NETWORKS]
    results = {"machine": harness.machine(), "rows": rows}
    harness.write_json(RESULTS, results)
    print(render(results))


if __name__ == "__main__":
    main()
