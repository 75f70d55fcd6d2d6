"""What fuse gives back: the model, what was fused, and what was left."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import protos
from frn_onnx.graph.matcher.match import Match
from frn_onnx.graph.residual import Taken
from frn_onnx.graph.sites import name_of


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
        has_residual: whether a residual is added in the node.
    """

    name: str
    replaced: tuple[str, ...]
    axes: tuple[int, ...]
    channels: int
    epsilon: float
    has_tau: bool
    has_residual: bool = False

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


def reasons(skipped: Sequence[Skipped]) -> str:
    """What was left and why, as it goes on at the end of a message; "" where nothing was."""
    lines = "".join(f"\n  {one.nodes[-1]}: {one.reason}" for one in skipped)
    return lines and f" Left as they are, with the reasons:{lines}"


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

    def fused_node(self) -> FusedNode:
        """What is reported of it."""
        return FusedNode(
            name=self.node.name or "",
            replaced=self.replaced,
            axes=tuple(self.node.attributes["axes"].as_ints()),
            channels=self.match.gamma.size,
            epsilon=float(self.match.epsilon.min()),
            has_tau=self.match.tau is not None,
        )


def with_residual(taken: Taken, before: FusedNode | None) -> FusedNode:
    """What is reported of an FRN that took in an Add, given what was reported before, if it was."""
    axes, epsilon = taken.site.attributes()
    names = tuple(map(name_of, taken.nodes))
    return FusedNode(
        name=taken.site.node.name or "",
        replaced=names if before is None else before.replaced + names[1:],
        axes=axes,
        channels=taken.channels,
        epsilon=epsilon if before is None else before.epsilon,
        has_tau="tau" in taken.site.parameters(),
        has_residual=True,
    )
