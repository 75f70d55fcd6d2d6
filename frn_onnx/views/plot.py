"""A picture of one FRN node: what it is in standard ops, what it is as one node, its parameters."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from frn_onnx.errors import ModelError, missing_dependency
from frn_onnx.graph import model_io
from frn_onnx.views import panels
from frn_onnx.views.layered import layered
from frn_onnx.views.panels import Panel

_COLOURS = {  # kind: (fill, border, text)
    "around": ("#f1f3f5", "#adb5bd", "#495057"),
    "large": ("#dbe7fb", "#3d6fb6", "#1c3f70"),
    "small": ("#e2f3ea", "#3f9270", "#1d543e"),
    "frn": ("#4527a0", "#311b92", "#ffffff"),
}
# Inches for one unit across and down, and boxes in these units.
_ACROSS, _DOWN = 1.55, 0.78
_BOX_WIDTH, _FRN_WIDTH, _BOX_HEIGHT = 0.86, 1.5, 0.6
_HEAD_INCHES, _CHART_INCHES = 0.75, 0.85
_LONGEST_TITLE = 13


def plot(model: model_io.Source, path: str | os.PathLike, *, node: str | None = None) -> None:
    """Draws the graph around one FRN layer before and after fusing, and its parameters.

    Args:
        model: path of an ONNX file, ``onnx.ModelProto`` or ``onnx_ir.Model``, in any form.
        path: of the picture; its suffix says the format (.png, .svg, .pdf).
        node: name of the FRN node, as ``inspect`` lists it; None: the first.

    Raises:
        ModelError: the model cannot be read or holds no FRN, or the path cannot be written.
        ArgumentError: there is no FRN node of that name.
        DependencyError: Matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing_dependency("matplotlib", "demo", "A picture of the graph") from error
    target = Path(path)
    model_io.check_output(target, model)
    site, before, after = panels.panels(model_io.load(model), node)
    left, right = _arrange(before), _arrange(after)
    parameters = panels.parameters(site)
    height = max(left.height, right.height + _CHART_INCHES * len(parameters) + 0.6)
    chart = min((height - right.height - 0.6) / max(len(parameters), 1), 1.5 * _CHART_INCHES)
    figure = Figure(figsize=(left.width + right.width, height + _HEAD_INCHES), dpi=150)
    core = [box for box in before.boxes if box.kind != "around"]
    large = sum(box.kind == "large" for box in core)
    title = f"in standard ops: {len(core)} nodes, {large} of them over the whole tensor"
    figure.text(
        0.2 / figure.get_figwidth(),
        1 - 0.3 / figure.get_figheight(),
        f"FRN {site.label}",
        fontsize=14,
        fontweight="bold",
    )
    _draw(_axes(figure, 0, _HEAD_INCHES, left.width, left.height), left, title)
    _draw(_axes(figure, left.width, _HEAD_INCHES, right.width, right.height), right, "as one node")
    for row, (name, values) in enumerate(parameters):
        top = _HEAD_INCHES + right.height + 0.1 + row * chart
        axes = _axes(figure, left.width + 0.7, top, right.width - 1.0, chart - 0.25)
        _chart(axes, name, values, last=row == len(parameters) - 1)
    try:
        with model_io.replacing(target) as temporary:
            figure.savefig(temporary, format=target.suffix.lstrip(".") or "png")
    except (OSError, ValueError) as error:
        raise ModelError(f"{target}: the picture cannot be written: {error}") from error


def _axes(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Axes at a place in inches, counted from the upper left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


@dataclass(frozen=True)
class _Arranged:
    """A panel whose boxes have their places; sizes in inches."""

    panel: Panel
    places: Sequence[tuple[float, int]]
    bends: Mapping[tuple[int, int], Sequence[tuple[float, int]]]
    xlim: tuple[float, float]
    ylim: tuple[float, float]

    @property
    def width(self) -> float:
        return (self.xlim[1] - self.xlim[0]) * _ACROSS

    @property
    def height(self) -> float:
        return (self.ylim[1] - self.ylim[0]) * _DOWN


def _arrange(panel: Panel) -> _Arranged:
    places, bends = layered(len(panel.boxes), [edge[:2] for edge in panel.edges])
    xs = [x for x, _ in places] + [x for chain in bends.values() for x, _ in chain]
    middle = (min(xs) + max(xs)) / 2
    half = max((max(xs) - min(xs)) / 2 + 0.75, 1.75)
    lowest = max(layer for _, layer in places)
    return _Arranged(panel, places, bends, (middle - half, middle + half), (-lowest - 0.6, 0.6))


def _draw(axes: Any, arranged: _Arranged, title: str) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.set(xlim=arranged.xlim, ylim=arranged.ylim)
    axes.axis("off")
    axes.set_title(title, fontsize=10, loc="left", x=0.2 / arranged.width, color="#343a40")
    labelled = set()
    for edge in arranged.panel.edges:
        _draw_edge(axes, arranged, edge, with_text=edge[0] not in labelled)
        labelled.add(edge[0])
    for box, (x, layer) in zip(arranged.panel.boxes, arranged.places, strict=True):
        fill, border, ink = _COLOURS[box.kind]
        wide = _FRN_WIDTH if box.kind == "frn" else _BOX_WIDTH
        corner = (x - wide / 2, -layer - _BOX_HEIGHT / 2)
        axes.add_patch(
            FancyBboxPatch(
                corner,
                wide,
                _BOX_HEIGHT,
                boxstyle="round,pad=0,rounding_size=0.08",
                facecolor=fill,
                edgecolor=border,
                linewidth=1.2,
                zorder=3,
            )
        )
        style = {"ha": "center", "va": "center", "color": ink, "zorder": 4}
        raised = 0.1 if box.detail else 0
        size = 9 if len(box.title) <= _LONGEST_TITLE else 7
        axes.text(x, -layer + raised, box.title, fontsize=size, fontweight="bold", **style)
        axes.text(x, -layer - 0.15, box.detail, fontsize=6.5, **style)


def _draw_edge(
    axes: Any, arranged: _Arranged, edge: tuple[int, int, str, bool], *, with_text: bool
) -> None:
    """A curve from box to box, straight down where it passes a layer."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    source, target, text, large = edge
    (x, layer), (end_x, end_layer) = arranged.places[source], arranged.places[target]
    vertices = [(x, -layer - _BOX_HEIGHT / 2)]
    codes = [Curve.MOVETO]
    for next_x, next_layer in (*arranged.bends[source, target], (end_x, end_layer)):
        last_x, last_y = vertices[-1]
        y = -next_layer + _BOX_HEIGHT / 2
        middle = (last_y + y) / 2
        vertices += [(last_x, middle), (next_x, middle), (next_x, y)]
        codes += [Curve.CURVE4] * 3
        if next_layer != end_layer:
            vertices.append((next_x, y - _BOX_HEIGHT))
            codes.append(Curve.LINETO)
    kind = "large" if large else "small"
    colour, width = _COLOURS[kind][1], 2.4 if large else 1.0
    path = Curve(vertices, codes)
    axes.add_patch(PathPatch(path, fill=False, edgecolor=colour, linewidth=width, zorder=1))
    x, y = vertices[-1]
    axes.plot([x], [y + 0.04], marker="v", color=colour, markersize=4 + width, zorder=2)
    if with_text:
        # Beside the line where it leaves its box: there every edge of a tensor still is one.
        x, y = vertices[0]
        back = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
        style = {"fontsize": 6.5, "color": colour, "va": "center", "bbox": back, "zorder": 2}
        axes.text(x + 0.06, y - 0.1, text, **style)


def _chart(axes: Any, name: str, values: np.ndarray, *, last: bool) -> None:
    """The values of a parameter, a bar for each channel."""
    axes.bar(np.arange(values.size), values, color="#4527a0", width=0.75)
    axes.axhline(0, color="#868e96", linewidth=0.8)
    axes.margins(x=0.01, y=0.12)
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9, labelpad=4)
    axes.tick_params(labelsize=7, length=2, labelbottom=last)
    axes.locator_params(axis="y", nbins=3)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    if last:
        axes.set_xlabel("channel", fontsize=8, labelpad=1)
