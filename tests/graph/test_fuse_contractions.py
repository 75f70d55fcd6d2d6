"""The mean square as a contraction: Einsum, and MatMul of every plane with itself."""

import graph_models
import numpy as np
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params, assert_fused, data, op_types

from frn_onnx.graph.fusion import fuse

NCHW, NHWC, NCW = LAYOUTS[0], LAYOUTS[1], LAYOUTS[2]


def static(rng, layout) -> Build:
    return Build(layout, Params.random(rng), static=True)


def pixels(graph: Build) -> str:
    return graph.scalar(np.prod([graph.layout.shape[a] for a in graph.layout.axes]))


@pytest.mark.parametrize(
    ("layout", "equation"),
    [(NCHW, "nchw,nchw->nc"), (NHWC, "nhwc, nhwc -> nc"), (NCW, "abc,abc->ab")],
)
def test_einsum_of_squares(rng, layout, equation):
    graph = static(rng, layout)
    total = graph("Einsum", graph.x, graph.x, equation=equation)
    mean = graph("Div", total, pixels(graph))
    graph.nu2 = lambda: graph("Unsqueeze", mean, graph.const(np.array(layout.axes)))
    assert_fused(graph.model(graph.y()), data(rng, layout), graph.params, layout)


def test_einsum_of_a_moved_operand(rng):
    graph = static(rng, NCHW)
    last = graph("Transpose", graph.x, perm=[0, 2, 3, 1])
    total = graph("Einsum", last, graph.x, equation="nhwc,nchw->cn")
    mean = graph("Div", graph("Transpose", total), pixels(graph))
    graph.nu2 = lambda: graph("Unsqueeze", mean, graph.const(np.array([2, 3])))
    assert_fused(graph.model(graph.y()), data(rng, NCHW), graph.params, NCHW)


def test_einsum_scales(rng):
    """gamma and the inverse root by Einsum as well; the layer is 8 nodes."""
    graph = static(rng, NCHW)
    inverse = graph("Squeeze", graph.inverse(), graph.const(np.array([2, 3])))
    graph.normal = lambda: graph("Einsum", graph.x, inverse, equation="nchw,nc->nchw")
    gamma = graph.const(graph.params.gamma)
    scaled = graph("Einsum", gamma, graph.normal(), equation="c,nchw->nchw")
    graph.affine = lambda: graph("Add", scaled, graph.beta)
    assert_fused(graph.model(graph.y()), data(rng, NCHW), graph.params, NCHW)


@pytest.mark.parametrize("open_batch", [True, False])
def test_batched_matmul(rng, open_batch):
    graph = static(rng, NCHW)
    batch, channels, height, width = NCHW.shape
    planes = -1 if open_batch else batch * channels
    row = graph("Reshape", graph.x, graph.const(np.array([planes, 1, height * width])))
    column = graph("Reshape", graph.x, graph.const(np.array([planes, height * width, 1])))
    mean = graph("Div", graph("MatMul", row, column), pixels(graph))
    graph.nu2 = lambda: graph("Reshape", mean, graph.const(np.array([-1, channels, 1, 1])))
    assert_fused(graph.model(graph.y()), data(rng, NCHW), graph.params, NCHW)


@pytest.mark.parametrize(
    "equation",
    ["nchw,ncij->nc", "nchw,nchw->c", "nchw,nchw->n", "nchw,nchw->nch", "nchw,ncwh->nc"],
)
def test_other_contractions(rng, equation):
    """Products of different elements, and sums over other axes, are not the mean square."""
    graph = Build(NCHW, Params.random(rng))
    graph.inputs.clear()
    graph.input("x", [2, 3, 4, 4])
    total = graph("Einsum", graph.x, graph.x, equation=equation)
    shape = [2, 3, 1, 1] if equation.endswith("nc") else [-1, 3, 1, 1]
    shape = [-1, 1, 1, 1] if equation.endswith("->n") else shape
    shape = [2, 3, 4, 1] if equation.endswith("nch") else shape
    nu2 = graph("Reshape", graph("Div", total, graph.scalar(16)), graph.const(np.array(shape)))
    graph.nu2 = lambda: nu2
    model = graph.model(graph.y())
    assert fuse(model).fused == []


def test_a_product_of_vectors_is_no_anchor(rng):
    graph = Build(NCW, Params.random(rng))
    vector = graph("ReduceSum", graph.x, graph.const(np.array([1, 2])), keepdims=0)
    result = fuse(graph.model(graph("Add", graph.x, graph("MatMul", vector, vector))))
    assert (result.fused, result.skipped) == ([], [])


def test_layers_with_weights_are_no_anchors(rng):
    """A product with a weight, and one of two heads, stay as they are, without a word."""
    graph = Build(NCW, Params.random(rng))
    weight = graph.const(rng.normal(size=(4, 4)).astype(np.float32))
    graph.inputs.clear()
    graph.input("x", [2, 3, 4])
    dense = graph("MatMul", graph.x, weight)
    turned = graph("Transpose", dense, perm=[0, 2, 1])
    model = graph.model(graph("MatMul", graph("MatMul", dense, turned), graph.x))
    result = fuse(model)
    assert (result.fused, result.skipped) == ([], [])


class TestMagnitude:
    @pytest.mark.parametrize("square", ["Mul", "Pow"])
    def test_of_x(self, graph, rng, square):
        def squared():
            magnitude = graph("Abs", graph("Mul", graph.x, graph.scalar(-2)))
            again = magnitude if square == "Mul" else graph.scalar(2)
            return graph("Div", graph(square, magnitude, again), graph.scalar(4))

        graph.square = squared
        assert_fused(graph.model(graph.y()), data(rng, NCHW), graph.params, NCHW)

    def test_is_not_x(self, graph):
        magnitude = graph("Abs", graph.x)
        graph.square = lambda: graph("Mul", graph.x, magnitude)
        assert fuse(graph.model(graph.y())).fused == []

    def test_normalised(self, graph):
        magnitude = graph("Abs", graph.x)
        graph.normal = lambda: graph("Mul", magnitude, graph.inverse())
        result = fuse(graph.model(graph.y()))
        assert [s.reason for s in result.skipped] == ["it normalises |x|, not x"]
        assert result.fused == []

    def test_mean(self, graph):
        graph.square = lambda: graph("Abs", graph.x)
        (skipped,) = fuse(graph.model(graph.y())).skipped
        assert skipped.reason == "it normalises by the mean of |x|, not of x**2"

    def test_of_the_sum_of_both_is_no_square(self, graph):
        """x + |x| is 2 relu(x)."""
        both = graph("Add", graph.x, graph("Abs", graph.x))
        graph.square = lambda: graph("Mul", both, both)
        model = graph.model(graph.y())
        assert "FilterResponseNormalization" not in op_types(fuse(model, form="custom").model)
        x = data(np.random.default_rng(0), NCHW)
        after = graph_models.run(fuse(model).model, {"x": x})
        np.testing.assert_array_equal(graph_models.run(model, {"x": x}), after)
