"""tf2onnx's optimisers on a graph with FRN nodes: Transposes pass through them, or stay out.

tf2onnx puts each Conv between two Transposes, since TensorFlow's tensors are channels last, and
its optimiser moves them down the graph until they meet and vanish. An op that it has no rule
for stops them. FRN can let them pass: its axes are permuted and its parameters reshaped.
"""

import functools
import logging
from collections import OrderedDict

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tf2onnx import optimizer
from tf2onnx.graph import Graph, GraphUtil, Node
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

from frn_onnx import op
from frn_onnx.export.convert import quiet
from frn_onnx.graph.forms import lower_nodes
from frn_onnx.graph.scopes import Scope, is_frn, scopes

_LOGGER = logging.getLogger(__name__)


class FrnTransposeOptimizer(TransposeOptimizer):
    """tf2onnx's, with a rule for FRN: FRN(axes)(Transpose(x)) = Transpose(FRN(axes')(x)).

    Args:
        push_through: whether the rule is applied; without it Transposes stop at FRN nodes.
    """

    def __init__(self, push_through: bool) -> None:
        self._push_through = push_through
        super().__init__()

    def _initialize_handlers(self) -> None:
        super()._initialize_handlers()
        if self._push_through:
            self._handler_map[op.OP_TYPE] = self._frn_handler

    def _frn_handler(self, transpose: Node, frn: Node) -> bool:
        """Returns: whether the graph was changed."""
        perm = transpose.get_attr_value("perm")
        parameters = [name for name in frn.input[1:] if name]
        # The batch must stay in front, and the parameters be there to be reshaped.
        if frn.domain != op.DOMAIN or perm[0] != 0 or frn.input[0] != transpose.output[0]:
            return False
        if not all(frn.graph.is_const(name) for name in parameters):
            return False
        if not self._switch_transpose_and_node(frn, transpose):
            return False
        axes = op.normalize_axes([perm[a] for a in op.normalize_axes(frn.get_attr_value("axes"))])
        frn.set_attr("axes", list(axes))
        inputs = [_reshaped(frn.graph, name, axes) for name in frn.input[1:]]
        frn.graph.replace_inputs(frn, [frn.input[0], *inputs])
        return True

    def _reduce_latest_handler(self, transpose: Node, node: Node) -> bool:
        """tf2onnx's rule for reductions in opset 18, which has none for keepdims=0.

        It is the global pooling at the end of most networks. Reduce(axes)(Transpose(x)) is
        Transpose(Reduce(axes')(x)) with the axes that are left in the order they had.
        """
        keeps = node.get_attr_value("keepdims", 1)
        if keeps or len(node.input) < 2 or not node.inputs[1].is_const():
            return super()._reduce_latest_handler(transpose, node)
        perm = transpose.get_attr_value("perm")
        axes = [perm[axis] for axis in node.inputs[1].get_tensor_value()]
        kept_before = [axis for axis in range(len(perm)) if axis not in axes]
        kept_after = [axis for axis in perm if axis not in axes]
        shape = node.graph.get_shape(node.output[0])
        if not self._switch_transpose_and_node(node, transpose, update_shape=False):
            return False
        constant = node.graph.make_const(
            f"{node.output[0]}__axes", np.array(sorted(axes), dtype=np.int64)
        )
        node.graph.replace_input(node, node.input[1], constant.output[0], 1)
        transpose.set_attr("perm", [kept_before.index(axis) for axis in kept_after])
        if shape is not None:
            node.graph.set_shape(
                node.output[0], [shape[kept_after.index(axis)] for axis in kept_before]
            )
            node.graph.set_shape(transpose.output[0], shape)
        return True


def _reshaped(graph: Graph, name: str, axes: tuple[int, ...]) -> str:
    """A constant of the value of ``name`` in the shape that a parameter has for ``axes``.

    It is a new one: FRN nodes may share a constant, and not all of them are moved.
    """
    if not name:
        return name
    value = graph.get_tensor_value(name, as_list=False)
    shape = op.param_shape(axes, value.size)
    if value.shape == shape:
        return name
    copy = f"{name}__{'x'.join(map(str, shape))}"
    if graph.get_node_by_output(copy) is None:
        graph.make_const(copy, np.reshape(value, shape))
    return copy


def arrange(model: onnx.ModelProto, layout: str) -> onnx.ModelProto:
    """The model after tf2onnx's optimisers, FRN nodes in the layout asked for.

    Args:
        model: with canonical FRN nodes; left as it is.
        layout: ``"NCHW"``, ``"NHWC"``, or ``"auto"`` for the fewest Transposes.
    """
    if layout != "auto":
        model = _to_layout(model, layout)
        # Types and shapes of the values that are new.
        lower_nodes(model, "custom")
        return _optimise(model, push_through=False)
    pushed = _optimise(model, push_through=True)
    # One is what an image in channels last costs. Where there are more, a Transpose that passed
    # an FRN node may have been wanted on several branches behind it.
    if count(pushed) <= 1:
        return pushed
    return min(pushed, _optimise(model, push_through=False), key=count)


def _optimise(model: onnx.ModelProto, *, push_through: bool) -> onnx.ModelProto:
    optimizers = OrderedDict(optimizer._get_optimizers())
    optimizers["optimize_transpose"] = functools.partial(FrnTransposeOptimizer, push_through)

    def run(catch_errors: bool) -> onnx.ModelProto:
        with quiet():
            return GraphUtil.optimize_model_proto(
                model, catch_errors=catch_errors, optimizers=optimizers
            )

    try:
        result = run(catch_errors=False)
    except Exception as error:  # Any of a dozen passes, over any graph.
        _LOGGER.warning("export: an optimiser of tf2onnx failed and is left out: %r", error)
        result = run(catch_errors=True)
    # tf2onnx's shapes of ops that it does not know; lower states them anew.
    del result.graph.value_info[:]
    return result


def count(model: onnx.ModelProto) -> int:
    """Transposes in the model, those in subgraphs included."""
    return sum(node.op_type == "Transpose" for s in scopes(model) for node in s.body.node)


def _to_layout(model: onnx.ModelProto, layout: str) -> onnx.ModelProto:
    """A copy in which every FRN node has the layout, between two Transposes where it had not.

    Args:
        model: with canonical FRN nodes.
        layout: ``"NCHW"``: the channel axis is axis 1; ``"NHWC"``: it is the last.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for scope in scopes(result):
        nodes = list(scope.body.node)
        del scope.body.node[:]
        for node in nodes:
            scope.body.node.extend(_in_layout(node, layout, scope) if is_frn(node) else [node])
    return result


def _in_layout(node: onnx.NodeProto, layout: str, scope: Scope) -> list[onnx.NodeProto]:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    axes = op.normalize_axes(attributes["axes"])
    rank = len(axes) + 2
    channel, wanted = op.channel_axis(axes), {"NCHW": 1, "NHWC": rank - 1}[layout]
    if channel == wanted:
        return [node]
    there = [axis for axis in range(rank) if axis != channel]
    there.insert(wanted, channel)
    back = [there.index(axis) for axis in range(rank)]
    axes = tuple(axis for axis in range(1, rank) if axis != wanted)
    stem = f"{node.output[0]}__{layout}"
    inputs = [f"{stem}_x"]
    for name, role in zip(node.input[1:], op.INPUTS[1:], strict=False):
        inputs.append(name and f"{stem}_{role}")
        if name:
            value = numpy_helper.to_array(scope.constant(name))
            value = value.reshape(op.param_shape(axes, value.size))
            scope.body.initializer.append(numpy_helper.from_array(value, inputs[-1]))
    moved = op.node(inputs, stem, axes=axes, epsilon=attributes["epsilon"], name=node.name)
    return [
        helper.make_node("Transpose", [node.input[0]], [inputs[0]], inputs[0], perm=there),
        moved,
        helper.make_node("Transpose", [stem], list(node.output), f"{stem}_back", perm=back),
    ]
