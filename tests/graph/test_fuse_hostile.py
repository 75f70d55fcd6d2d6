"""Graphs made to break the matcher: fuse returns, in bounded time, with the nodes left."""

import time

import numpy as np
import onnx
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Net, Params, op_types
from onnx import TensorProto, helper

from frn_onnx.errors import ModelError
from frn_onnx.graph.fusion import fuse
from frn_onnx.op import OP_TYPE

NCHW = LAYOUTS[0]


def unchecked(graph: Net, *outputs: str, shape=NCHW.dynamic) -> onnx.ModelProto:
    """A model that ONNX's checker need not take."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in outputs]
    body = helper.make_graph(graph.nodes, "net", graph.inputs, values, graph.initializers)
    imports = [helper.make_opsetid("", graph.opset)]
    return helper.make_model(body, opset_imports=imports, ir_version=8)


def assert_left(model: onnx.ModelProto) -> None:
    result = fuse(model, form="custom")
    assert result.fused == []
    assert op_types(result.model) == op_types(model)


def test_a_count_divided_by_zero(graph):
    sizes = graph("Gather", graph("Shape", graph.x), graph.const(np.array([2, 3])))
    pixels = graph("ReduceProd", sizes, keepdims=0)
    count = graph("Cast", graph("Div", pixels, graph.const(np.int64(0))), to=TensorProto.FLOAT)
    total = graph.reduce("ReduceSum", graph.square(), (2, 3))
    graph.nu2 = lambda: graph("Div", total, count)
    assert_left(graph.model(graph.y()))


@pytest.mark.parametrize("axes", [(4,), (2, 9), (-5, 2), (2**62,)])
def test_axes_that_are_not_there(graph, axes):
    graph.nu2 = lambda: graph.reduce("ReduceMean", graph.square(), axes)
    assert_left(unchecked(graph, graph.y()))


@pytest.mark.parametrize(
    ("op_type", "inputs", "attributes"),
    [
        ("Transpose", [], {"perm": [0, 1]}),
        ("Transpose", [], {"perm": [0, 1, 2, 7]}),
        ("Squeeze", [np.array([17])], {}),
        ("Unsqueeze", [np.array([-17])], {}),
        ("Unsqueeze", [np.array([1, 1])], {}),
        ("Flatten", [], {"axis": 9}),
        ("Gather", [np.array(3)], {"axis": 2}),
        ("Gather", [np.array(0)], {"axis": 9}),
        ("Reshape", [np.array([-1, -1, 3, 4])], {}),
        ("Reshape", [np.array([0, 0, 0, 0, 0, 0])], {}),
        ("Reshape", [np.array([2**62, 2**62])], {}),
        ("Reshape", [np.zeros(0, np.int64)], {}),
        ("Expand", [np.array([-3, 5])], {}),
        ("Cast", [], {"to": 99}),
        ("Pow", [np.zeros((0,), np.float32)], {}),
        ("Pow", [np.float32(np.nan)], {}),
        ("Pow", [np.float32(1e30)], {}),
        ("Clip", [np.zeros((0,), np.float32)], {}),
        ("Mul", [np.zeros((3, 0, 1), np.float32)], {}),
        ("Mul", [np.float32(np.inf)], {}),
        ("Div", [np.float32(0)], {}),
        ("Einsum", [np.ones(3, np.float32)], {"equation": "nchw,c"}),
        ("Einsum", [np.ones(3, np.float32)], {"equation": "...c,c->..."}),
        ("Einsum", [np.ones(3, np.float32)], {"equation": ",->"}),
        ("MatMul", [np.ones(3, np.float32)], {}),
    ],
)
@pytest.mark.parametrize("place", ["x", "square", "nu2", "shifted"])
def test_nodes_that_break_their_specification(rng, place, op_type, inputs, attributes):
    graph = Build(NCHW, Params.random(rng))
    constants = [graph.const(array) for array in inputs]
    value = graph.x if place == "x" else getattr(graph, place)()
    broken = graph(op_type, value, *constants, **attributes)
    if place == "x":
        graph.x = broken
    else:
        setattr(graph, place, lambda: broken)
    result = fuse(unchecked(graph, graph.y()), form="custom")
    if place != "x":
        assert result.fused == []


def test_a_threshold_that_is_infinite(graph):
    """All of y is: no number can show that it is FRN, nor need it be."""
    graph.tau = graph.const(np.full((3, 1, 1), np.inf, np.float32))
    result = fuse(unchecked(graph, graph.y()), form="custom")
    assert len(result.fused) == 1
    assert op_types(result.model) == [OP_TYPE, "Max"]
    assert result.skipped == []


def test_strings_and_integers_on_the_way(graph):
    text = graph("Cast", graph.nu2(), to=TensorProto.STRING)
    graph.nu2 = lambda: graph("Cast", text, to=TensorProto.FLOAT)
    assert_left(graph.model(graph.y()))


def test_integers_that_wrap_around(rng):
    """Squares of int8 are cut to 8 bits; so x is not what was squared."""
    graph = Build(NCHW, Params.random(rng))
    graph.inputs.clear()
    pixels = graph.input("pixels", NCHW.dynamic, np.int8)
    graph.x = graph("Cast", pixels, to=TensorProto.FLOAT)
    square = graph("Cast", graph("Mul", pixels, pixels), to=TensorProto.FLOAT)
    graph.square = lambda: square
    assert_left(graph.model(graph.y()))


def test_a_sequence_on_the_way(graph):
    parts = graph("SplitToSequence", graph.nu2(), axis=0)
    first = graph("SequenceAt", parts, graph.const(np.int64(0)))
    graph.nu2 = lambda: first
    assert_left(graph.model(graph.y()))


def test_another_domain_is_not_shape_arithmetic(graph):
    """A Shape of somebody else's, beside FRN by a sum and a count."""
    shape = graph("Shape", graph.x, domain="other")
    sizes = graph("Gather", shape, graph.const(np.array([2, 3])))
    count = graph("Cast", graph("ReduceProd", sizes, keepdims=0), to=TensorProto.FLOAT)
    total = graph.reduce("ReduceSum", graph.square(), (2, 3))
    graph.nu2 = lambda: graph("Div", total, count)
    model = unchecked(graph, graph.y())
    model.opset_import.add(domain="other", version=1)
    assert_left(model)


class TestTime:
    """Walks that revisit what they have seen would take years here."""

    @pytest.fixture(autouse=True)
    def bounded(self):
        start = time.process_time()
        yield
        assert time.process_time() - start < 20

    @pytest.mark.parametrize("op_type", ["Add", "Mul"])
    def test_doubling(self, graph, op_type):
        value = graph.x
        for _ in range(60):
            value = graph(op_type, value, value)
        graph.square = lambda: value
        assert_left(graph.model(graph.y()))

    def test_doubling_of_constants_and_sizes(self, graph):
        size = graph("Gather", graph("Shape", graph.x), graph.const(np.array(2)))
        number = graph.const(np.int64(1))
        for _ in range(60):
            size, number = graph("Mul", size, size), graph("Mul", number, number)
        count = graph("Cast", graph("Mul", size, number), to=TensorProto.FLOAT)
        total = graph.reduce("ReduceSum", graph.square(), (2, 3))
        graph.nu2 = lambda: graph("Div", total, count)
        assert_left(graph.model(graph.y()))

    def test_a_list_that_doubles_is_no_shape(self, graph):
        """Nor is a Range of millions, whose elements ONNX would follow one by one."""
        size = graph("Shape", graph.x)
        for _ in range(22):
            size = graph("Concat", size, size, axis=0)
        start = time.process_time()
        assert len(fuse(unchecked(graph, graph.y(), size)).fused) == 1
        bounds = [graph.const(np.int64(bound)) for bound in (0, 4 << 22, 1)]
        assert len(fuse(unchecked(graph, graph.y(), graph("Range", *bounds))).fused) == 2
        assert time.process_time() - start < 3

    def test_functions_that_double(self, rng):
        """Each calls the one before twice; runtimes write out every call."""
        graph = Build(NCHW, Params.random(rng))
        model = unchecked(graph, graph("f30", graph.y(), domain="local"))
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
        model.opset_import.add(domain="local", version=1)
        for i in range(31):
            calls = [("x", "a"), ("a", "y")]
            op_type, domain = (f"f{i - 1}", "local") if i else ("GlobalAveragePool", "")
            nodes = [helper.make_node(op_type, [a], [b], domain=domain) for a, b in calls]
            model.functions.append(
                helper.make_function("local", f"f{i}", ["x"], ["y"], nodes, imports)
            )
        with pytest.raises(ModelError, match=r"local::f20 is 2097152 nodes .* at most 1048576"):
            fuse(model)
        del model.functions[5:]
        model.graph.node[-1].op_type = "f4"
        assert len(fuse(model).fused) == 1

    def test_diamonds(self, graph):
        value = graph.nu2()
        for _ in range(60):
            value = graph("Add", graph("Identity", value), graph("Neg", graph("Neg", value)))
        graph.nu2 = lambda: value
        fuse(graph.model(graph.y()))

    def test_many_layers_of_one_tensor(self, rng):
        graph = Build(NCHW, Params.random(rng))
        outputs = [graph.y() for _ in range(300)]
        total = outputs[0]
        for output in outputs[1:]:
            total = graph("Add", total, output)
        model = unchecked(graph, total)
        assert len(fuse(model, form="custom").fused) == 300


class TestShapesThatAreNotStated:
    """Shapes are inferred where the file leaves any open, not only at what is averaged."""

    def test_a_node_put_in_before_x(self, graph):
        before = graph.model(graph.y())
        stated = onnx.shape_inference.infer_shapes(before)
        for node in stated.graph.node:
            node.input[:] = ["put_in" if name == "x" else name for name in node.input]
        stated.graph.node.insert(0, helper.make_node("Selu", ["x"], ["put_in"], "selu"))
        assert len(fuse(stated).fused) == 1
