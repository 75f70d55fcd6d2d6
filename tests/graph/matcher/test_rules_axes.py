"""Rules of what moves axes: where they end up, and what is no move."""

import numpy as np
import onnx_ir as ir
import pytest
from matcher_graphs import Lines, floats, index, ints

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Size
from frn_onnx.graph.matcher.rules_axes import _shape_argument
from frn_onnx.graph.matcher.values import Sizes

FIXED = "float[2,3,5,4]"
MEAN = "q = Mul(x, x)\nm = ReduceMean(q, hw)\n"
ARRAYS = {"hw": ints(2, 3), "a0": ints(0), "a2": ints(2), "a3": ints(3), "minus1": ints(-1)}
ARRAYS |= {"i0": index(0), "i00": ints(0, 0), "i1": index(1), "none": ints()}


def form(body: str, **more):
    return Lines(body, arrays=ARRAYS | more.pop("arrays", {}), **more).form()


def axes(body: str, **more):
    found = form(body, **more)
    return None if found is None else found.axes


class TestCast:
    @pytest.mark.parametrize("to", [1, 10, 11, 16])
    def test_between_float_types_is_a_rounding(self, to):
        assert form(f"c = Cast<to = {to}>(x)").is_x

    @pytest.mark.parametrize("to", [2, 6, 7, 9])
    def test_to_other_types_is_none(self, to):
        assert form(f"c = Cast<to = {to}>(x)") is None

    def test_to_the_type_of_another_tensor(self):
        assert form("h = Cast<to = 10>(x)\nc = CastLike(x, h)").is_x
        assert form("c = CastLike(x, one)").is_x
        assert form("c = CastLike(x, i0)") is None

    def test_identity(self):
        assert form("i = Identity(x)").is_x


class TestTranspose:
    def test_a_perm_that_is_not_its_own_inverse(self):
        """Axis i of the result is axis perm[i] of the input."""
        assert axes("t = Transpose<perm = [0, 2, 3, 1]>(x)") == ((0,), (2,), (3,), (1,))
        twice = "t = Transpose<perm = [0, 2, 3, 1]>(x)\nu = Transpose<perm = [0, 2, 3, 1]>(t)"
        assert axes(twice) == ((0,), (3,), (1,), (2,))
        back = "t = Transpose<perm = [0, 2, 3, 1]>(x)\nu = Transpose<perm = [0, 3, 1, 2]>(t)"
        assert axes(back) == ((0,), (1,), (2,), (3,))

    def test_without_a_perm_it_reverses(self):
        assert axes("t = Transpose(x)") == ((3,), (2,), (1,), (0,))

    def test_a_perm_of_another_rank_is_none(self):
        assert axes("t = Transpose<perm = [0, 2, 1, 4]>(x)") is None


class TestSqueezeAndUnsqueeze:
    def test_unsqueeze(self):
        assert axes("u = Unsqueeze(x, a2)") == ((0,), (1,), (), (2,), (3,))
        assert axes("u = Unsqueeze(x, minus1)") == ((0,), (1,), (2,), (3,), ())
        assert axes("u = Unsqueeze<axes = [0, 2]>(x)", opset=11) == ((), (0,), (), (1,), (2,), (3,))
        assert axes("u = Unsqueeze(x, u0)", inputs=("int64[1] u0",)) is None

    def test_one_axis_twice_is_none(self):
        assert axes("u = Unsqueeze(x, i00)") is None

    def test_squeeze(self):
        assert axes(MEAN + "s = Squeeze(m, hw)") == ((0,), (1,))
        assert axes(MEAN + "s = Squeeze(m, a3)") == ((0,), (1,), ())
        assert axes(
            "q = Mul(x, x)\nm = GlobalAveragePool(q)\ns = Squeeze<axes = [2]>(m)", opset=11
        ) == (*((0,), (1,), ()),)

    def test_squeeze_of_what_is_not_1_is_none(self):
        assert axes("s = Squeeze(x, a2)") is None
        assert axes(MEAN + "s = Squeeze(m, a0)") is None

    def test_squeeze_of_unknown_axes_is_none(self):
        assert axes(MEAN + "s = Squeeze(m, u)", x=FIXED, inputs=("int64[1] u",)) is None
        # No list, as another opset might have it.
        body = "q = Mul(x, x)\nm = GlobalAveragePool(q)\ns = Squeeze<axes = 2>(m)"
        assert axes(body, x=FIXED, opset=11) is None

    def test_squeeze_of_all(self):
        assert axes(MEAN + "s = Squeeze(m)", x=FIXED) == ((0,), (1,))
        # N could be 1.
        assert axes(MEAN + "s = Squeeze(m)") is None


class TestFlatten:
    def test_axes(self):
        assert axes("f = Flatten(x)") == ((0,), (1, 2, 3))
        assert axes("f = Flatten<axis = 2>(x)") == ((0, 1), (2, 3))
        assert axes("f = Flatten<axis = 4>(x)") == ((0, 1, 2, 3), ())
        assert axes("f = Flatten<axis = 0>(x)") == ((), (0, 1, 2, 3))


class TestGather:
    def test_the_only_index_of_an_axis(self):
        assert axes(MEAN + "g = Gather<axis = 3>(m, i0)") == ((0,), (1,), ())
        assert axes(MEAN + "g = Gather<axis = -1>(m, a0)") == ((0,), (1,), (), ())

    def test_of_the_batch_it_is_a_near_miss(self):
        found = form(MEAN + "g = Gather(m, i0)")
        assert found.axes == ((1,), (), ())
        assert found.flaw == fm.ONE_SAMPLE
        assert form(MEAN + "g = Gather<axis = 3>(m, i0)").flaw is None
        root = form(MEAN + "e = Add(m, half)\nr = Sqrt(e)\ng = Gather(r, i0)")
        assert root.flaw == fm.ONE_SAMPLE

    def test_of_other_axes_is_none(self):
        assert axes("g = Gather(x, i0)") is None
        assert axes("g = Gather<axis = 2>(x, i0)") is None
        assert axes(MEAN + "g = Gather<axis = 1>(m, i0)") is None
        assert axes(MEAN + "g = Gather<axis = 3>(m, i00)") is None
        assert axes(MEAN + "g = Gather<axis = 3>(m, u)", inputs=("int64 u",)) is None

    def test_of_a_mean_over_the_batch(self):
        """Its batch axis has size 1 already, and what it lacks is told elsewhere."""
        found = form("m = ReduceMean(x, a0)\ng = Gather(m, i0)")
        assert found.axes == ((1,), (2,), (3,))
        assert found.flaw is None


class TestReshape:
    def test_to_numbers(self):
        assert axes("r = Reshape(x, s)", x=FIXED, arrays={"s": ints(2, 3, 20)}) == (
            *((0,), (1,), (2, 3)),
        )
        assert axes("r = Reshape(x, s)", arrays={"s": ints(-1, 3, 7)}) is None

    def test_0_is_the_size_that_it_was(self):
        assert axes("r = Reshape(x, s)", arrays={"s": ints(0, 0, -1)}) == ((0,), (1,), (2, 3))
        assert axes("r = Reshape(x, s)", arrays={"s": ints(0, -1)}) == ((0,), (1, 2, 3))

    def test_0_is_0_with_allowzero(self):
        shape = {"s": ints(0, 0, -1)}
        assert axes("r = Reshape<allowzero = 1>(x, s)", arrays=shape) is None
        assert axes("r = Reshape<allowzero = 0>(x, s)", arrays=shape) is not None

    def test_to_sizes_of_x(self):
        body = (
            "s = Shape(x)\nn = Slice(s, a0, a2)\nt = Concat<axis = 0>(n, minus1)\nr = Reshape(x, t)"
        )
        assert axes(body) == ((0,), (1,), (2, 3))
        whole = "f = Flatten(x)\ns = Shape(x)\nr = Reshape(f, s)"
        assert axes(whole) == ((0,), (1,), (2,), (3,))

    def test_to_another_order_is_none(self):
        assert axes("r = Reshape(x, s)", x=FIXED, arrays={"s": ints(2, 3, 4, 5)}) is None
        assert axes("r = Reshape(x, u)", inputs=("int64[k] u",)) is None

    def test_to_a_stated_shape(self):
        """By a shape that little is known of, where the file says what comes out."""
        lines = Lines("s = Shape(u)\nr = Reshape(x, s)", x=FIXED, inputs=("float[a,b,c] u",))
        assert lines.form() is None
        lines = Lines("s = Shape(u)\nr = Reshape(x, s)", x=FIXED, inputs=("float[a,b,c] u",))
        lines.values["r"].shape = ir.Shape([2, 3, 20])
        assert lines.form().axes == ((0,), (1,), (2, 3))

    def test_the_number_of_channels_may_be_that_of_gamma(self):
        """(N, C, 1, 1) to (-1, 1, 1, 3) is a move if C is 3."""
        body = MEAN + "r = Reshape(m, s)"
        found = form(body, x="float[N,C,H,W]", arrays={"s": ints(-1, 1, 1, 3)})
        assert found.axes == ((0,), (), (), (1,))
        assert found.channels == 3
        known = form(body, arrays={"s": ints(-1, 1, 1, 3)})
        assert known.channels is None
        assert form(body, arrays={"s": ints(-1, 1, 1, 4)}) is None
        assert form(body, x="float[N,C,H,W]", channel=None, arrays={"s": ints(-1, 1, 1, 3)}) is None

    def test_the_number_of_channels_is_taken_for_granted_once(self):
        body = MEAN + "r = Reshape(m, s)\nq2 = Reshape(r, t)"
        arrays = {"s": ints(-1, 1, 1, 3), "t": ints(-1, 4, 1, 1)}
        assert form(body, x="float[N,C,H,W]", arrays=arrays) is None

    def test_of_what_is_no_form_is_none(self):
        assert form("r = Reshape(u, s)", inputs=("float[k] u",), arrays={"s": ints(-1)}) is None


class TestExpand:
    ROOT = MEAN + "e = Add(m, half)\nr = Sqrt(e)\n"

    def test_to_the_shape_of_x(self):
        found = form(self.ROOT + "s = Shape(x)\nb = Expand(r, s)")
        assert found.axes == ((0,), (1,), (2,), (3,))
        assert found.nu_power == 0.5

    def test_to_numbers(self):
        body = self.ROOT + "b = Expand(r, s)"
        assert axes(body, x=FIXED, arrays={"s": ints(2, 3, 5, 4)}) == ((0,), (1,), (2,), (3,))
        assert axes(body, x=FIXED, arrays={"s": ints(5, 4)}) == ((0,), (1,), (2,), (3,))
        assert axes(body, x=FIXED, arrays={"s": ints(1, 1, 1, 1)}) == ((0,), (1,), (), ())

    def test_with_a_new_axis(self):
        body = self.ROOT + "b = Expand(r, s)"
        found = axes(body, x=FIXED, arrays={"s": ints(1, 2, 3, 5, 4)})
        assert found == ((), (0,), (1,), (2,), (3,))

    def test_to_a_size_that_no_axis_has_is_none(self):
        assert axes(self.ROOT + "b = Expand(r, s)", x=FIXED, arrays={"s": ints(2, 3, 7, 4)}) is None

    def test_of_an_axis_that_might_be_1_is_none(self):
        assert axes(self.ROOT + "b = Expand(r, s)", arrays={"s": ints(5, 1, 1, 1)}) is None

    def test_of_x_is_not_x(self):
        """x repeated along an axis of size 1 is another tensor."""
        x = "float[2,3,1,4]"
        assert axes("b = Expand(x, s)", x=x, arrays={"s": ints(2, 3, 4, 4)}) is None
        assert axes("b = Expand(x, s)", x=x, arrays={"s": ints(2, 1, 2, 3, 1, 4)}) is None
        assert axes("b = Expand(x, s)", x=x, arrays={"s": ints(2, 3, 1, 4)}) is not None

    def test_of_a_mean_square(self):
        found = form(MEAN + "s = Shape(x)\nb = Expand(m, s)")
        assert found.axes == ((0,), (1,), (2,), (3,))
        assert (found.nu_power, found.x_power, found.flaw) == (1, 0, None)

    def test_of_a_mean_that_goes_on(self):
        """Over W first, and over H of what that gives, repeated: the mean square it is not."""
        body = "q = Mul(x, x)\nw = ReduceMean(q, a3)\ns = Shape(x)\nb = Expand(w, s)"
        assert "axes (3,) of x only" in form(body, arrays={"a3": ints(3)}).flaw

    def test_of_a_constant(self):
        body = "s = Shape(x)\nb = Expand(gamma, s)\ny = Mul(x, b)"
        found = form(body, arrays={"gamma": floats(1, 2, 4, shape=(3, 1, 1))})
        np.testing.assert_array_equal(found.scale, [1, 2, 4])
        assert found.axes == ((0,), (1,), (2,), (3,))

    def test_to_an_unknown_shape_is_none(self):
        assert axes(self.ROOT + "b = Expand(r, u)", inputs=("int64[k] u",)) is None

    def test_of_two_axes_of_one_size_each_stays_in_its_place(self):
        body = self.ROOT + "b = Expand(r, s)"
        found = axes(body, x="float[2,3,4,4]", arrays={"s": ints(2, 3, 4, 4)})
        assert found == ((0,), (1,), (2,), (3,))


class TestTile:
    ROOT = TestExpand.ROOT

    def test_along_axes_of_one_value(self):
        body = self.ROOT + "b = Tile(r, k)"
        found = form(body, x=FIXED, arrays={"k": ints(1, 1, 5, 4)})
        assert found.axes == ((0,), (1,), (2,), (3,))
        assert found.nu_power == 0.5
        assert axes(body, x=FIXED, arrays={"k": ints(1, 1, 5, 1)}) == ((0,), (1,), (2,), ())

    def test_by_sizes_of_x(self):
        counts = "s = Shape(x)\np = Slice(s, a2, a4)\nk = Concat<axis = 0>(ones, p)\n"
        arrays = {"ones": ints(1, 1), "a4": ints(4)}
        found = axes(self.ROOT + counts + "b = Tile(r, k)", arrays=arrays)
        assert found == ((0,), (1,), (2,), (3,))

    def test_along_an_axis_of_many_values_is_none(self):
        body = self.ROOT + "b = Tile(r, k)"
        assert axes(body, x=FIXED, arrays={"k": ints(1, 3, 1, 1)}) is None
        assert axes(body, x="float[2,3,6,4]", arrays={"k": ints(1, 2, 6, 4)}) is None
        assert axes(body, arrays={"k": ints(2, 1, 1, 1)}) is None

    def test_to_a_size_that_no_axis_has_is_none(self):
        assert axes(self.ROOT + "b = Tile(r, k)", x=FIXED, arrays={"k": ints(1, 1, 7, 4)}) is None

    def test_of_x_is_not_x(self):
        x = "float[2,3,1,4]"
        assert axes("b = Tile(x, k)", x=x, arrays={"k": ints(1, 1, 4, 1)}) is None
        assert axes("b = Tile(x, k)", x=x, arrays={"k": ints(1, 1, 1, 1)}) is not None

    def test_of_a_constant(self):
        counts = "s = Shape(x)\np = Slice(s, a2, a4)\nk = Concat<axis = 0>(one, p)\n"
        arrays = {"gamma": floats(1, 2, 4, shape=(3, 1, 1)), "one": ints(1), "a4": ints(4)}
        found = form(counts + "b = Tile(gamma, k)\ny = Mul(x, b)", arrays=arrays)
        np.testing.assert_array_equal(found.scale, [1, 2, 4])

    def test_by_unknown_numbers_is_none(self):
        assert axes(self.ROOT + "b = Tile(r, u)", inputs=("int64[4] u",)) is None


class TestSlice:
    """Everything from an axis on, as tf2onnx writes it for r[:, None, None, :]."""

    def cut(self, body: str, **more):
        bounds = {"zeros": ints(0, 0), "ends": ints(10**9, 10**9), "ones": ints(1, 1)}
        return axes(body, arrays=bounds | {"a4": ints(4)} | more.pop("arrays", {}), **more)

    def test_of_all(self):
        assert self.cut("b = Slice(x, zeros, ends)") == ((0,), (1,), (2,), (3,))
        assert self.cut("b = Slice(x, zeros, ends, hw)") == ((0,), (1,), (2,), (3,))
        assert self.cut("b = Slice(x, a0, e, minus1)", arrays={"e": ints(2**60)}) is not None
        assert self.cut("b = Slice(x, zeros, ends, hw, ones)") == ((0,), (1,), (2,), (3,))
        mean = "r = ReduceMean<keepdims = 0>(x, hw)\nu = Unsqueeze(r, hw)\n"
        assert self.cut(mean + "b = Slice(u, zeros, ends, hw)") == ((0,), (1,), (), ())

    def test_up_to_a_size_that_is_known(self):
        for end, found in ((5, True), (6, True), (4, False), (-1, False)):
            cut = self.cut("b = Slice(x, a0, e, a2)", x=FIXED, arrays={"e": ints(end)})
            assert (cut is not None) == found

    def test_up_to_a_size_of_x(self):
        body = "s = Shape(x)\nh = Slice(s, a2, a3)\nw = Slice(s, a3, a4)\n"
        assert self.cut(body + "b = Slice(x, a0, h, a2)") == ((0,), (1,), (2,), (3,))
        assert self.cut(body + "b = Slice(x, a0, w, a2)") is None

    def test_as_attributes(self):
        body = "b = Slice<starts = [0], ends = [{}], axes = [1]>(x)"
        assert self.cut(body.format(3), opset=9) == ((0,), (1,), (2,), (3,))
        assert self.cut(body.format(2), opset=9) is None

    def test_of_a_part_is_none(self):
        assert self.cut("b = Slice(x, ones, ends, hw)") is None
        assert self.cut("b = Slice(x, zeros, ones, hw)") is None
        assert self.cut("b = Slice(x, zeros, ends, hw, e)", arrays={"e": ints(1, 2)}) is None
        assert self.cut("b = Slice(x, a0, e, a2)", arrays={"e": ints(99)}) is None

    def test_from_or_to_unknown_places_is_none(self):
        assert self.cut("b = Slice(x, u, ends)", inputs=("int64[2] u",)) is None
        assert self.cut("b = Slice(x, zeros, u)", inputs=("int64[2] u",)) is None


class TestShapeArgument:
    def test_minus_1_is_not_known(self):
        n = Size(1, ((0, 1),))
        assert _shape_argument(None, Sizes((n, Size(-1), None, Size(1)), 1)) == [
            n,
            None,
            None,
            Size(1),
        ]
        assert _shape_argument(None, ints(-1, 3, 1)) == [None, Size(3), Size(1)]
        assert _shape_argument(None, None) is None


class TestConstantOfShape:
    def test_of_two_axes_of_one_size_each_stays_in_its_place(self):
        lines = Lines("s = Shape(x)\nb = ConstantOfShape(s)\ny = Add(x, b)", x="float[N,3,4,4]")
        assert lines.form("b").axes == ((0,), (1,), (2,), (3,))

    def test_a_mask_of_ones(self):
        body = "s = Shape(x)\nb = ConstantOfShape<value = float[1] {2.0}>(s)\ny = Mul(x, b)"
        assert form(body).scale == 2

    def test_without_a_value_it_is_0(self):
        found = form("s = Shape(x)\nb = ConstantOfShape(s)\ny = Add(x, b)")
        assert (found.offset, found.scale) == (0, 1)

    def test_of_sizes_that_are_no_axes_of_x_is_none(self):
        body = "s = Shape(x)\nd = Mul(s, i7)\nb = ConstantOfShape(d)\ny = Add(x, b)"
        assert form(body, arrays={"i7": ints(7)}) is None

    def test_axes(self):
        lines = Lines("s = Shape(x)\nb = ConstantOfShape(s)\ny = Add(x, b)")
        assert lines.form("b").axes == ((0,), (1,), (2,), (3,))
        assert lines.form("b").sizes == Size()
