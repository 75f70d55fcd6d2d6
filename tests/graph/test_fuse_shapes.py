"""What is proved of sizes, and of axes that move: shape arithmetic, Reshape, Expand, constants."""

import tracemalloc

import graph_models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Net, assert_fused, data, op_types
from onnx import TensorProto, helper

from frn_onnx import op
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.matcher.shapes import Shapes

NCHW, NHWC = LAYOUTS[0], LAYOUTS[1]
FRN = op.OP_TYPE


def assert_same(model: onnx.ModelProto, **feeds: np.ndarray) -> list[str]:
    """The fused model computes the same; returns its ops."""
    result = fuse(model, form="custom")
    before = graph_models.run(model, feeds)
    after = graph_models.run(fuse(model).model, feeds)
    for a, b in zip(before, after, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5)
    return op_types(result.model)


def count(graph: Build) -> str:
    """H * W, an integer."""
    sizes = graph("Gather", graph("Shape", graph.x), graph.const(np.array([2, 3])))
    return graph("ReduceProd", sizes, keepdims=0)


def as_float(graph: Build, x: str) -> str:
    return graph("Cast", x, to=TensorProto.FLOAT)


class TestCount:
    """A sum of squares divided by something that is only sometimes H * W."""

    def check(self, graph, rng, divisor: str) -> None:
        sum_ = graph.reduce("ReduceSum", graph.square(), (2, 3))
        graph.nu2 = lambda: graph("Div", sum_, divisor)
        assert FRN not in assert_same(graph.model(graph.y()), x=data(rng, NCHW))

    def test_clipped(self, graph, rng):
        limit = graph.const(np.float32(6))
        self.check(graph, rng, graph("Clip", as_float(graph, count(graph)), "", limit))

    def test_integers_divide_with_a_remainder(self, graph, rng):
        three = graph.const(np.array(3))
        self.check(
            graph, rng, as_float(graph, graph("Mul", graph("Div", count(graph), three), three))
        )

    def test_negative_integers_divide_with_a_remainder(self, graph, rng):
        three = graph.const(np.array(-3))
        cut = graph("Div", graph("Neg", count(graph)), three)
        self.check(graph, rng, as_float(graph, graph("Mul", cut, graph.const(np.array(3)))))

    def test_cast_to_integer_cuts(self, graph, rng):
        third = graph("Div", as_float(graph, count(graph)), graph.scalar(3))
        cut = as_float(graph, graph("Cast", third, to=TensorProto.INT64))
        self.check(graph, rng, graph("Mul", cut, graph.scalar(3)))

    def test_ratio_of_sizes_is_a_number(self, graph, rng):
        """H * W / (2 * H * W) is a half, and no integer."""
        twice = graph("Mul", as_float(graph, count(graph)), graph.scalar(2))
        half = graph("Div", as_float(graph, count(graph)), twice)
        model = graph.model(graph("Add", graph.normal(), half))
        assert assert_same(model, x=data(rng, NCHW)) == [FRN]

    def test_of_a_higher_rank_than_x(self, graph, rng):
        """Then nu2 and y have rank 5, too."""
        divisor = as_float(graph, count(graph))
        for axis in range(5):
            divisor = graph("Unsqueeze", divisor, graph.const(np.array([axis])))
        self.check(graph, rng, divisor)


class TestConstants:
    def test_sum_of_two_made_from_the_shape(self, graph, rng):
        half = graph(
            "ConstantOfShape", graph("Shape", graph.x), value=helper.make_tensor("", 1, [1], [0.5])
        )
        beta = graph("Add", half, graph.scalar(0.25))
        model = graph.model(graph("Add", graph.normal(), beta))
        assert FRN in assert_same(model, x=data(rng, NCHW))

    @pytest.mark.parametrize("base", ["x", "shifted"])
    def test_exponent_of_a_higher_rank(self, graph, rng, base):
        """x ** [[[[[2]]]]] has rank 5: axes 2 and 3 are C and H then."""
        graph.inputs.clear()
        graph.input("x", [2, 3, 3, 3])
        rank_5 = np.ones((1,) * 5, np.float32)
        if base == "x":
            graph.square = lambda: graph("Pow", graph.x, graph.const(2 * rank_5))
        else:
            shifted = graph.shifted()
            graph.inverse = lambda: graph("Pow", shifted, graph.const(-0.5 * rank_5))
        x = rng.normal(size=(2, 3, 3, 3)).astype(np.float32)
        assert FRN not in assert_same(graph.model(graph.y()), x=x)

    @pytest.mark.parametrize("made", ["ConstantOfShape", "Expand", "Tile", "Sub"])
    def test_masks_are_not_computed(self, graph, rng, made):
        """A few numbers that make a gigabyte, added to x: nothing that is a parameter."""
        line = graph.const(np.arange(16000, dtype=np.float32).reshape(16000, 1))
        shape = graph.const(np.array([1, 1, 16000, 16000]))
        mask = {
            "ConstantOfShape": lambda: graph("ConstantOfShape", shape),
            "Expand": lambda: graph("Expand", graph.scalar(0), shape),
            "Tile": lambda: graph("Tile", line, graph.const(np.array([1, 16000]))),
            "Sub": lambda: graph("Sub", line, graph("Transpose", line, perm=[1, 0])),
        }[made]()
        graph.x = graph("Add", graph.x, mask)
        model = graph.model(graph.y())
        tracemalloc.start()
        result = fuse(model, form="custom")
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert op_types(result.model)[-2:] == ["Add", FRN]
        assert peak_bytes < 16e6


class TestExpand:
    def test_to_a_shape_that_is_not_known(self, graph, rng):
        """It does nothing where that is x's, and repeats y where H and W are 1."""
        shape = graph("Shape", graph.input("other", ["A", "B", "E", "F"]))
        model = graph.model(graph("Expand", graph.y(), shape))
        x = rng.normal(size=(2, 3, 1, 1)).astype(np.float32)
        other = np.zeros((2, 3, 4, 5), np.float32)
        assert assert_same(model, x=x, other=other) == ["Shape", FRN, "Expand"]

    def test_to_fewer_axes(self, graph, params, rng):
        """The shape may be shorter than the tensor's: it counts from behind."""
        inverse = graph("Expand", graph.inverse(), graph.const(np.array([1, 1])))
        graph.inverse = lambda: inverse
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_of_a_merged_plane(self, graph, params, rng):
        """(N, C, 1) to (N, C, H * W), and back."""
        flat = graph("Reshape", graph.x, graph.const(np.array([0, 0, -1])))
        nu2 = graph.reduce("ReduceMean", graph("Mul", flat, flat), [2])
        root = graph("Sqrt", graph("Add", nu2, graph.scalar(params.epsilon)))
        wide = graph("Expand", root, graph("Shape", flat))
        back = graph("Reshape", graph("Div", flat, wide), graph("Shape", graph.x))
        graph.normal = lambda: back
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)


class TestReshape:
    def test_allowzero_may_be_stated_and_off(self, graph, params, rng):
        """PyTorch writes allowzero=0; without names of the sizes, only the zeros say what stays."""
        graph.inputs.clear()
        graph.input("x", [None, 3, None, None])
        flat = graph("Reshape", graph.x, graph.const(np.array([0, 0, -1])), allowzero=0)
        nu2 = graph.reduce("ReduceMean", graph("Mul", flat, flat), [2])
        root = graph("Sqrt", graph("Add", nu2, graph.scalar(params.epsilon)))
        back = graph("Reshape", graph("Div", flat, root), graph("Shape", graph.x), allowzero=0)
        graph.normal = lambda: back
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_number_of_channels_that_nothing_confirms(self, graph, rng):
        """(N, C, 1, 1) to (-1, 1, 1, 3) is a move if C is 3; with C = 1 and N = 3 it is none."""
        graph = Build(NHWC, graph.params)
        graph.inputs.clear()
        outer = graph.input("outer", ["N", "C", "H", "W"])
        graph.x = graph("Transpose", outer, perm=[0, 2, 3, 1])
        pooled = graph("GlobalAveragePool", graph("Mul", outer, outer))
        nu2 = graph("Reshape", pooled, graph.const(np.array([-1, 1, 1, 3])))
        graph.nu2 = lambda: nu2
        model = graph.model(graph("Mul", graph.normal(), graph.scalar(2)))
        outer = rng.normal(size=(3, 1, 5, 4)).astype(np.float32)
        assert FRN not in assert_same(model, outer=outer)
        (skipped,) = fuse(model).skipped
        assert "its number of channels is not known" in skipped.reason


class TestGather:
    def test_dimensions_taken_away_by_index(self, graph, params, rng):
        """nu2[:, :, 0, 0], and back to (N, C, 1, 1)."""
        zero = graph.const(np.array(0))
        nu2 = graph("Gather", graph("Gather", graph.nu2(), zero, axis=3), zero, axis=-1)
        nu2 = graph("Unsqueeze", nu2, graph.const(np.array([2, 3])))
        graph.nu2 = lambda: nu2
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_of_x(self, graph, rng):
        """One column of x, normalised by its mean over the plane."""
        column = graph("Gather", graph.x, graph.const(np.array([0])), axis=3)
        model = graph.model(graph("Mul", column, graph.inverse()))
        assert FRN not in assert_same(model, x=data(rng, NCHW))


class TestWhere:
    def test_condition_on_another_arrangement(self, graph, rng):
        """where(y.T > tau, y, tau): the same function of x, at other places of the plane."""
        graph.inputs.clear()
        graph.input("x", ["N", 3, 4, 4])
        turned = graph("Transpose", graph.affine(), perm=[0, 1, 3, 2])
        above = graph("Greater", turned, graph.tau)
        model = graph.model(graph("Where", above, graph.affine(), graph.tau))
        x = rng.normal(size=(2, 3, 4, 4)).astype(np.float32)
        assert assert_same(model, x=x)[-1] == "Where"


def test_axes_from_chains_of_constants(params, rng):
    """ONNX infers no shape behind a mean over such axes; the layers that follow are found too."""
    graph = Build(NCHW, params)

    def entry(value: int) -> str:
        number = graph("Constant", value_int=value)
        return graph("Unsqueeze", number, graph.const(np.array([0])))

    chains = [
        lambda: graph("Cast", graph.const(np.array([2, 3], np.int32)), to=TensorProto.INT64),
        lambda: graph("Concat", entry(2), entry(3), axis=0),
        lambda: graph("Cast", graph("Constant", value_floats=[2.0, 3.0]), to=TensorProto.INT64),
    ]
    kernel = graph.const(rng.normal(size=(3, 3, 1, 1)).astype(np.float32))
    for axes in chains:
        graph.nu2 = lambda axes=axes: graph("ReduceMean", graph.square(), axes())
        graph.x = graph("Conv", graph.y(), kernel)
    assert assert_same(graph.model(graph.x), x=data(rng, NCHW)) == [FRN, "Conv"] * len(chains)


class TestUnknown:
    def model(self, build) -> onnx.ModelProto:
        """FRN of what an op of another domain gives."""
        net = Net()
        x = net.input("x", ["N", 3, "H", "W"])
        net.nodes.append(helper.make_node("Op", [x], ["made"], name="n/Op", domain="other"))
        return net.model(net("Sigmoid", build(net, "made")), domains=["other"])

    def test_rank(self, rng):
        """It could be FRN; that nothing was done is not for want of looking."""

        def build(net, x):
            nu2 = net.reduce("ReduceMean", net("Mul", x, x), (2, 3))
            root = net("Sqrt", net("Add", nu2, net.const(np.float32(0.1))))
            return net("Mul", net("Div", x, root), net.const(np.ones((3, 1, 1), np.float32)))

        result = fuse(self.model(build))
        assert result.fused == []
        (skipped,) = result.skipped
        assert "not even the rank of its input 'made' is known" in skipped.reason
        assert skipped.nodes[-1].startswith("n/Mul")

    def test_rank_of_what_is_no_norm(self):
        model = self.model(lambda net, x: net("Mul", x, net("GlobalAveragePool", x)))
        assert fuse(model).skipped == []

    def test_element_type(self, graph):
        """value_info that says integer of a tensor of floats."""
        affine = graph.affine()
        model = graph.model(graph("Exp", affine))
        model.graph.value_info.append(
            helper.make_tensor_value_info(affine, TensorProto.INT64, ["N", 3, "H", "W"])
        )
        result = fuse(model)
        assert result.fused == []
        (skipped,) = result.skipped
        assert f"the element type of {affine!r} is not known to be float" in skipped.reason


def test_weights_are_not_read(graph):
    """Shapes are inferred without the data, which may be gigabytes."""

    class Weights(ir.Tensor):
        def numpy(self):
            raise AssertionError("the weights were read")

        tobytes = numpy

    model = ir.from_proto(graph.model(graph.y()))
    weights = Weights(np.zeros((64, 64), np.float32), name="weights")
    value = ir.Value(name="weights", const_value=weights)
    model.graph.register_initializer(value)
    affine = next(node.outputs[0] for node in model.graph if node.op_type == "Max")
    affine.shape = affine.type = None
    assert Shapes(model, [affine]).of(affine) == ("N", 3, "H", "W")


def test_minus_one_is_an_open_size(graph, rng):
    """As Paddle and MXNet wrote it; ONNX Runtime takes it for that, too."""
    model = graph.model(graph.y())
    for value in (*model.graph.input, *model.graph.output):
        for size in value.type.tensor_type.shape.dim:
            if not size.dim_value:
                size.dim_value = -1
    x = rng.normal(size=NCHW.shape).astype(np.float32)
    assert assert_same(model, x=x) == [FRN]
    assert not any(
        size.dim_value < 0 for size in fuse(model).model.graph.input[0].type.tensor_type.shape.dim
    )
