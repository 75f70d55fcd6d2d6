"""Shape arithmetic: products of sizes of x's axes, and where it stops being that."""

import numpy as np
import pytest
from matcher_graphs import Lines, index, ints

from frn_onnx.graph.matcher.axes import Size
from frn_onnx.graph.matcher.rules_sizes import size_of_value
from frn_onnx.graph.matcher.values import Context, Sizes

N, H, W = (Size(1, ((axis, 1),)) for axis in (0, 2, 3))
C = Size(3)
SHAPE = "s = Shape(x)\n"
ARRAYS = {"i0": index(0), "i1": index(1), "i2": index(2), "i3": index(3), "last": index(-1)}
ARRAYS |= {
    "a0": ints(0),
    "a1": ints(1),
    "a2": ints(2),
    "a3": ints(3),
    "a4": ints(4),
    "m1": ints(-1),
}
ARRAYS |= {"hw": ints(2, 3), "none": ints(), "n2": index(2), "n5": index(5), "huge": ints(2**60)}


def known(body: str, **more):
    arrays = ARRAYS | more.pop("arrays", {})
    return Lines(body, arrays=arrays, **more).known()


def assert_sizes(found, rank: int, *entries: Size | None) -> None:
    assert isinstance(found, Sizes)
    assert found.entries == entries
    assert found.rank == rank


def assert_array(found, expected, dtype=np.int64) -> None:
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == np.shape(expected)
    assert found.dtype == dtype


class TestShape:
    def test_of_x(self):
        assert_sizes(known("s = Shape(x)"), 1, N, C, H, W)

    def test_of_a_tensor_made_of_x(self):
        body = "r = ReduceMean<keepdims = 0>(x, hw)\ns = Shape(r)"
        assert_sizes(known(body), 1, N, C)
        body = "t = Transpose<perm = [0, 2, 3, 1]>(x)\ns = Shape(t)"
        assert_sizes(known(body), 1, N, H, W, C)

    def test_a_part(self):
        assert_sizes(known("s = Shape<start = 2>(x)"), 1, H, W)
        assert_sizes(known("s = Shape<start = 1, end = 3>(x)"), 1, C, H)
        assert_sizes(known("s = Shape<end = -1>(x)"), 1, N, C, H)
        assert_array(known("s = Shape<start = 1, end = 2>(x)"), [3])

    def test_where_all_are_known_it_is_a_constant(self):
        assert_array(known("s = Shape(x)", x="float[2,3,5,4]"), [2, 3, 5, 4])

    def test_of_a_shape(self):
        assert_array(known(SHAPE + "r = Shape(s)"), [4])
        assert_array(known(SHAPE + "g = Gather(s, i2)\nr = Shape(g)"), np.zeros(0, np.int64))

    def test_of_an_input_that_names_the_same_sizes(self):
        lines = Lines("s = Shape(u)", inputs=("float[N,7,W,k] u",))
        context = Context(lines.frame, lines.constants, lines.shapes)
        assert_sizes(size_of_value(context, lines.values["s"]), 1, N, Size(7), W, None)

    def test_the_number_of_elements(self):
        assert_sizes(known("s = Size(x)"), 0, N * C * H * W)
        assert_array(known("s = Size(x)", x="float[2,3,5,4]"), 120)
        assert_array(known(SHAPE + "r = Size(s)"), 4)


class TestParts:
    def test_gather(self):
        assert_sizes(known(SHAPE + "g = Gather(s, i2)"), 0, H)
        assert_sizes(known(SHAPE + "g = Gather(s, last)"), 0, W)
        assert_sizes(known(SHAPE + "g = Gather(s, hw)"), 1, H, W)
        assert_array(known(SHAPE + "g = Gather(s, i1)"), 3)

    def test_gather_out_of_range_or_by_a_matrix_is_none(self):
        assert known(SHAPE + "g = Gather(s, i4)", arrays={"i4": index(4)}) is None
        assert known(SHAPE + "g = Gather(s, i4)", arrays={"i4": np.array([[1]])}) is None

    @pytest.mark.parametrize(
        ("slice_", "entries"),
        [
            ("Slice(s, a2, a4)", (H, W)),
            ("Slice(s, a0, m1)", (N, C, H)),
            ("Slice(s, a2, huge)", (H, W)),
            ("Slice(s, a0, a3, a0)", (N, C, H)),
            ("Slice(s, a0, a4, a0, a2)", (N, H)),
        ],
    )
    def test_slice(self, slice_, entries):
        assert_sizes(known(SHAPE + f"g = {slice_}"), 1, *entries)

    def test_slice_up_to_a_size_is_none(self):
        body = SHAPE + "h = Slice(s, a2, a3)\ng = Slice(s, a0, h)"
        assert known(body) is None

    def test_slice_of_several_axes_is_none(self):
        assert known(SHAPE + "g = Slice(s, hw, hw)") is None

    def test_concat(self):
        body = SHAPE + "h = Slice(s, a2, a3)\nr = Concat<axis = 0>(h, a1, h)"
        assert_sizes(known(body), 1, H, Size(1), H)

    def test_concat_with_what_is_unknown_is_none(self):
        body = SHAPE + "h = Slice(s, a2, a3)\nr = Concat<axis = 0>(h, u)"
        assert known(body, inputs=("int64[1] u",)) is None

    def test_squeeze_and_unsqueeze(self):
        scalar = SHAPE + "h = Slice(s, a2, a3)\nr = Squeeze(h, a0)"
        assert_sizes(known(scalar), 0, H)
        assert_sizes(known(scalar + "\nu = Unsqueeze(r, a0)"), 1, H)
        assert known(SHAPE + "h = Slice(s, a2, a4)\nr = Squeeze(h, a0)") is None
        assert known(SHAPE + "h = Slice(s, a2, a4)\nr = Unsqueeze(h, a0)") is None

    def test_reshape(self):
        scalar = SHAPE + "h = Gather(s, i2)\n"
        assert_sizes(known(scalar + "r = Reshape(h, m1)"), 1, H)
        assert_sizes(known(scalar + "l = Reshape(h, m1)\nr = Reshape(l, none)"), 0, H)
        assert known(SHAPE + "r = Reshape(s, hw)", arrays={"hw": ints(2, 2)}) is None
        assert known(SHAPE + "r = Reshape(s, none)") is None


class TestArithmetic:
    def test_product(self):
        body = SHAPE + "h = Gather(s, i2)\nw = Gather(s, i3)\n"
        assert_sizes(known(body + "p = Mul(h, w)"), 0, H * W)
        assert_sizes(known(body + "p = Mul(h, n5)"), 0, H * Size(5))
        assert_sizes(known(SHAPE + "p = Mul(s, n2)"), 1, *(size * Size(2) for size in (N, C, H, W)))
        assert_sizes(known(SHAPE + "p = Mul(n2, s)"), 1, *(size * Size(2) for size in (N, C, H, W)))
        pair = "a = Gather(s, hw)\nb = Slice(s, a0, a2)\n"
        assert_sizes(known(SHAPE + pair + "p = Mul(a, b)"), 1, H * N, W * C)

    def test_of_lists_of_two_lengths_is_none(self):
        assert known(SHAPE + "a = Gather(s, hw)\np = Mul(a, s)") is None
        assert known(SHAPE + "a = Gather(s, hw)\np = Mul(s, a)") is None

    def test_of_all_entries(self):
        body = SHAPE + "a = Slice(s, a2, a4)\n"
        assert_sizes(known(body + "p = ReduceProd<keepdims = 0>(a)"), 0, H * W)
        assert_sizes(known(body + "p = ReduceProd<keepdims = 1>(a)"), 1, H * W)
        assert_sizes(known(body + "p = ReduceProd(a)"), 1, H * W)

    def test_the_shape_of_two_that_broadcast(self):
        mean = "r = ReduceMean(x, hw)\nt = Shape(r)\n"
        assert_sizes(known(SHAPE + mean + "p = Max(s, t)"), 1, N, C, H, W)
        assert_sizes(known(SHAPE + mean + "p = Max(t, s)"), 1, N, C, H, W)
        assert_sizes(known(SHAPE + "p = Max(s, s)"), 1, N, C, H, W)
        body = SHAPE + "p = Max(s, k)"
        assert_sizes(known(body, arrays={"k": ints(1, 2, 1, 1)}), 1, N, C, H, W)
        assert_sizes(known(body, arrays={"k": ints(1, 5, 1, 1)}), 1, N, Size(5), H, W)

    def test_the_larger_of_two_sizes_that_may_differ_is_none(self):
        body = SHAPE + "h = Slice(s, a2, a3)\nw = Slice(s, a3, a4)\n"
        assert known(body + "p = Max(h, w)").entries == (None,)
        assert known(body + "p = Max(h, a2)").entries == (None,)

    def test_what_is_negative_is_the_smaller_one(self):
        body = SHAPE + "h = Gather(s, i2)\nf = Cast<to = 1>(h)\nm = Mul(f, minus)\n"
        assert known(body + "p = Max(m, one)").entries == (None,)

    def test_a_fraction_may_be_below_1(self):
        body = SHAPE + "h = Gather(s, i2)\nf = Cast<to = 1>(h)\nq = Div(one, f)\n"
        assert known(body + "p = Max(q, one)").entries == (None,)

    def test_quotient_of_floats(self):
        body = SHAPE + "h = Gather(s, i2)\nf = Cast<to = 1>(h)\n"
        assert_sizes(known(body + "q = Div(one, f)"), 0, H**-1)
        assert_sizes(known(body + "q = Div(f, two)"), 0, H * Size(0.5))

    def test_quotient_of_integers_is_kept_where_nothing_is_cut(self):
        body = SHAPE + "h = Gather(s, i2)\nw = Gather(s, i3)\np = Mul(h, w)\n"
        assert_sizes(known(body + "q = Div(p, w)"), 0, H)
        assert known(body + "q = Div(p, n2)") is None
        assert known(body + "q = Div(n2, h)") is None

    def test_cast(self):
        body = SHAPE + "h = Gather(s, i2)\n"
        assert_sizes(known(body + "f = Cast<to = 1>(h)"), 0, H)
        assert_sizes(known(body + "f = Cast<to = 6>(h)"), 0, H)
        half = body + "f = Cast<to = 1>(h)\nq = Div(f, two)\n"
        assert_sizes(known(half + "r = Cast<to = 10>(q)"), 0, H * Size(0.5))
        assert known(half + "r = Cast<to = 7>(q)") is None

    def test_identity(self):
        assert_sizes(known(SHAPE + "i = Identity(s)"), 1, N, C, H, W)


class TestChoice:
    """torch.Tensor.expand: where(size == -1, the size of x, size)."""

    def test_no_size_is_minus_1(self):
        body = SHAPE + "e = Equal(s, m4)"
        assert_array(known(body, arrays={"m4": ints(-1, -1, -1, -1)}), [False] * 4, bool)

    def test_the_same_sizes_are_equal(self):
        assert_array(known(SHAPE + "t = Identity(s)\ne = Equal(s, t)"), [True] * 4, bool)

    def test_what_could_be_equal_is_none(self):
        for numbers in ((0, 3, 0, 0), (1, 3, 1, 1), (5, 3, -1, -1)):
            assert known(SHAPE + "e = Equal(s, k)", arrays={"k": ints(*numbers)}) is None
        assert known(SHAPE + "e = Equal(s, hw)") is None

    def test_where(self):
        arrays = {"k": ints(-1, -1, 1, 1), "yes": np.array([True, True, False, False])}
        body = SHAPE + "w = Where(yes, s, k)"
        assert_sizes(known(body, arrays=arrays), 1, N, C, Size(1), Size(1))
        body = SHAPE + "w = Where(yes, k, s)"
        assert_sizes(known(body, arrays=arrays), 1, Size(-1), Size(-1), H, W)

    def test_where_of_another_length_or_unknown_is_none(self):
        short = {"yes": np.array([True, False]), "k": ints(1, 1)}
        assert (
            known(SHAPE + "w = Where(yes, s, k)", arrays=short | {"yes": np.array([True] * 5)})
            is None
        )
        assert known(SHAPE + "w = Where(u, s, s)", inputs=("bool[4] u",)) is None


class TestOfValue:
    """Shape arithmetic on a tensor that is not made of x."""

    def of(self, body: str, name: str, **more):
        lines = Lines(body, arrays=ARRAYS, **more)
        return size_of_value(
            Context(lines.frame, lines.constants, lines.shapes), lines.values[name]
        )

    def test_chain(self):
        body = SHAPE.replace("x", "u") + "h = Gather(s, i1)\nk = Cast<to = 1>(h)"
        assert_sizes(self.of(body, "k", inputs=("float[k,H] u",)), 0, H)

    def test_every_op(self):
        """The same chains as of x, beside x."""
        first = "s = Shape(u)\nh = Gather(s, i2)\n"
        for line, sizes in {
            "r = Identity(h)": (0, H),
            "r = Unsqueeze(h, a0)": (1, H),
            "r = Reshape(h, m1)": (1, H),
            "r = Slice(s, a2, a4)": (1, H, W),
            "l = Slice(s, a2, a3)\nr = Squeeze(l, a0)": (0, H),
            "l = Slice(s, a2, a4)\nr = ReduceProd<keepdims = 0>(l)": (0, H * W),
            "l = Slice(s, a2, a3)\nr = Concat<axis = 0>(l, a4)": (1, H, Size(4)),
            "e = Equal(s, any)\nr = Where(e, any, s)": (1, N, C, H, W),
        }.items():
            arrays = ARRAYS | {"any": ints(-1, -1, -1, -1)}
            lines = Lines(first + line, arrays=arrays, inputs=("float[N,3,H,W] u",))
            context = Context(lines.frame, lines.constants, lines.shapes)
            assert_sizes(size_of_value(context, lines.values["r"]), *sizes)

    def test_constants_are_folded(self):
        body = "a = Gather(hw, i1)\nb = Mul(a, n5)"
        assert self.of(body, "b") == 15

    def test_what_is_no_shape_arithmetic_is_none(self):
        assert self.of("r = Relu(u)", "r", inputs=("float[k] u",)) is None
        assert self.of("r = Mul(u, n5)", "r", inputs=("int64 u",)) is None
        assert self.of("r = Mul(u, v)", "r", inputs=("int64[2,2] u", "int64[2,2] v")) is None

    def test_fixed_sizes_are_numbers(self):
        found = self.of("s = Shape(u)\nd = Mul(s, n2)", "d", inputs=("float[2,3] u",))
        assert_array(found, [4, 6])

    def test_a_size_that_is_not_known_stays_unknown(self):
        found = self.of("s = Shape(u)\nd = Mul(s, n2)", "d", inputs=("float[N,k] u",))
        assert_sizes(found, 1, N * Size(2), None)

    def test_what_is_not_known_is_not_equal(self):
        body = "s = Shape(u)\nt = Identity(s)\ne = Equal(s, t)"
        assert self.of(body, "e", inputs=("float[N,k] u",)) is None

    def test_of_a_tensor_of_unknown_rank_is_none(self):
        body = "v = other.Any(u)\ns = Shape(v)\nd = Mul(s, n2)"
        assert self.of(body, "d", inputs=("float[N] u",)) is None
        assert self.of("n = Size(u)\nd = Mul(n, n2)", "d", inputs=("float[N] u",)) is None
