"""A picture of one FRN node: what it is in standard ops, what it is as one node, its parameters."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ModelError, missing_dependency
from frn_onnx.graph import infer, model_io
from frn_onnx.graph.edit import constant
from frn_onnx.graph.forms import set_form
from frn_onnx.graph.fusion import fuse_in_place
from frn_onnx.graph.layered import layered
from frn_onnx.graph.sites import Scope, Site, frn_sites, is_frn, scopes
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


def _panels(model: ir.Model, name: str | None) -> tuple[Site, Panel, Panel]:
    """The FRN node asked for, and what is drawn on the left and on the right."""
    replaced: dict[str, tuple[str, ...]] = {}
    before, after = model.clone(), model
    if frn_sites(model):
        set_form(before, "primitives")
    else:
        replaced = {fused.name: fused.replaced for fused in fuse_in_place(after)[0]}
    set_form(after, "custom")
    sites = frn_sites(after)
    if not sites:
        raise ModelError("the model holds no FRN layer, so there is nothing to draw")
    chosen = [s for s in sites if name in (None, s.label, s.node.name, s.node.outputs[0].name)]
    if not chosen:
        listed = ", ".join(s.label for s in sites)
        raise ArgumentError(f"no FRN node is called {name!r}; expected one of {listed}")
    site = chosen[0]
    scope = next(s for s in scopes(before) if s.where == site.scope.where)
    if site.node.name in replaced:
        names = set(replaced[site.node.name])
        core = [n for n in scope.graph if (n.name or n.outputs[0].name) in names]
    else:
        core = _between(scope, site.node.inputs[0].name, site.node.outputs[0].name)
    return site, _panel(before, scope, core), _panel(after, site.scope, [site.node])


def _between(scope: Scope, x: str, y: str) -> list[ir.Node]:
    """The nodes that compute y from x, in the graph's order."""
    wanted = [node for node in scope.graph if y in [value.name for value in node.outputs]]
    found: set[ir.Node] = set()
    while wanted:
        node = wanted.pop()
        if node.graph is scope.graph and node not in found:
            found.add(node)
            inputs = [value for value in node.inputs if value is not None and value.name != x]
            wanted += [value.producer() for value in inputs if value.producer() is not None]
    return [node for node in scope.graph if node in found and node.op_type != "Constant"]


def _panel(model: ir.Model, scope: Scope, core: Sequence[ir.Node]) -> Panel:
    """The core nodes, and around them what feeds them and what they feed."""
    panel = Panel()
    shapes = infer.value_shapes(model)
    inside = [value for node in core for value in node.outputs]
    feeding = dict.fromkeys(v for node in core for v in node.inputs if v and v not in inside)
    sources = [value for value in feeding if constant(value) is None]
    biggest = max((_elements(shapes.get(v)) for v in (*inside, *sources)), default=0)

    def is_large(value: ir.Value) -> bool:
        return _elements(shapes.get(value)) == biggest

    index: dict[ir.Value, int] = {}

    def add(box: Box, outputs: Sequence[ir.Value] = ()) -> int:
        panel.boxes.append(box)
        index.update(dict.fromkeys(outputs, len(panel.boxes) - 1))
        return len(panel.boxes) - 1

    def join(value: ir.Value, place: int) -> None:
        panel.edges.append((index[value], place, shape_text(shapes.get(value)), is_large(value)))

    for value in sorted(sources, key=lambda value: value.name or ""):
        maker = value.producer()
        title = maker.op_type if maker is not None else "input"
        text = maker.name if maker is not None else value.name
        add(Box(title, _short(text or ""), "around"), [value])
    for node in core:
        touched = (*node.inputs, *node.outputs) if node.op_type != "Shape" else ()
        large = any(is_large(value) for value in touched if value in shapes)
        kind = "frn" if is_frn(node) else "large" if large else "small"
        place = add(Box(_title(node), _detail(scope, node), kind), node.outputs)
        for value in dict.fromkeys(node.inputs):
            if value in index:
                join(value, place)
    for value in inside:
        for user in dict.fromkeys(value.consumers()):
            if user not in core and user.graph is scope.graph:
                join(value, add(Box(user.op_type, _short(user.name or ""), "around")))
    for value in inside:
        if value.is_graph_output():
            join(value, add(Box("output", _short(value.name or ""), "around")))
    return panel


def _elements(shape: Sequence[int | str | None] | None) -> int:
    """How many; open sizes count as 64, so that a plane is larger than a single value."""
    if shape is None:
        return 0
    return int(np.prod([size if isinstance(size, int) else 64 for size in shape]))


def _title(node: ir.Node) -> str:
    return "FRN" if is_frn(node) else node.op_type


def _detail(scope: Scope, node: ir.Node) -> str:
    """What a node is given besides tensors that are computed: constants and axes."""
    if is_frn(node):
        site = Site(node, scope)
        axes, epsilon = site.attributes()
        tlu = "with TLU" if "tau" in site.parameters() else "no threshold"
        return f"{op.layout(axes)}, epsilon {epsilon:.3g}, {tlu}"
    texts = []
    if "axes" in node.attributes:
        texts.append(f"axes {','.join(map(str, node.attributes.get_ints('axes')))}")
    for value in node.inputs:
        tensor = constant(value)
        if tensor is None:
            continue
        values = tensor.numpy().ravel()
        if node.op_type.startswith("Reduce"):
            texts.append(f"axes {','.join(map(str, values))}")
        else:
            texts.append(f"{values[0]:.3g}" if values.size == 1 else _short(value.name or ""))
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
    tensors = [(name, constant(value)) for name, value in site.parameters().items()]
    return [(name, t.numpy().ravel().astype(float)) for name, t in tensors if t is not None]


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
