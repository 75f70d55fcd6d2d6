"""A picture of one FRN node: what it is in standard ops, what it is as one node, its parameters."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ModelError, missing_dependency
from frn_onnx.graph import infer, model_io, scopes
from frn_onnx.graph.forms import lower_nodes
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.layered import layered
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.scopes import Scope, Site
from frn_onnx.graph.summary import shape_text

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
_LONGEST_TITLE, _LONGEST_TEXT = 13, 20


@dataclass
class Box:
    """A node in the picture: its op, a line of detail, and a key of ``_COLOURS``."""

    title: str
    detail: str
    kind: str


@dataclass
class Panel:
    """Nodes, and edges (from, to, shape of the tensor, whether it is a large one)."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int, str, bool]] = field(default_factory=list)


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
    site, before, after = _panels(model_io.load(model), node)
    left, right = _arrange(before), _arrange(after)
    parameters = _parameters(site)
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


def _panels(model: onnx.ModelProto, name: str | None) -> tuple[Site, Panel, Panel]:
    """The FRN node asked for, and what is drawn on the left and on the right."""
    replaced: dict[str, tuple[str, ...]] = {}
    if scopes.frn_sites(model):
        before = lower(model, "primitives")
        after = model
        lower_nodes(after, "custom")
    else:
        before = model
        result = fuse(model, form="custom")
        after = result.model
        replaced = {fused.name: fused.replaced for fused in result.fused}
    sites = scopes.frn_sites(after)
    if not sites:
        raise ModelError("the model holds no FRN layer, so there is nothing to draw")
    chosen = [s for s in sites if name in (None, s.label, s.node.name, s.node.output[0])]
    if not chosen:
        listed = ", ".join(s.label for s in sites)
        raise ArgumentError(f"no FRN node is called {name!r}; expected one of {listed}")
    site = chosen[0]
    scope = next(s for s in scopes.scopes(before) if s.where == site.scope.where)
    if site.node.name in replaced:
        names = set(replaced[site.node.name])
        core = [n for n in scope.body.node if (n.name or n.output[0]) in names]
    else:
        core = _between(scope, site.node.input[0], site.node.output[0])
    return site, _panel(before, scope, core), _panel(after, site.scope, [site.node])


def _between(scope: Scope, x: str, y: str) -> list[onnx.NodeProto]:
    """The nodes that compute y from x, in the graph's order."""
    wanted, found = [y], set()
    while wanted:
        name = wanted.pop()
        if name != x and name not in found and name in scope.producers:
            found.add(name)
            wanted += scope.producers[name].input
    return [
        node
        for node in scope.body.node
        if node.op_type != "Constant" and found.intersection(node.output)
    ]


def _panel(model: onnx.ModelProto, scope: Scope, core: Sequence[onnx.NodeProto]) -> Panel:
    """The core nodes, and around them what feeds them and what they feed."""
    panel = Panel()
    shapes = infer.value_shapes(model, scope)
    inside = {name: node for node in core for name in node.output}
    feeding = {n for node in core for n in node.input if n and n not in inside}
    sources = [name for name in feeding if scope.constant(name) is None]
    sizes = [_elements(shapes.get(n)) for n in (*inside, *sources)]
    biggest = max(sizes, default=0)

    def is_large(name: str) -> bool:
        return _elements(shapes.get(name)) == biggest

    index: dict[str, int] = {}

    def add(box: Box, outputs: Sequence[str] = ()) -> int:
        panel.boxes.append(box)
        index.update(dict.fromkeys(outputs, len(panel.boxes) - 1))
        return len(panel.boxes) - 1

    for name in sorted(sources):
        maker = scope.producer(name)
        title = maker.op_type if maker is not None else "input"
        add(Box(title, _short(maker.name if maker is not None else name), "around"), [name])
    for node in core:
        touched = (*node.input, *node.output) if node.op_type != "Shape" else ()
        large = any(is_large(name) for name in touched if name in shapes)
        kind = "frn" if scopes.is_frn(node) else "large" if large else "small"
        place = add(Box(_title(node), _detail(scope, node), kind), node.output)
        for name in dict.fromkeys(node.input):
            if name in index:
                edge = (index[name], place, shape_text(shapes.get(name)), is_large(name))
                panel.edges.append(edge)
    outputs = {v if isinstance(v, str) else v.name for v in scope.body.output}
    names = {name for node in core for name in node.output}
    for node in scope.body.node:
        for name in dict.fromkeys(node.input):
            if name in names and not any(node is member for member in core):
                place = add(Box(node.op_type, _short(node.name), "around"))
                text = shape_text(shapes.get(name))
                panel.edges.append((index[name], place, text, is_large(name)))
    for name in sorted(names & outputs):
        place = add(Box("output", _short(name), "around"))
        panel.edges.append((index[name], place, shape_text(shapes.get(name)), is_large(name)))
    return panel


def _elements(shape: Sequence[int | str | None] | None) -> int:
    """How many; open sizes count as 64, so that a plane is larger than a single value."""
    if shape is None:
        return 0
    return int(np.prod([size if isinstance(size, int) else 64 for size in shape]))


def _title(node: onnx.NodeProto) -> str:
    return "FRN" if scopes.is_frn(node) else node.op_type


def _detail(scope: Scope, node: onnx.NodeProto) -> str:
    """What a node is given besides tensors that are computed: constants and axes."""
    if scopes.is_frn(node):
        axes, epsilon = Site(node, scope).attributes()
        tlu = "with TLU" if len(node.input) > 3 and node.input[3] else "no threshold"
        return f"{op.layout(axes)}, epsilon {epsilon:.3g}, {tlu}"
    texts = []
    for attribute in node.attribute:
        if attribute.name == "axes" and attribute.type == AttributeProto.INTS:
            texts.append(f"axes {','.join(map(str, attribute.ints))}")
    for name in node.input:
        tensor = scope.constant(name) if name else None
        if tensor is None:
            continue
        values = numpy_helper.to_array(tensor).ravel()
        if node.op_type.startswith("Reduce"):
            texts.append(f"axes {','.join(map(str, values))}")
        else:
            texts.append(f"{values[0]:.3g}" if values.size == 1 else _short(name))
    return ", ".join(texts)


def _short(name: str) -> str:
    """The end of a long name: its beginning is the path of the layer."""
    return name if len(name) <= _LONGEST_TEXT else "…" + name[1 - _LONGEST_TEXT :]


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


def _parameters(site: Site) -> list[tuple[str, np.ndarray]]:
    """gamma, beta, tau and epsilon, as far as they are constants."""
    given = zip(op.INPUTS[1:], site.node.input[1:], strict=False)
    tensors = [(name, site.scope.constant(value)) for name, value in given if value]
    return [
        (n, numpy_helper.to_array(t).ravel().astype(float)) for n, t in tensors if t is not None
    ]


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
