"""Transposes around fused nodes go where that removes more than it adds, and nothing changes."""

import graph_models
import numpy as np
import onnx
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params, frn_nodes, op_types
from onnx import helper

from frn_onnx import op
from frn_onnx.graph.fusion import fuse

NCHW, NHWC = LAYOUTS[0], LAYOUTS[1]
TO_LAST, TO_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]
FRN = op.OP_TYPE


@pytest.fixture
def graph(rng):
    """NCHW outside; x is the NHWC tensor behind a Transpose, which also something else reads."""
    graph = Build(NHWC, Params.random(rng), static=True)
    graph.inputs.clear()
    graph.outer = graph("Relu", graph.input("outer", NCHW.shape))
    graph.x = graph("Transpose", graph.outer, perm=TO_LAST)
    return graph


def check(model: onnx.ModelProto, left: list[str], axes: list[int], rng) -> None:
    result = fuse(model)
    assert op_types(result.model) == left
    onnx.checker.check_model(result.model, full_check=True)
    for node in frn_nodes(result.model):
        assert helper.get_node_attr_value(node, "axes") == axes
    for output, before in zip(result.model.graph.output, model.graph.output, strict=True):
        assert output.name == before.name
        assert output.type == before.type
    feeds = {"outer": rng.normal(size=NCHW.shape).astype(np.float32)}
    for a, b in zip(
        graph_models.run(model, feeds), graph_models.run(result.model, feeds), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_swish_between_transposes(graph, rng):
    y = graph.affine()
    swish = graph("Mul", y, graph("Sigmoid", y))
    model = graph.model(graph("Relu", graph("Transpose", swish, perm=TO_FIRST)))
    check(model, ["Relu", FRN, "Sigmoid", "Mul", "Relu"], [2, 3], rng)


def test_at_the_graph_output(graph, rng):
    y = graph("Tanh", graph.affine())
    model = graph.model(graph("Transpose", y, perm=TO_FIRST))
    check(model, ["Relu", FRN, "Tanh"], [2, 3], rng)


def test_affine_tlu_moves_its_constants(graph, rng):
    y = graph.affine()
    alpha = graph.const(rng.normal(size=3).astype(np.float32))
    tau = graph.const(rng.normal(size=(1, 1, 1, 3)).astype(np.float32))
    y = graph("Max", y, graph("Add", graph("Mul", alpha, y), tau))
    model = graph.model(graph("Transpose", y, perm=TO_FIRST))
    check(model, ["Relu", FRN, "Mul", "Add", "Max"], [2, 3], rng)


def test_tau_of_the_whole_activation(graph, rng):
    tau = graph.const(rng.normal(size=(5, 4, 3)).astype(np.float32))
    y = graph("Max", graph.affine(), tau)
    model = graph.model(graph("Transpose", y, perm=TO_FIRST))
    check(model, ["Relu", FRN, "Max"], [2, 3], rng)


def test_residual_of_two_transposed_branches(graph, rng):
    other = graph("Transpose", graph("Neg", graph.outer), perm=TO_LAST)
    y = graph("Add", graph("Tanh", graph.affine()), other)
    model = graph.model(graph("Transpose", y, perm=TO_FIRST))
    check(model, ["Relu", "Neg", FRN, "Tanh", "Add"], [2, 3], rng)


def test_two_layers_in_a_row(graph, rng):
    graph.x = graph("Tanh", graph.y())
    y = graph("Tanh", graph.y())
    model = graph.model(graph("Transpose", y, perm=TO_FIRST))
    check(model, ["Relu", FRN, "Tanh", FRN, "Tanh"], [2, 3], rng)


def test_another_perm_behind_is_composed(graph, rng):
    """NHWC to NWHC behind: one Transpose is left of two."""
    y = graph("Tanh", graph.affine())
    model = graph.model(graph("Relu", graph("Transpose", y, perm=[0, 2, 1, 3])))
    check(model, ["Relu", FRN, "Tanh", "Transpose", "Relu"], [2, 3], rng)


def test_concatenation_of_two_layers(graph, rng):
    first = graph("Tanh", graph.affine())
    graph.x = graph("Transpose", graph("Exp", graph.outer), perm=TO_LAST)
    both = graph("Concat", first, graph.y(), axis=-1)
    model = graph.model(graph("Relu", graph("Transpose", both, perm=TO_FIRST)))
    check(model, ["Relu", FRN, "Tanh", "Exp", FRN, "Concat", "Relu"], [2, 3], rng)


def test_sizes_read_in_the_old_layout(graph, rng):
    """tf2onnx reads H and W of an NHWC tensor to cut a transposed convolution to size."""
    y = graph("Tanh", graph.affine())
    sizes = graph("Cast", graph("Shape", y), to=1)
    back = graph("Transpose", y, perm=TO_FIRST)
    model = graph.model(graph("Relu", back), graph("Neg", sizes))
    left = ["Relu", FRN, "Tanh", "Shape", "Gather", "Cast", "Relu", "Neg"]
    check(model, left, [2, 3], rng)


def test_no_gain_is_left_alone(graph, rng):
    """One Transpose in front, a reader in NHWC behind: moving it would only move the node."""
    kernel = graph.const(rng.normal(size=(3, 2)).astype(np.float32))
    model = graph.model(graph("MatMul", graph.affine(), kernel))
    check(model, ["Relu", "Transpose", FRN, "MatMul"], [1, 2], rng)


def test_a_transpose_others_read_is_no_gain(graph, rng):
    """The NHWC input is read elsewhere, and so is the NHWC output."""
    y = graph("Tanh", graph.affine())
    kernel = graph.const(rng.normal(size=(3, 2)).astype(np.float32))
    back = graph("Transpose", y, perm=TO_FIRST)
    model = graph.model(back, graph("MatMul", y, kernel), graph("MatMul", graph.x, kernel))
    left = ["Relu", "Transpose", FRN, "Tanh", "Transpose", "MatMul", "MatMul"]
    assert sorted(op_types(fuse(model).model)) == sorted(left)


def test_both_layouts_are_outputs(graph, rng):
    """Two removed, one added: the NHWC output is transposed at the end."""
    y = graph("Tanh", graph.affine())
    back = graph("Transpose", y, perm=TO_FIRST)
    model = graph.model(graph("Relu", back), y)
    check(model, ["Relu", FRN, "Tanh", "Transpose", "Relu"], [2, 3], rng)


def test_one_channel(rng):
    """A parameter of one value has its shape to say where the channel axis is."""
    graph = Build(NHWC, Params.random(rng, channels=1), static=True)
    graph.inputs.clear()
    graph.outer = graph.input("outer", [2, 1, 5, 4])
    graph.x = graph("Transpose", graph.outer, perm=TO_LAST)
    y = graph("Tanh", graph.affine())
    model = graph.model(graph("Transpose", y, perm=TO_FIRST))
    result = fuse(model)
    assert op_types(result.model) == [FRN, "Tanh"]
    (node,) = frn_nodes(result.model)
    axes = helper.get_node_attr_value(node, "axes")
    shapes = {tensor.name: tuple(tensor.dims) for tensor in result.model.graph.initializer}
    assert [shapes[name] for name in node.input[1:]] == [op.param_shape(axes, 1)] * 2


def test_reported_axes_are_those_of_the_file(graph):
    y = graph("Tanh", graph.affine())
    (fused,) = fuse(graph.model(graph("Transpose", y, perm=TO_FIRST))).fused
    assert fused.layout == "NCHW"


def test_a_layer_that_nothing_uses(graph):
    """It goes with the Transpose behind it, and is not reported."""
    graph.x = graph.y()
    graph("Transpose", graph.y(), perm=TO_FIRST)
    model = graph.model(graph("Transpose", graph.x, perm=TO_FIRST))
    result = fuse(model, form="custom")
    assert op_types(result.model) == ["Relu", FRN]
    assert len(result.fused) == 1
