"""What only looks like FRN stays as it is, and is reported with the reason."""

import numpy as np
import onnx
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Net, Params, op_types

from frn_onnx.graph.fusion import fuse

NCHW, NHWC, NCW = LAYOUTS[0], LAYOUTS[1], LAYOUTS[2]
OUTSIDE = "epsilon is added outside the root"
FLOOR = "epsilon is a floor under the mean square"
L2 = "nothing is added to the mean square"
ENDS = "the proof that it is FRN ends at"


def assert_missed(model: onnx.ModelProto, reason: str | None) -> None:
    """The model is left as it is; reason is part of the one that is told, None for silence."""
    for form in ("custom", "portable", "primitives"):
        result = fuse(model, form=form)
        assert result.fused == []
        assert [n.op_type for n in result.model.graph.node] == [n.op_type for n in model.graph.node]
        assert not result.model.functions
        assert [entry.domain for entry in result.model.opset_import] == [""]
    if reason is None:
        assert result.skipped == []
        return
    (skipped,) = result.skipped
    assert reason in skipped.reason
    names = {node.name for node in model.graph.node}
    assert skipped.nodes
    assert set(skipped.nodes) <= names


class TestEpsilon:
    def test_outside_the_root(self, graph):
        root = graph("Add", graph("Sqrt", graph.nu2()), graph.scalar(0.1))
        graph.normal = lambda: graph("Div", graph.x, root)
        assert_missed(graph.model(graph.y()), OUTSIDE)

    def test_outside_the_root_by_reciprocal(self, graph):
        root = graph("Add", graph("Sqrt", graph.nu2()), graph.scalar(0.1))
        graph.inverse = lambda: graph("Reciprocal", root)
        assert_missed(graph.model(graph.y()), OUTSIDE)

    def test_both_inside_and_outside(self, graph):
        root = graph("Add", graph("Sqrt", graph.shifted()), graph.scalar(0.1))
        graph.normal = lambda: graph("Div", graph.x, root)
        assert_missed(graph.model(graph.y()), OUTSIDE)

    @pytest.mark.parametrize("op_type", ["Max", "Clip"])
    def test_floor(self, graph, op_type):
        graph.shifted = lambda: graph(op_type, graph.nu2(), graph.scalar(0.1))
        assert_missed(graph.model(graph.y()), FLOOR)

    def test_floor_above_an_epsilon(self, graph):
        """max(nu2 + 0.37, 0.5) is not nu2 + 0.37."""
        added = graph.shifted
        graph.shifted = lambda: graph("Max", added(), graph.scalar(0.5))
        assert_missed(graph.model(graph.y()), FLOOR)

    def test_floor_under_the_norm(self, graph):
        """x / max(l2(x), epsilon), as torch.nn.functional.normalize."""
        norm = graph.reduce("ReduceL2", graph.x, (2, 3))
        graph.normal = lambda: graph("Div", graph.x, graph("Max", norm, graph.scalar(0.1)))
        graph.inputs.clear()
        graph.input("x", NCHW.shape)
        assert_missed(graph.model(graph.y()), FLOOR)

    def test_none(self, graph):
        graph.shifted = graph.nu2
        assert_missed(graph.model(graph.y()), L2)

    def test_l2_normalisation(self, graph):
        graph.inputs.clear()
        graph.input("x", NCHW.shape)
        norm = graph.reduce("ReduceL2", graph.x, (2, 3))
        assert_missed(graph.model(graph("Div", graph.x, norm)), L2)

    def test_too_small_for_the_op(self, rng):
        """Its epsilon is a float32: a plane of zeros would become NaN."""
        graph = Build(NCHW, Params.random(rng, dtype=np.float64))
        graph.shifted = lambda: graph("Add", graph.nu2(), graph.scalar(1e-60))
        assert_missed(graph.model(graph.y()), "its epsilon, 1e-60, is 0 in float32")

    def test_negative(self, graph):
        graph.shifted = lambda: graph("Sub", graph.nu2(), graph.scalar(0.1))
        assert_missed(graph.model(graph.y()), "the epsilon in the root is negative")

    def test_not_constant(self, graph):
        epsilon = graph.input("epsilon", [1])
        graph.shifted = lambda: graph("Add", graph.nu2(), epsilon)
        assert_missed(graph.model(graph.y()), "what is added to the mean square is not a constant")

    def test_added_to_a_sum_of_unknown_length(self, graph):
        """sqrt(sum(x**2) + epsilon) * sqrt(1 / N): the epsilon of the mean depends on N."""
        sizes = graph("Gather", graph("Shape", graph.x), graph.const(np.array([2, 3])))
        count = graph("Cast", graph("ReduceProd", sizes, keepdims=0), to=1)
        sum_ = graph("Add", graph.reduce("ReduceSum", graph.square(), (2, 3)), graph.scalar(0.1))
        root = graph("Div", graph("Sqrt", sum_), graph("Sqrt", count))
        graph.normal = lambda: graph("Div", graph.x, root)
        assert_missed(graph.model(graph.y()), "how many squares it sums is not known")


class TestStatistic:
    @pytest.mark.parametrize(
        ("axes", "reason"),
        [
            ([2], "axes (2,) of x only"),
            ([3], "axes (3,) of x only"),
            ([1], "axes (1,) of x only"),
            ([0], "the batch axis"),
            ([0, 2, 3], "the batch axis"),
            ([1, 2, 3], "the channels too"),
            ([0, 1, 2, 3], "the batch axis"),
        ],
    )
    def test_other_axes(self, graph, axes, reason):
        graph.nu2 = lambda: graph.reduce("ReduceMean", graph.square(), axes)
        assert_missed(graph.model(graph.y()), reason)

    def test_mean_of_x(self, graph):
        graph.square = lambda: graph.x
        assert_missed(graph.model(graph.y()), "the mean of x, not of x**2")

    def test_mean_of_x_made_positive(self, graph):
        mean = graph.reduce("ReduceMean", graph.x, (2, 3))
        graph.nu2 = lambda: graph("Abs", mean)
        assert_missed(graph.model(graph.y()), "the mean of x, not of x**2")

    def test_mean_of_something_else(self, graph):
        """x normalised by the mean square of another tensor."""
        other = graph.input("other", NCHW.dynamic)
        graph.square = lambda: graph("Mul", other, other)
        assert_missed(graph.model(graph.y()), None)

    def test_product_with_something_else(self, graph):
        other = graph.input("other", NCHW.dynamic)
        graph.square = lambda: graph("Mul", graph.x, other)
        assert_missed(graph.model(graph.y()), ENDS)

    @pytest.mark.parametrize("exponent", [1.0, 3.0, 4.0, 1.5])
    def test_other_power_of_x(self, graph, exponent):
        graph.square = lambda: graph("Pow", graph.x, graph.scalar(exponent))
        missed = "the mean of x" if exponent == 1 else ENDS
        assert_missed(graph.model(graph.y()), missed)

    @pytest.mark.parametrize("exponent", [-1.0, -0.25, 0.5, -0.51])
    def test_other_power_of_the_mean(self, graph, exponent):
        graph.inverse = lambda: graph("Pow", graph.shifted(), graph.scalar(exponent))
        assert_missed(graph.model(graph.y()), None)

    def test_sum_without_count(self, graph):
        graph.nu2 = lambda: graph.reduce("ReduceSum", graph.square(), (2, 3))
        assert_missed(graph.model(graph.y()), "how many squares it sums is not known")

    def test_sum_over_another_count(self, graph):
        """Divided by H * H instead of H * W."""
        sum_ = graph.reduce("ReduceSum", graph.square(), (2, 3))
        size = graph(
            "Cast", graph("Gather", graph("Shape", graph.x), graph.const(np.array(2))), to=1
        )
        graph.nu2 = lambda: graph("Div", sum_, graph("Mul", size, size))
        assert fuse(graph.model(graph.y()), form="custom").fused == []

    def test_pool_over_part_of_the_plane(self, graph):
        graph.inputs.clear()
        graph.input("x", NCHW.shape)
        graph.nu2 = lambda: graph(
            "AveragePool", graph.square(), kernel_shape=[4, 4], strides=[4, 4]
        )
        assert_missed(graph.model(graph.y()), ENDS)

    def test_padded_pool(self, graph):
        graph.inputs.clear()
        graph.input("x", NCHW.shape)
        pool = {"kernel_shape": [5, 4], "pads": [0, 0, 2, 2], "strides": [5, 5]}
        graph.nu2 = lambda: graph("AveragePool", graph.square(), **pool, count_include_pad=1)
        assert_missed(graph.model(graph.y()), ENDS)

    def test_gate(self, graph):
        """1 / sqrt(nu2 + epsilon) that scales another tensor."""
        other = graph.input("other", NCHW.dynamic)
        assert_missed(graph.model(graph("Mul", other, graph.inverse())), None)

    def test_batch_dependent(self, graph):
        """The mean over W of the first sample, for all of them."""
        mean = graph.reduce("ReduceMean", graph.square(), (3,))
        first = graph("Gather", mean, graph.const(np.array(0)), axis=0)
        graph.nu2 = lambda: first
        assert_missed(graph.model(graph.y()), "it normalises all samples by the mean of one")

    def test_variance(self, graph):
        """E(x**2) - E(x)**2."""
        mean = graph.reduce("ReduceMean", graph.x, (2, 3))
        variance = graph("Sub", graph.nu2(), graph("Mul", mean, mean))
        graph.nu2 = lambda: variance
        assert_missed(graph.model(graph.y()), ENDS)


class TestOtherNorms:
    @pytest.mark.parametrize("tokens", [7, "T"])
    def test_rms_over_the_last_axis(self, rng, tokens):
        """(N, T, D), as in language models: FRN but for a scale along D."""
        net = Net()
        x = net.input("x", ["N", tokens, 6])
        nu2 = net.reduce("ReduceMean", net("Mul", x, x), [-1])
        root = net("Sqrt", net("Add", nu2, net.const(np.float32(0.1))))
        scale = net.const(rng.normal(size=6).astype(np.float32))
        assert_missed(net.model(net("Mul", net("Div", x, root), scale)), None)

    def test_rms_over_channels(self, rng):
        graph = Build(NHWC, Params.random(rng))
        graph.nu2 = lambda: graph.reduce("ReduceMean", graph.square(), [-1])
        assert_missed(graph.model(graph.affine()), "axes (3,) of x only")

    def test_rms_normalization_op_over_the_last_axis(self, rng):
        net = Net(opset=23, ir_version=11)
        x = net.input("x", ["N", 3, "H", 4])
        scale = net.const(rng.normal(size=4).astype(np.float32))
        assert_missed(net.model(net("RMSNormalization", x, scale, axis=-1)), None)

    def test_rms_normalization_with_a_scale_per_pixel(self, rng):
        net = Net(opset=23, ir_version=11)
        x = net.input("x", ["N", 3, 5, 4])
        scale = net.const(rng.normal(size=(5, 4)).astype(np.float32))
        assert_missed(net.model(net("RMSNormalization", x, scale, axis=2)), None)

    @pytest.mark.parametrize("layout", [NCHW, NCW], ids=["NCHW", "NCW"])
    def test_instance_normalisation(self, rng, layout):
        graph = Build(layout, Params.random(rng))
        mean = graph.reduce("ReduceMean", graph.x, layout.axes)
        graph.x = graph("Sub", graph.x, mean)
        assert_missed(graph.model(graph.y()), "the mean is subtracted first")

    def test_layer_normalisation(self, rng):
        net = Net()
        x = net.input("x", ["N", 7, 6])
        x = net("Sub", x, net.reduce("ReduceMean", x, [2]))
        variance = net.reduce("ReduceMean", net("Mul", x, x), [2])
        root = net("Sqrt", net("Add", variance, net.const(np.float32(0.1))))
        scale = net.const(rng.normal(size=6).astype(np.float32))
        model = net.model(net("Mul", net("Div", x, root), scale))
        assert fuse(model).fused == []

    def test_group_rms(self, graph):
        """x as (N, groups, C / groups * H * W)."""
        graph.inputs.clear()
        graph.input("x", ["N", 4, "H", "W"])
        flat = graph("Reshape", graph.x, graph.const(np.array([0, 2, -1])))
        nu2 = graph.reduce("ReduceMean", graph("Mul", flat, flat), [2])
        root = graph("Sqrt", graph("Add", nu2, graph.scalar(0.1)))
        back = graph("Reshape", graph("Div", flat, root), graph("Shape", graph.x))
        assert_missed(graph.model(back), "this is group normalisation")

    @pytest.mark.parametrize(
        ("outer", "groups", "axes"),
        [
            (["N", 4, "H", "W"], [0, 2, 2, -1], [2, 3]),
            (["N", "H", "W", 4], [0, -1, 2, 2], [1, 3]),
        ],
        ids=["NCHW", "NHWC"],
    )
    def test_group_rms_of_rank_4(self, graph, outer, groups, axes):
        """The groups, and the channels of each, on an axis of their own."""
        graph.inputs.clear()
        graph.input("x", outer)
        split = graph("Reshape", graph.x, graph.const(np.array(groups)))
        nu2 = graph.reduce("ReduceMean", graph("Mul", split, split), axes)
        root = graph("Sqrt", graph("Add", nu2, graph.scalar(0.1)))
        back = graph("Reshape", graph("Div", split, root), graph("Shape", graph.x))
        assert_missed(graph.model(back), "this is group normalisation")

    def test_group_normalisation_op(self, rng):
        net = Net(opset=21, ir_version=10)
        x = net.input("x", ["N", 4, "H", "W"])
        scale, bias = (net.const(rng.normal(size=4).astype(np.float32)) for _ in range(2))
        assert_missed(net.model(net("GroupNormalization", x, scale, bias, num_groups=2)), None)

    def test_lp_normalisation(self, rng):
        net = Net()
        x = net.input("x", ["N", 3, 7])
        assert_missed(net.model(net("LpNormalization", x, axis=2, p=2)), None)

    def test_squeeze_and_excite(self, rng):
        net = Net()
        x = net.input("x", ["N", 3, "H", "W"])
        kernel = net.const(rng.normal(size=(3, 3, 1, 1)).astype(np.float32))
        gate = net("Sigmoid", net("Conv", net("GlobalAveragePool", x), kernel))
        assert_missed(net.model(net("Mul", x, gate)), None)

    def test_efficient_channel_gate(self, rng):
        """x * sigmoid(nu2): the mean square, and no root."""
        graph = Build(NCHW, Params.random(rng))
        assert_missed(graph.model(graph("Mul", graph.x, graph("Sigmoid", graph.nu2()))), None)

    def test_pooled_head(self, rng):
        net = Net()
        x = net.input("x", ["N", 3, "H", "W"])
        weights = net.const(rng.normal(size=(3, 5)).astype(np.float32))
        pooled = net("Flatten", net("GlobalAveragePool", x))
        assert_missed(net.model(net("MatMul", pooled, weights)), None)


class TestUnprovable:
    def test_channels_unknown(self):
        params = Params(np.ones(3, np.float32), np.zeros(3, np.float32), None, np.float32(0.37))
        graph = Build(NHWC, params)
        graph.inputs.clear()
        graph.input("x", ["N", "H", "W", "C"])
        model = graph.model(graph.normal())
        assert_missed(model, "its number of channels is not known")
        model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 2**62
        assert_missed(model, f"it has {2**62} channels; more than 65536")

    def test_rank_beyond_the_op(self, rng):
        net = Net()
        x = net.input("x", ["N", 3, "A", "B", "D", "E"])
        nu2 = net.reduce("ReduceMean", net("Mul", x, x), [2, 3, 4, 5])
        root = net("Sqrt", net("Add", nu2, net.const(np.float32(0.1))))
        assert_missed(net.model(net("Div", x, root)), "rank 6")

    def test_gamma_of_the_wrong_axis(self, rng):
        """In NHWC, gamma along W: only what comes before it is FRN."""
        graph = Build(NHWC, Params.random(rng), static=True)
        along_w = graph.const(rng.normal(size=(4, 1)).astype(np.float32))
        model = graph.model(graph("Mul", graph.normal(), along_w))
        result = fuse(model, form="custom")
        assert [n.op_type for n in result.model.graph.node] == [
            "FilterResponseNormalization",
            "Mul",
        ]

    def test_gamma_not_constant(self, rng):
        """Only what comes before it can be stored in the file."""
        graph = Build(NCHW, Params.random(rng))
        gamma = graph.input("gamma_input", [3, 1, 1])
        result = fuse(graph.model(graph("Mul", graph.normal(), gamma)), form="custom")
        assert [n.op_type for n in result.model.graph.node] == [
            "FilterResponseNormalization",
            "Mul",
        ]

    def test_cast_to_integer(self, rng):
        """A cast that truncates is part of the function."""
        graph = Build(NCHW, Params.random(rng))
        graph.shifted_plain = graph.shifted
        graph.shifted = lambda: graph("Cast", graph("Cast", graph.shifted_plain(), to=7), to=1)
        assert_missed(graph.model(graph.y()), ENDS)

    def test_statistic_of_another_layout(self, rng):
        """The (N, C) mean multiplied along (H, W): it broadcasts where H = N and W = C."""
        graph = Build(NCHW, Params.random(rng))
        graph.inputs.clear()
        graph.input("x", ["N", 3, "N", 3])
        graph.nu2 = lambda: graph.reduce("ReduceMean", graph.square(), (2, 3), keepdims=0)
        assert_missed(graph.model(graph.y()), None)

    def test_group_rms_of_unknown_channels(self, rng):
        """(N, C, H, W) to (N, 2, -1): FRN if C were 2, but gamma says that it is 6."""
        params = Params.random(rng, channels=6)
        graph = Build(NCHW, params)
        graph.inputs.clear()
        graph.input("x", ["N", "C", "H", "W"])
        flat = graph("Reshape", graph.x, graph.const(np.array([0, 2, -1])))
        nu2 = graph.reduce("ReduceMean", graph("Mul", flat, flat), [2])
        root = graph("Sqrt", graph("Add", nu2, graph.scalar(0.1)))
        back = graph("Reshape", graph("Div", flat, root), graph("Shape", graph.x))
        graph.normal = lambda: back
        assert fuse(graph.model(graph.y()), form="custom").fused == []

    def test_constant_that_may_widen_the_plane(self, rng):
        """A beta of (1, 1, 5, 4), all the same: of a 1x1 plane it makes one of 5x4."""
        graph = Build(NCHW, Params.random(rng))
        beta = graph.const(np.full((1, 1, 5, 4), 0.3, np.float32))
        model = graph.model(graph("Add", graph("Mul", graph.gamma, graph.normal()), beta))
        result = fuse(model, form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization", "Add"]

    def test_squeeze_without_axes(self, rng):
        """It drops the batch axis, too, when that is 1."""
        graph = Build(NCHW, Params.random(rng))
        axes = graph.const(np.array([2, 3]))
        nu2 = graph("Unsqueeze", graph("Squeeze", graph.nu2()), axes)
        graph.nu2 = lambda: nu2
        assert_missed(graph.model(graph.y()), ENDS)

    def test_x_repeated(self, rng):
        """Expanded along an axis of size 1, the result is larger than x."""
        graph = Build(NCHW, Params.random(rng))
        graph.inputs.clear()
        graph.input("x", [2, 3, 5, 1])
        shape = graph.const(np.array([2, 3, 5, 5]))
        normal = graph("Mul", graph("Expand", graph.x, shape), graph.inverse())
        graph.normal = lambda: normal
        assert_missed(graph.model(graph.y()), ENDS)


class TestMisalignedSquares:
    """x times x with its elements in another order has the mean of no square."""

    @pytest.mark.parametrize("layout", [NCW, NCHW], ids=lambda layout: layout.name)
    def test_outer_product(self, rng, layout):
        graph = Build(layout, Params.random(rng))
        last = len(layout.name)
        rows = graph("Unsqueeze", graph.x, graph.const(np.array([last - 1])))
        columns = graph("Unsqueeze", graph.x, graph.const(np.array([last])))
        axes = (*layout.axes, last)
        mean = graph.reduce("ReduceMean", graph("Mul", rows, columns), axes, keepdims=0)
        graph.nu2 = lambda: graph("Unsqueeze", mean, graph.const(np.array(layout.axes)))
        assert_missed(graph.model(graph.y()), ENDS)

    @pytest.mark.parametrize(
        ("sizes", "perm"),
        [
            ([2, 3, 1, 5], [0, 1, 3, 2]),
            ([2, 3, 5, 1], [0, 1, 3, 2]),
            ([1, 3, 5, 5], [0, 1, 3, 2]),
            (["N", 3, "H", "H"], [0, 1, 3, 2]),
            ([1, 3, 3, 5], [0, 2, 1, 3]),
            ([3, 3, 4, 5], [1, 0, 2, 3]),
        ],
    )
    def test_transposed(self, graph, sizes, perm):
        graph.inputs.clear()
        graph.input("x", sizes)
        graph.square = lambda: graph("Mul", graph.x, graph("Transpose", graph.x, perm=perm))
        assert_missed(graph.model(graph.y()), ENDS)

    def test_normalised_by_another_sample(self, graph):
        """The scales of a batch stand beside a batch of one: y has each of them."""
        graph.inputs.clear()
        graph.input("x", ["N", 3, 1, 1])
        scales = graph("Transpose", graph.inverse(), perm=[2, 1, 0, 3])
        graph.normal = lambda: graph("Mul", graph.x, scales)
        assert_missed(graph.model(graph.y()), None)
