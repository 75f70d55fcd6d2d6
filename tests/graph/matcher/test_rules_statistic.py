"""Rules of means and sums of squares: over which axes, of what, and where they say no."""

import numpy as np
import pytest
from matcher_graphs import Lines, floats, ints

from frn_onnx.graph.matcher.axes import Size

ARRAYS = {"hw": ints(2, 3), "back": ints(-1, -2), "a2": ints(2), "none": ints(), "a3": ints(3)}
ARRAYS |= {"chw": ints(1, 2, 3), "ones": np.ones((5, 4), np.float32)}
H, W = Size(1, ((2, 1),)), Size(1, ((3, 1),))
KEPT = ((0,), (1,), (), ())
FIXED = "float[2,3,5,4]"


def form(body: str, **more):
    return Lines(body, arrays=ARRAYS | more.pop("arrays", {}), **more).form()


SQUARE = "q = Mul(x, x)\n"


class TestMeans:
    @pytest.mark.parametrize(
        ("node", "opset"),
        [
            ("ReduceMean(q, hw)", 18),
            ("ReduceMean(q, back)", 18),
            ("ReduceMean<axes = [3, 2]>(q)", 13),
            ("ReduceMean<axes = [-2, -1], keepdims = 1>(q)", 13),
            ("GlobalAveragePool(q)", 13),
        ],
    )
    def test_over_the_plane(self, node, opset):
        found = form(SQUARE + f"m = {node}", opset=opset)
        assert (found.over, found.axes, found.x_power) == ({2, 3}, KEPT, 2)
        assert (found.scale, found.sizes) == (1, Size())

    def test_without_its_axes(self):
        found = form(SQUARE + "m = ReduceMean<keepdims = 0>(q, hw)")
        assert found.axes == ((0,), (1,))
        found = form(SQUARE + "m = ReduceMean<keepdims = 0>(q, a2)")
        assert found.axes == ((0,), (1,), (3,))

    def test_keepdims_is_0_or_1(self):
        assert form(SQUARE + "m = ReduceMean<keepdims = 2>(q, hw)") is None

    def test_of_moved_axes(self):
        body = SQUARE + "t = Transpose<perm = [0, 2, 3, 1]>(q)\nm = ReduceMean(t, a12)"
        found = form(body, arrays={"a12": ints(1, 2)})
        assert (found.over, found.axes) == ({2, 3}, ((0,), (), (), (1,)))

    def test_over_all_axes(self):
        for body in ("m = ReduceMean(q)", "m = ReduceMean(q, none)"):
            assert form(SQUARE + body).over == {0, 1, 2, 3}

    def test_over_no_axis_is_none(self):
        assert form(SQUARE + "m = ReduceMean<noop_with_empty_axes = 1>(q, none)") is None
        assert form(SQUARE + "m = ReduceMean<noop_with_empty_axes = 1>(q)") is None
        # Where axes are given, it says nothing.
        assert form(SQUARE + "m = ReduceMean<noop_with_empty_axes = 1>(q, hw)").over == {2, 3}
        assert form(SQUARE + "m = ReduceMean<noop_with_empty_axes = 0>(q)").over == {0, 1, 2, 3}

    def test_over_unknown_axes_is_none(self):
        assert form(SQUARE + "m = ReduceMean(q, u)", inputs=("int64[2] u",)) is None

    def test_over_an_axis_out_of_range_is_none(self):
        assert form("m = GlobalAveragePool(q)", inputs=("float[3] q",)) is None

    def test_over_one_axis_twice_is_none(self):
        twice = {"twice": ints(2, 3, -1)}
        assert form(SQUARE + "m = ReduceMean(q, twice)", arrays=twice) is None

    def test_of_what_has_no_mean_in_the_algebra_is_none(self):
        assert form("m = Max(x, half)\nr = ReduceMean(m, hw)") is None
        assert form("s = Sigmoid(x)\nr = ReduceMean(s, hw)") is None


class TestSums:
    def test_of_fixed_sizes_is_a_multiple_of_the_mean(self):
        found = form(SQUARE + "m = ReduceSum(q, hw)", x=FIXED)
        assert (found.scale, found.sizes, found.over) == (20, Size(), {2, 3})

    def test_of_open_sizes_keeps_them(self):
        found = form(SQUARE + "m = ReduceSum(q, hw)")
        assert (found.scale, found.sizes) == (1, H * W)
        found = form(SQUARE + "m = ReduceSum(q, a2)")
        assert found.sizes == H

    def test_of_squares(self):
        found = form("m = ReduceSumSquare(x, hw)")
        assert (found.x_power, found.sizes, found.over) == (2, H * W, {2, 3})
        assert form("q = Mul(x, x)\nm = ReduceSumSquare(q, hw)") is None

    @pytest.mark.parametrize(
        "node", ["ReduceL2(x, hw)", "GlobalLpPool(x)", "GlobalLpPool<p = 2>(x)"]
    )
    def test_norm(self, node):
        found = form(f"m = {node}")
        assert (found.nu_power, found.sizes, found.axes) == (0.5, (H * W) ** 0.5, KEPT)
        assert found.flaw is None

    @pytest.mark.parametrize("node", ["ReduceL1(q, hw)", "GlobalLpPool<p = 1>(q)"])
    def test_the_first_norm_of_squares_is_their_sum(self, node):
        found = form(SQUARE + f"m = {node}")
        assert (found.x_power, found.sizes, found.over) == (2, H * W, {2, 3})

    def test_the_first_norm_of_x_is_a_mean_of_its_magnitude(self):
        found = form("m = ReduceL1(x, hw)")
        assert (found.x_power, found.magnitude, found.over) == (1, True, {2, 3})

    def test_another_norm_is_none(self):
        assert form("m = GlobalLpPool<p = 3>(x)") is None

    def test_a_norm_of_a_square_is_none(self):
        assert form(SQUARE + "m = ReduceL2(q, hw)") is None


class TestAveragePool:
    def pool(self, attributes: str, x: str = FIXED):
        return form(SQUARE + f"m = AveragePool<{attributes}>(q)", x=x)

    @pytest.mark.parametrize(
        "more",
        [
            "",
            ", pads = [0, 0, 0, 0]",
            ', auto_pad = "VALID"',
            ', auto_pad = "NOTSET"',
            ", strides = [5, 4]",
        ],
    )
    def test_of_the_whole_plane(self, more):
        found = self.pool(f"kernel_shape = [5, 4]{more}")
        assert (found.over, found.axes) == ({2, 3}, KEPT)

    @pytest.mark.parametrize(
        "attributes",
        [
            "kernel_shape = [4, 5]",
            "kernel_shape = [5, 2]",
            "kernel_shape = [5, 4], pads = [0, 0, 0, 1]",
            'kernel_shape = [5, 4], auto_pad = "SAME_UPPER"',
        ],
    )
    def test_of_other_windows_is_none(self, attributes):
        assert self.pool(attributes) is None

    @pytest.mark.parametrize("order", [1, 2])
    def test_a_norm_over_a_window(self, order):
        body = SQUARE + f"m = LpPool<p = {order}, kernel_shape = [5, 4]>({'_qx'[order]})"
        assert form(body, x=FIXED).scale == (20 if order == 1 else 20**0.5)
        assert form(body.replace("[5, 4]", "[5, 3]"), x=FIXED) is None

    def test_of_a_plane_of_open_size_is_none(self):
        assert self.pool("kernel_shape = [5, 4]", "float[N,3,H,W]") is None


class TestRmsNormalization:
    def norm(self, node: str, x: str = FIXED, **arrays):
        return form(f"y = {node}", x=x, opset=23, arrays=arrays)

    def test_over_the_plane(self):
        found = self.norm("RMSNormalization<axis = 2, epsilon = 0.5>(x, ones)")
        assert (found.x_power, found.nu_power, found.epsilon, found.scale) == (1, -0.5, 0.5, 1)
        assert found.axes == ((0,), (1,), (2,), (3,))
        assert found.looks_like_frn

    def test_axis_from_the_end(self):
        assert self.norm("RMSNormalization<axis = -2, epsilon = 0.5>(x, ones)").epsilon == 0.5

    def test_the_default_epsilon(self):
        found = self.norm("RMSNormalization<axis = 2>(x, ones)")
        assert found.epsilon == pytest.approx(1e-5, rel=1e-12)

    def test_a_scale_that_is_one_number(self):
        scale = np.full((5, 4), 3, np.float32)
        assert self.norm("RMSNormalization<axis = 2>(x, s)", s=scale).scale == 3

    def test_a_scale_larger_than_x_is_none(self):
        scale = np.full((5, 4), 3, np.float32)
        norm = "RMSNormalization<axis = 2>(x, s)"
        assert self.norm(norm, x="float[N,3,1,4]", s=scale) is None
        assert self.norm(norm, x="float[N,3,H,4]", s=scale).scale == 3

    def test_a_scale_that_varies_over_the_plane_is_none(self):
        scale = np.arange(20, dtype=np.float32).reshape(5, 4)
        assert self.norm("RMSNormalization<axis = 2>(x, s)", s=scale) is None

    def test_over_other_axes_is_none(self):
        assert self.norm("RMSNormalization(x, s)", s=floats(1, 1, 1, 1)) is None
        assert self.norm("RMSNormalization<axis = 3>(x, s)", s=floats(1, 1, 1, 1)) is None
        assert self.norm("RMSNormalization<axis = 1>(x, s)", s=floats(1)) is None

    def test_the_default_axis_is_the_last(self):
        """Of rank 3 that is the whole line of each channel."""
        found = self.norm("RMSNormalization<epsilon = 0.5>(x, s)", x="float[2,3,5]", s=floats(1))
        assert (found.epsilon, found.nu_power) == (0.5, -0.5)

    def test_of_what_is_no_x_is_none(self):
        body = "q = Mul(x, x)\ny = RMSNormalization<axis = 2>(q, ones)"
        assert form(body, x=FIXED, opset=23) is None


class TestContractions:
    def test_of_a_tensor_with_itself(self):
        found = form('m = Einsum<equation = "nchw,nchw->nc">(x, x)')
        assert (found.axes, found.over, found.x_power) == (((0,), (1,)), {2, 3}, 2)

    def test_of_one_tensor(self):
        found = form(SQUARE + 'm = Einsum<equation = "nchw->nc">(q)')
        assert (found.axes, found.over, found.x_power) == (((0,), (1,)), {2, 3}, 2)
        found = form('t = Einsum<equation = "nchw->nhwc">(x)')
        assert found.axes == ((0,), (2,), (3,), (1,))

    @pytest.mark.parametrize(
        ("equation", "shape"),
        [("nchw,nc", (2, 3)), ("...c,c->...c", (4,)), ("nchw,nn->nchw", (2, 2))],
    )
    def test_axes_without_a_label_of_their_own_are_none(self, equation, shape):
        scaled = f'm = Einsum<equation = "{equation}">(x, scale)'
        arrays = {"scale": np.full(shape, 2, np.float32)}
        assert form(scaled, x=FIXED, arrays=arrays) is None

    def test_of_the_diagonal_is_none(self):
        assert form('m = Einsum<equation = "aahw,aahw->a">(x, x)', x="float[3,3,5,4]") is None

    def test_of_a_product_with_another_rank_is_none(self):
        assert form('m = Einsum<equation = "nhw,nhw->n">(x, x)') is None

    def test_of_a_vector_is_none(self):
        column = floats(1, 1, 1, 1)
        found = form("m = MatMul(x, v)", x=FIXED, arrays={"v": column.reshape(4, 1)})
        assert found.axes == ((0,), (1,), (2,), ())
        assert form("m = MatMul(x, v)", x=FIXED, arrays={"v": column}) is None
