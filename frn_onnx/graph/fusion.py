"""fuse: every FRN in an ONNX graph, whoever wrote it, becomes the one node that says so.

    matcher/        the proof that a part of the graph is FRN
    rewrite.py      the node takes its place
    transposes.py   and leaves no Transpose behind
    functions.py    FRN in model-local functions

A near miss stays as it is and is reported with its reason.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import functions, model_io, protos
from frn_onnx.graph.edit import FreeNames
from frn_onnx.graph.forms import Form, check_form, set_form
from frn_onnx.graph.matcher.anchor import REDUCTIONS, Anchor, AnchorFinder
from frn_onnx.graph.matcher.constants import Constants, standard_opset
from frn_onnx.graph.matcher.match import Match, Miss, find
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.matcher.trace import Tracer
from frn_onnx.graph.probe import Prober
from frn_onnx.graph.rewrite import Rewriter
from frn_onnx.graph.transposes import cancel_transposes

_UNKNOWN_SHAPE = (
    "not even the rank of its input {!r} is known, nor does shape inference find it; state it in "
    "the file's value_info"
)


@dataclass(frozen=True)
class FusedNode:
    """One FRN that was found.

    Attributes:
        name: of the new node.
        replaced: the names of the nodes it stands for, in the graph's order; a nameless node
            goes by its output's name.
        axes: the spatial axes.
        channels: C.
        epsilon: the attribute; the smallest one where it differs between channels.
        has_tau: whether it has a threshold.
    """

    name: str
    replaced: tuple[str, ...]
    axes: tuple[int, ...]
    channels: int
    epsilon: float
    has_tau: bool

    @property
    def layout(self) -> str:
        """The layout in letters, for example "NCHW"."""
        return op.layout(self.axes)


@dataclass(frozen=True)
class Skipped:
    """What looks like FRN and was left as it is.

    Attributes:
        nodes: their names, in the graph's order; a nameless node goes by its output's name.
        reason: why it is not FRN, or cannot be shown to be.
    """

    nodes: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class FuseResult:
    """A fused model, with what was fused and what was left.

    Attributes:
        graph: the model; its external data are still in their files.
        fused: the nodes that were made.
        skipped: what was left as it is.
    """

    graph: ir.Model
    fused: list[FusedNode]
    skipped: list[Skipped]

    @functools.cached_property
    def model(self) -> onnx.ModelProto:
        """The model as one message, with all weights; external data are read only now."""
        return protos.to_proto(self.graph)


def fuse(model: model_io.Source, *, form: Form = "portable") -> FuseResult:
    """Replaces every FRN (+TLU) in a model by the node ``frn_onnx::FilterResponseNormalization``.

        y = max(gamma * x / sqrt(mean(x**2) + epsilon) + beta, tau)

    The model that is given is not changed.

    Args:
        model: the path of an .onnx file, a ``ModelProto``, or an ``onnx_ir.Model``.
        form: what is written: "portable" (the node, and a function with its body), "custom"
            (the node alone) or "primitives" (standard ops in their cheapest order).

    Returns:
        The new model, the nodes fused, and what looked like FRN and was left, with reasons.

    Raises:
        ModelError: the model cannot be read, or has no valid graph.
        ArgumentError: there is no such form.
    """
    check_form(form)
    return fuse_loaded(model_io.load(model), form)


def fuse_loaded(model: ir.Model, form: Form) -> FuseResult:
    """:func:`fuse` for a model that it changes."""
    fused, skipped = fuse_in_place(model)
    set_form(model, form)
    return FuseResult(model, fused, skipped)


def fuse_in_place(model: ir.Model) -> tuple[list[FusedNode], list[Skipped]]:
    """Fuses a model in place, to form "custom": nodes with all parameters, no function."""
    fusion = Fusion(model)
    fusion.run()
    return fusion.fused(), fusion.skipped()


@dataclass(frozen=True)
class Made:
    """A match and what came of it.

    Attributes:
        match: the match.
        node: the FRN node in its place.
        replaced: names of the nodes it stands for.
        observed: what ``observe`` returned before and after.
    """

    match: Match
    node: ir.Node
    replaced: tuple[str, ...]
    observed: tuple[Any, Any]


class Fusion:
    """One run over a model, in place.

    Args:
        model: the model.
        observe: called for each match with y, before it is replaced, and once more with what
            replaced it.

    Attributes:
        made: what was found and replaced.
        order: the place of each node in the graph's order.
    """

    def __init__(
        self,
        model: ir.Model,
        observe: Callable[["Fusion", Match, ir.Value], Any] | None = None,
    ) -> None:
        if names := functions.holding(model, REDUCTIONS):
            trial = Fusion(functions.tagged_copy(model, names))
            trial.run()
            holding = {functions.origin(node) for made in trial.made for node in made.match.cone}
            functions.inline(model, holding & names)
        # ONNX Runtime's float16 tool converts initializers without what value_info says of them.
        for value in model.graph.initializers.values():
            if value.const_value is not None and value.dtype != value.const_value.dtype:
                value.type = ir.TensorType(value.const_value.dtype)
        self.model = model
        self._observe = observe
        nodes = list(model.graph.all_nodes())
        self.order = {node: place for place, node in enumerate(nodes)}
        self._reductions = [
            n for n in nodes if n.op_type in REDUCTIONS and n.domain == "" and n.inputs[0]
        ]
        self.constants = Constants(model)
        self.shapes = Shapes(model, [node.inputs[0] for node in self._reductions])
        self._missed: list[Miss] = []
        self.made: list[Made] = []

    def run(self) -> None:
        """Fuses everything that is found."""
        finder = AnchorFinder(self.constants, self.shapes)
        tracer = Tracer(self.constants, self.shapes, self.order)
        names = FreeNames(self.model)
        rewriter = Rewriter(names, self.shapes, self.order)
        opset = standard_opset(self.model.opset_imports)
        prober = Prober(self.constants, self.shapes, self.order, opset)
        searched: set[tuple[ir.Value, int | None]] = set()
        for node in self._reductions:
            if node.graph is None or (anchor := finder.anchor(node)) is None:
                continue
            for root in anchor.roots:
                frame = tracer.frame(anchor, root)
                if frame is None or (root, frame.channel) in searched:
                    continue
                searched.add((root, frame.channel))
                found = find(tracer.trace(frame, root), self.constants, self.shapes, self.order)
                found = [prober.tried(one) if isinstance(one, Match) else one for one in found]
                matches = [match for match in found if isinstance(match, Match)]
                self._missed += [miss for miss in found if isinstance(miss, Miss)]
                for match in matches:
                    self._apply(rewriter, match)
                if matches:
                    break
            self._suppose_ranks(anchor, tracer)
        if self.made:
            self.model.opset_imports.setdefault(op.DOMAIN, op.VERSION)
            new_nodes = [made.node for made in self.made]
            cancel_transposes(self.model, new_nodes, self.constants, self.shapes, names)

    def _suppose_ranks(self, anchor: Anchor, tracer: Tracer) -> None:
        """Reports what would be FRN if only the shape of x were known."""
        root = anchor.roots[0]
        if self.shapes.of(root) is not None:
            return
        for rank in op.RANKS:
            if (frame := tracer.frame(anchor, root, rank)) is None:
                continue
            trace = tracer.trace(frame, root)
            for one in find(trace, self.constants, self.shapes, self.order):
                form = trace.form(one.cone[-1].outputs[0])
                if form is not None and form.flaw is None:
                    self._missed.append(Miss(one.cone, _UNKNOWN_SHAPE.format(root.name)))
                    return

    def _apply(self, rewriter: Rewriter, match: Match) -> None:
        replaced = tuple(map(_name, match.cone))
        before = self._observe and self._observe(self, match, match.y)
        node, y = rewriter.apply(match)
        after = self._observe and self._observe(self, match, y)
        self.made.append(Made(match, node, replaced, (before, after)))

    def fused(self) -> list[FusedNode]:
        """The nodes that were made and that something needs."""
        return [
            FusedNode(
                name=made.node.name,
                replaced=made.replaced,
                axes=tuple(made.node.attributes["axes"].as_ints()),
                channels=made.match.gamma.size,
                epsilon=float(made.match.epsilon.min()),
                has_tau=made.match.tau is not None,
            )
            for made in self.made
            if made.node.graph is not None
        ]

    def skipped(self) -> list[Skipped]:
        """The misses that are still there, each once."""
        skipped: dict[tuple[str, ...], Skipped] = {}
        for miss in self._missed:
            if miss.cone[-1].graph is not None:
                names = tuple(map(_name, miss.cone))
                skipped.setdefault((names[-1],), Skipped(names, miss.reason))
        return list(skipped.values())


def _name(node: ir.Node) -> str:
    return node.name or node.outputs[0].name or node.op_type
