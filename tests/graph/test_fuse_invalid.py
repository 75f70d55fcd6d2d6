"""Nodes that no runtime would take: fuse leaves them, and what is around them, as they are."""

import numpy as np
import onnx
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS
from onnx import TensorProto, helper, parser

from frn_onnx.graph.fusion import fuse

NCHW = LAYOUTS[0]


def assert_left(graph: Build, y: str) -> None:
    made = [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)]
    net = helper.make_graph(graph.nodes, "net", graph.inputs, made, graph.initializers)
    model = helper.make_model(net, opset_imports=[helper.make_opsetid("", graph.opset)])
    result = fuse(model, form="custom")
    assert result.fused == []
    assert [n.op_type for n in result.model.graph.node] == [n.op_type for n in graph.nodes]


def test_axis_named_twice(graph):
    mean = graph.reduce("ReduceMean", graph.square(), (2, 3), keepdims=0)
    nu2 = graph("Unsqueeze", mean, graph.const(np.array([2, 2])))
    graph.nu2 = lambda: nu2
    assert_left(graph, graph.y())


def test_transpose_of_another_rank(graph):
    inverse = graph("Transpose", graph.inverse(), perm=[0, 1, 2, 3, 4])
    graph.inverse = lambda: inverse
    assert_left(graph, graph.y())


@pytest.mark.parametrize("source", ["x", "other"])
def test_size_of_an_axis_that_is_not_there(graph, source):
    if source == "other":
        graph.input("other", NCHW.dynamic)
    size = graph("Gather", graph("Shape", source), graph.const(np.array([2, 9])))
    sum_ = graph.reduce("ReduceSum", graph.square(), (2, 3))
    count = graph("Cast", graph("ReduceProd", size, keepdims=0), to=TensorProto.FLOAT)
    graph.nu2 = lambda: graph("Div", sum_, count)
    assert_left(graph, graph.y())


@pytest.mark.parametrize("keepdims", [-1, 7])
def test_keepdims_that_is_no_boolean(graph, keepdims):
    """Runtimes differ on what it means."""
    graph.nu2 = lambda: graph.reduce("ReduceMean", graph.square(), (2, 3), keepdims=keepdims)
    assert_left(graph, graph.y())


@pytest.mark.parametrize("value", [2, 1.5, "2"])
def test_attribute_of_an_older_opset_with_another_type(graph, value):
    """From opset 18 on the axes of ReduceMean are an input."""
    graph.nu2 = lambda: graph("ReduceMean", graph.square(), axes=value)
    assert_left(graph, graph.y())


def test_broadcast_of_the_first_opsets():
    """Up to opset 6 an attribute says which axes meet: here gamma is along C, not along W."""
    model = parser.parse_model(
        """
        <ir_version: 3, opset_import: ["": 6]>
        net (float[2,3,5,3] x, float[3] gamma, float[1] epsilon) => (float[2,3,5,3] y)
        <float[3] gamma = {1, 2, 3}, float[1] epsilon = {0.1}>
        {
          square = Mul (x, x)
          nu2 = ReduceMean <axes = [1, 2]> (square)
          shifted = Add <broadcast = 1> (nu2, epsilon)
          root = Sqrt (shifted)
          normal = Div <broadcast = 1> (x, root)
          y = Mul <broadcast = 1, axis = 1> (normal, gamma)
        }
        """
    )
    onnx.checker.check_model(model)
    assert fuse(model, form="custom").fused == []
