"""What a picture of an FRN node shows: it in standard ops, it as one node, and its parameters."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import infer
from frn_onnx.graph.edit import constant
from frn_onnx.graph.forms import set_form
from frn_onnx.graph.fusion import fuse_in_place
from frn_onnx.graph.sites import Scope, Site, frn_sites, scopes
from frn_onnx.graph.summary import shape_text

_LONGEST_TEXT = 20


@dataclass
class Box:
    """A node in the picture: its op, a line of detail, and what kind it is."""

    title: str
    detail: str
    kind: str


@dataclass
class Panel:
    """Nodes, and edges (from, to, shape of the tensor, whether it is a large one)."""

    boxes: list[Box] = field(default_factory=list)
    edges: list[tuple[int, int, str, bool]] = field(default_factory=list)


def panels(model: ir.Model, name: str | None) -> tuple[Site, Panel, Panel]:
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
        given = site.node.inputs[: op.first_parameter(site.node.op_type)]
        core = _between(scope, {value.name for value in given}, site.node.outputs[0].name)
    return site, _panel(before, scope, core), _panel(after, site.scope, [site.node])


def _between(scope: Scope, given: Collection[str], y: str) -> list[ir.Node]:
    """The nodes that compute y from tensors that are given, in the graph's order."""
    wanted = [node for node in scope.graph if y in [value.name for value in node.outputs]]
    found: set[ir.Node] = set()
    while wanted:
        node = wanted.pop()
        if node.graph is scope.graph and node not in found:
            found.add(node)
            inputs = [v for v in node.inputs if v is not None and v.name not in given]
            wanted += [value.producer() for value in inputs if value.producer() is not None]
    return [node for node in scope.graph if node in found and node.op_type != "Constant"]


def _panel(model: ir.Model, scope: Scope, core: Sequence[ir.Node]) -> Panel:
    """The core nodes, and around them what feeds them and what they feed."""
    panel = Panel()
    shapes = {value: known.dims for value, known in infer.types(model).items()}
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
        kind = "frn" if op.is_frn(node) else "large" if large else "small"
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
    if not op.is_frn(node):
        return node.op_type
    return "FRN + residual" if node.op_type == op.RESIDUAL_OP_TYPE else "FRN"


def _detail(scope: Scope, node: ir.Node) -> str:
    """What a node is given besides tensors that are computed: constants and axes."""
    if op.is_frn(node):
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


def parameters(site: Site) -> list[tuple[str, np.ndarray]]:
    """gamma, beta, tau and epsilon, as far as they are constants."""
    tensors = [(name, constant(value)) for name, value in site.parameters().items()]
    return [(name, t.numpy().ravel().astype(float)) for name, t in tensors if t is not None]
