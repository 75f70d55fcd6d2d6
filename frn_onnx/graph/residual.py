"""The end of a residual block: FRN, the Add behind it, and the threshold behind that, as one node.

    y = max(FRN(x) + residual, tau)

An FRN without a threshold takes in the Add that alone reads it, and the Max, Relu or Clip that
alone reads the sum. Of two FRN that are added, the later one takes the other as its residual.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import optional_inputs, sites
from frn_onnx.graph.edit import (
    FreeNames,
    add_initializer,
    move_descriptions,
    remove_unused,
    take_over,
)
from frn_onnx.graph.evaluator import in_float64
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.rules import evaluate
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.matcher.values import Context, Known
from frn_onnx.graph.standard import BROADCASTING_OPSET, is_standard

logger = logging.getLogger("frn_onnx.graph")


_ADDITIONS = ("Add", "Sum")
_THRESHOLDS = ("Clip", "Max", "Relu")


@dataclass(frozen=True)
class Taken:
    """What became one node.

    Attributes:
        old: the FRN node that was there.
        site: of the node that took its name.
        nodes: the old one and those that went with it, in the graph's order.
        channels: C.
    """

    old: ir.Node
    site: sites.Site
    nodes: tuple[ir.Node, ...]
    channels: int


@dataclass(frozen=True)
class _Block:
    """FRN -> addition [-> threshold].

    Attributes:
        channels: C.
        after: the nodes behind FRN.
        tau: one value, or one for each channel; None: no threshold.
    """

    site: sites.Site
    residual: ir.Value
    channels: int
    after: tuple[ir.Node, ...]
    tau: np.ndarray | None

    @property
    def last(self) -> ir.Node:
        return self.after[-1]


def take_in(model: ir.Model, constants: Constants, shapes: Shapes, names: FreeNames) -> list[Taken]:
    """Puts the op with a residual where FRN, Add and perhaps a threshold are, in place.

    Args:
        model: the model.
        constants, names: of the model.
        shapes: of its values; inferred anew where they do not tell.
    """
    taken: list[Taken] = []
    if sites.opset(model) < BROADCASTING_OPSET:
        return taken
    for site in reversed(sites.frn_sites(model)):
        addition = _only_user(site.node.outputs[0], _ADDITIONS)
        if site.node.op_type != op.OP_TYPE or addition is None or len(addition.inputs) != 2:
            continue
        if not shapes.is_inferred and shapes.of(site.node.outputs[0]) is None:
            shapes = Shapes(model)
        block = _block(site, addition, constants, shapes)
        if block is not None and _holds(block, sites.opset(model), constants):
            taken.append(_replace(block, shapes, names))
    return taken


def _only_user(value: ir.Value, op_types: Sequence[str]) -> ir.Node | None:
    """The node that alone reads a value, where it is of these types and in the same graph."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        return None
    ((user, _),) = uses
    fits = is_standard(user, *op_types) and user.graph is value.producer().graph
    return user if fits else None


def _block(
    site: sites.Site, addition: ir.Node, constants: Constants, shapes: Shapes
) -> _Block | None:
    """The end of a residual block, if it is one that the op can compute."""
    y = site.node.outputs[0]
    (residual,) = [value for value in addition.inputs if value is not y] or [None]
    if optional_inputs.has_threshold(site):
        return None
    if residual is None or constants.get(residual) is not None:
        return None
    dims = shapes.of(y)
    # Nothing may be broadcast, whatever the sizes turn out to be.
    if dims is None or None in dims or dims != shapes.of(residual):
        return None
    if shapes.dtype(residual) != shapes.dtype(y) or shapes.dtype(y) is None:
        return None
    (channels, *_) = shapes.of(site.parameters()["gamma"]) or [None]
    if not isinstance(channels, int):
        return None
    axes, _ = site.attributes()
    frame = Frame(dims, op.channel_axis(axes)).with_channels(channels)
    total = addition.outputs[0]
    threshold = _only_user(total, _THRESHOLDS)
    tau = None if threshold is None else _tau(total, threshold, frame, constants, shapes)
    after = (addition,) if tau is None else (addition, threshold)
    return _Block(site, residual, channels, after, tau)


def _tau(
    total: ir.Value, threshold: ir.Node, frame: Frame, constants: Constants, shapes: Shapes
) -> np.ndarray | None:
    """What a node bounds a sum from below by, in the matcher's algebra; None: something else."""
    form = Form(axes=frame.full, scale=np.ones(()), x_power=1)
    args: list[Known | None] = [
        form if value is total else constants.get(value) for value in threshold.inputs
    ]
    bounded = evaluate(Context(frame, constants, shapes), threshold, args)
    if not isinstance(bounded, Form) or not frame.same(bounded.axes, frame.full):
        return None
    return bounded.threshold


def _replace(block: _Block, shapes: Shapes, names: FreeNames) -> Taken:
    frn, y = block.site.node, block.last.outputs[0]
    x, gamma, beta, *rest = frn.inputs
    epsilon = rest[1:2]
    tau = [None] if block.tau is None else [_tau_value(block, gamma, shapes, names)]
    if not epsilon and block.tau is None:
        tau = []
    node = ir.node(
        op.RESIDUAL_OP_TYPE,
        [x, block.residual, gamma, beta, *tau, *epsilon],
        {name: frn.attributes[name] for name in ("axes", "epsilon") if name in frn.attributes},
        domain=op.DOMAIN,
        name=frn.name,
    )
    move_descriptions(frn, node)
    frn.graph.insert_before(block.last, node)
    shapes.replaced(y, node.outputs[0])
    take_over(y, node.outputs[0])
    nodes = (frn, *block.after)
    bounds = [value for threshold in block.after[1:] for value in threshold.inputs]
    for old in reversed(nodes):
        old.graph.remove(old, safe=True)
    for value in (*bounds, *rest[:1]):
        if value is not None:
            remove_unused(value)
    return Taken(frn, sites.Site(node, block.site.scope), nodes, block.channels)


def _tau_value(block: _Block, gamma: ir.Value, shapes: Shapes, names: FreeNames) -> ir.Value:
    """tau as a parameter of the node, of the type of gamma, or of x where that loses digits."""
    axes, _ = block.site.attributes()
    frn, dtype = block.site.node, shapes.dtype(gamma)
    if not np.array_equal(block.tau.astype(dtype.numpy()), block.tau):
        dtype = shapes.dtype(frn.outputs[0])
    array = np.resize(block.tau.astype(dtype.numpy()), op.param_shape(axes, block.channels))
    return add_initializer(frn.graph, names.free(f"{frn.name or 'frn'}/tau"), array)


def _holds(block: _Block, opset: int, constants: Constants) -> bool:
    """Whether the nodes compute max(v + residual, tau) on numbers, as the op does."""
    axes, _ = block.site.attributes()
    channel, rank = op.channel_axis(axes), len(axes) + 2
    shape = [2] * rank
    shape[channel] = block.channels
    v, residual = np.random.default_rng(0).normal(0, 3, (2, *shape))
    expected = v + residual
    if block.tau is not None:
        tau = np.resize(block.tau, op.param_shape(axes, block.channels))
        expected = np.maximum(expected, tau.astype(np.float64))
    feeds = {block.site.node.outputs[0]: v, block.residual: residual}
    for value in block.last.inputs:
        if (array := constants.get(value)) is not None:
            feeds[value] = array.astype(np.float64)
    try:
        y = in_float64(block.after, tuple(feeds), block.last.outputs, opset).run(feeds.values())[0]
    except Exception as error:  # the evaluator's errors share no base class
        logger.debug("%s could not be tried on numbers: %s", block.site.label, error)
        return False
    if y.shape == expected.shape and np.allclose(y, expected, rtol=1e-5, atol=1e-5):
        return True
    logger.error(
        "a fault of the matcher, please report it: what ends at %s was taken for FRN with a "
        "residual, and computes something else. It is left as it is",
        sites.Site(block.last, block.site.scope).label,
    )
    return False
