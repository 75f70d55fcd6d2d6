"""fuse: every FRN in an ONNX graph, whoever wrote it, becomes the one node that says so.

    model_io.py     the file becomes an onnx_ir.Model
    functions.py    functions that hold FRN are inlined
    unblock.py      squares come out of ONNX Runtime's blocks
    search.py       the matches: FRN by the algebra of matcher/, and on numbers by probe.py
    rewrite.py      the node takes its place
    transposes/     and leaves no Transpose behind
    residual.py     it takes in the Add and the threshold behind it
    forms.py        the nodes in the form that was asked for

A near miss stays as it is and is reported with its reason (results.py).
"""

from collections.abc import Callable, Iterator
from typing import Any

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import functions, model_io, unblock
from frn_onnx.graph.edit import FreeNames
from frn_onnx.graph.forms import Form, check_form, set_form
from frn_onnx.graph.matcher.anchor import REDUCTIONS
from frn_onnx.graph.matcher.match import Match
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.residual import Taken, take_in
from frn_onnx.graph.results import FusedNode, FuseResult, Made, Skipped, with_residual
from frn_onnx.graph.rewrite import Rewriter
from frn_onnx.graph.search import Search
from frn_onnx.graph.sites import name_of
from frn_onnx.graph.transposes import Layout, arrange
from frn_onnx.graph.transposes.reshapes import as_transposes


def fuse(model: model_io.Source, *, form: Form = "portable") -> FuseResult:
    """Replaces every FRN (+TLU) in a model by the node ``frn_onnx::FilterResponseNormalization``.

        y = max(gamma * x / sqrt(mean(x**2) + epsilon) + beta, tau)

    An FRN without a threshold takes in an Add behind it, and the threshold behind that, as
    ``frn_onnx::ResidualFilterResponseNormalization``.

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
    # Before the form: of primitives no node is left.
    fused, skipped, shapes = _fuse(model, "auto")
    set_form(model, form, shapes)
    return FuseResult(model, fused, skipped)


def fuse_in_place(
    model: ir.Model, layout: Layout = "auto"
) -> tuple[list[FusedNode], list[Skipped]]:
    """Fuses a model in place, to form "custom": nodes with all parameters, no function.

    Args:
        model: the model.
        layout: of the nodes; "auto": the one with the fewest Transposes.
    """
    fused, skipped, _ = _fuse(model, layout)
    return fused, skipped


def _cones(copy: ir.Model) -> Iterator[ir.Node]:
    """The nodes of a copy of a model in whose place FRN comes."""
    trial = Fusion(copy)
    trial.run()
    return (node for made in trial.made for node in made.match.cone)


def _fuse(model: ir.Model, layout: Layout) -> tuple[list[FusedNode], list[Skipped], Shapes]:
    fusion = Fusion(model, layout=layout)
    fusion.run()
    old = {taken.old for taken in fusion.taken}
    there = (m for m in fusion.made if m.node.graph is not None or m.node in old)
    fused = {made.node: made.fused_node() for made in there}
    for taken in fusion.taken:
        fused[taken.old] = with_residual(taken, fused.get(taken.old))
    return list(fused.values()), fusion.skipped(), fusion.search.shapes


class Fusion:
    """One run over a model, in place.

    Args:
        model: the model.
        observe: called for each match with y, before it is replaced, and once more with what
            replaced it.
        layout: of the nodes.

    Attributes:
        search: through the model, with what it knows of its values.
        made: what was found and replaced.
        taken: the nodes among them, and among those that were there, that now have a residual.
        names: that are free in the model.
    """

    def __init__(
        self,
        model: ir.Model,
        observe: Callable[["Fusion", Match, ir.Value], Any] | None = None,
        layout: Layout = "auto",
    ) -> None:
        if names := functions.holding(model, REDUCTIONS):
            holding = {functions.origin(n) for n in _cones(functions.tagged_copy(model, names))}
            functions.inline(model, holding & names)
        if squares := unblock.squares(model):
            copy = model.clone()
            unblock.take_out(copy, squares)
            unblock.take_out(model, {v.name for node in _cones(copy) for v in node.outputs})
        # ONNX Runtime's float16 tool converts initializers without what value_info says of them.
        for value in model.graph.initializers.values():
            if value.const_value is not None and value.dtype != value.const_value.dtype:
                value.type = ir.TensorType(value.const_value.dtype)
        self.model = model
        self._observe = observe
        self._layout = layout
        self.search = Search(model)
        self.made: list[Made] = []
        self.taken: list[Taken] = []
        self.names = FreeNames(model)

    def run(self) -> None:
        """Fuses everything that is found."""
        with as_transposes(self.search.order, self.search.constants, self.search.shapes):
            self._run()

    def _run(self) -> None:
        found, names = self.search, self.names
        rewriter = Rewriter(names, found.shapes, found.order)
        for match in found.matches():
            replaced = tuple(map(name_of, match.cone))
            before = self._observe and self._observe(self, match, match.y)
            node, y = rewriter.apply(match)
            after = self._observe and self._observe(self, match, y)
            self.made.append(Made(match, node, replaced, (before, after)))
        if self.made:
            self.model.opset_imports.setdefault(op.DOMAIN, op.VERSION)
            self._arrange("auto")
        # Where no Transpose is left between an FRN and its Add, but before a layout that is asked
        # for puts one there.
        self.taken = take_in(self.model, found.constants, found.shapes, names)
        if self.made and self._layout != "auto":
            self._arrange(self._layout)

    def _arrange(self, layout: Layout) -> None:
        arrange(self.model, layout, self.search.constants, self.search.shapes, self.names)

    def skipped(self) -> list[Skipped]:
        """The misses that are still there, each once."""
        skipped: dict[str, Skipped] = {}
        for miss in self.search.missed:
            if miss.cone[-1].graph is not None:
                names = tuple(map(name_of, miss.cone))
                skipped.setdefault(names[-1], Skipped(names, miss.reason))
        return list(skipped.values())
