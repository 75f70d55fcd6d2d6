"""The demo's picture: digits the network read, and how long each way of reading took."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from frn_onnx.graph import model_io

if TYPE_CHECKING:
    from frn_onnx.demo import Row

_COLUMNS, _ROWS = 8, 5
_INK, _WRONG, _BAR, _BEST = "#1f2933", "#c0392b", "#b8c2cc", "#1a7f5a"


def draw(
    path: Path,
    images: np.ndarray,
    classes: np.ndarray,
    predicted: np.ndarray,
    rows: Sequence["Row"],
) -> None:
    """Writes a PNG: sample digits with predictions on the left, latency bars on the right.

    Args:
        path: where the picture goes.
        images: (n, 8, 8, 1), within 0..1.
        classes, predicted: (n,), what the digits are and what the network says.
        rows: the ways to run the network; those with a latency get a bar.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5.2), dpi=120, facecolor="white")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    _digits(parts[0], images, classes, predicted)
    _bars(parts[1], [row for row in rows if row.latency], len(images))
    with model_io.replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def _digits(figure, images: np.ndarray, classes: np.ndarray, predicted: np.ndarray) -> None:
    """A grid of digits, the misread ones first."""
    order = np.argsort(classes == predicted, kind="stable")[: _COLUMNS * _ROWS]
    wrong = int((classes != predicted).sum())
    figure.suptitle(
        f"{len(images) - wrong} of {len(images)} test digits read correctly"
        + (f"; the {min(wrong, len(order))} misread in red" if wrong else ""),
        color=_INK,
        fontsize=13,
    )
    axes = figure.subplots(_ROWS, _COLUMNS)
    for axis, index in zip(axes.flat, order, strict=True):
        right = classes[index] == predicted[index]
        axis.imshow(images[index, :, :, 0], cmap="gray_r", vmin=0, vmax=1)
        title = f"{predicted[index]}" if right else f"{predicted[index]} (is {classes[index]})"
        axis.set_title(title, fontsize=10, color=_INK if right else _WRONG, pad=3)
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_color("#d9e0e6" if right else _WRONG)
    figure.subplots_adjust(left=0.03, right=0.97, bottom=0.03, top=0.86, hspace=0.45)


def _bars(figure, rows: Sequence["Row"], images: int) -> None:
    """One bar per row: median time of one call, quartiles as a line, and the ratio to the best."""
    figure.suptitle(
        f"Time for a batch of {images} digits (median, quartiles)", color=_INK, fontsize=13
    )
    axis = figure.subplots()
    medians = [row.latency.median_ms for row in rows]
    best = min(medians)
    spans = [
        [row.latency.median_ms - row.latency.low_ms for row in rows],
        [row.latency.high_ms - row.latency.median_ms for row in rows],
    ]
    colours = [_BEST if median == best else _BAR for median in medians]
    bars = axis.barh(range(len(rows)), medians, xerr=spans, color=colours, ecolor="#7b8794")
    axis.set_yticks(
        range(len(rows)),
        [row.name.replace("ONNX Runtime, ", "").replace(", ", ",\n") for row in rows],
    )
    axis.invert_yaxis()
    for bar, row in zip(bars, rows, strict=True):
        median = row.latency.median_ms
        label = f"{median:.2f} ms" + ("" if median == best else f"  ({median / best:.1f}x)")
        axis.annotate(
            label,
            (row.latency.high_ms, bar.get_y() + bar.get_height() / 2),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=_INK,
        )
    axis.set_xlim(0, max(row.latency.high_ms for row in rows) * 1.45)
    axis.set_xlabel("milliseconds in ONNX Runtime")
    axis.spines[["top", "right"]].set_visible(False)
    figure.subplots_adjust(left=0.24, right=0.96, bottom=0.13, top=0.86)
