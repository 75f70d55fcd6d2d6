"""Rules of elementwise ops: what each makes of what it is given, and where it says no."""

import numpy as np
import pytest
from matcher_graphs import Lines, floats

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.values import Comparison

GAMMA = floats(1, 2, 4, shape=(3, 1, 1))
ARRAYS = {"gamma": GAMMA, "pair": floats(1, 2), "wide": floats(3, shape=(1, 1, 1, 1, 1))}
# y, a plain multiple of x in the algebra.
Y = "y = Mul(x, gamma)\n"


def form(body: str, **more):
    return Lines(body, arrays=ARRAYS, **more).form()


class TestProducts:
    @pytest.mark.parametrize(("inputs"), ["x, gamma", "gamma, x"])
    def test_mul(self, inputs):
        np.testing.assert_array_equal(form(f"m = Mul({inputs})").scale, [1, 2, 4])

    def test_square(self):
        assert form("m = Mul(x, x)").x_power == 2
        assert form("p = Pow(x, two)").x_power == 2

    def test_div(self):
        np.testing.assert_array_equal(form("d = Div(x, gamma)").scale, [1, 0.5, 0.25])
        assert form("d = Div(gamma, x)") is None
        assert form("d = Div(x, zero)") is None

    def test_pow(self):
        assert form("p = Pow(x, wide)", opset=18) is None
        found = form("m = Mul(x, x)\np = Pow(m, one)")
        assert found.x_power == 2
        assert form("p = Pow(x, pair)", x="float[N,3,H,2]") is None
        assert form("p = Pow(two, x)") is None
        assert form("p = Pow(x, x)") is None
        assert form("p = Pow(x, u)", inputs=("float u",)) is None

    def test_an_exponent_of_a_higher_rank_adds_axes(self):
        lines = Lines("p = Pow(x, exponent)", arrays={"exponent": floats(2, shape=(1,) * 5)})
        assert lines.form().axes == ((), *lines.frame.full)

    def test_operands_that_do_not_meet_are_none(self):
        assert form("t = Transpose<perm = [0, 1, 3, 2]>(x)\nm = Mul(x, t)") is None
        assert form("t = Transpose<perm = [0, 1, 3, 2]>(x)\nm = Div(x, t)") is None
        assert form("m = Mul(x, pair)", x="float[N,3,H,2]") is None
        assert form("m = Mul(x, u)", inputs=("float[3,1,1] u",)) is None


class TestSums:
    def test_add(self):
        found = form("a = Add(x, gamma)")
        np.testing.assert_array_equal(found.offset, [1, 2, 4])

    def test_sub(self):
        np.testing.assert_array_equal(form("s = Sub(x, gamma)").offset, [-1, -2, -4])
        found = form("s = Sub(gamma, x)")
        assert found.scale == -1
        np.testing.assert_array_equal(found.offset, [1, 2, 4])
        assert form("m = Max(x, zero)\ns = Sub(one, m)") is None
        assert form("s = Sub(x, pair)", x="float[N,3,H,2]") is None

    def test_sum_of_any_number(self):
        found = form("s = Sum(x, gamma, x, one)")
        assert found.scale == 2
        np.testing.assert_array_equal(found.offset, [2, 3, 5])
        assert form("s = Sum(x)").is_x
        assert form("q = Mul(x, x)\ns = Sum(x, q, one)") is None

    def test_neg(self):
        assert form("n = Neg(x)").scale == -1
        assert form("m = Max(x, zero)\nn = Neg(m)") is None


class TestRoots:
    NU2 = "q = Mul(x, x)\nm = GlobalAveragePool(q)\na = Add(m, half)\n"

    @pytest.mark.parametrize(
        ("nodes", "power"),
        [
            ("r = Sqrt(a)", 0.5),
            ("r = Reciprocal(a)", -1),
            ("s = Sqrt(a)\nr = Reciprocal(s)", -0.5),
            ("s = Sqrt(a)\nr = Div(one, s)", -0.5),
        ],
    )
    def test_of_the_statistic(self, nodes, power):
        found = form(self.NU2 + nodes)
        assert (found.nu_power, found.epsilon) == (power, 0.5)

    def test_sqrt_of_a_square_is_the_magnitude(self):
        for root in ("r = Sqrt(q)", "r = Pow(q, half)"):
            found = form("q = Mul(x, x)\n" + root)
            assert found.magnitude
            assert not found.is_x

    def test_abs(self):
        assert form(self.NU2 + "r = Abs(a)").offset == 0.5
        assert form("y = Abs(gamma)\nm = Mul(x, y)") is not None


class TestThresholds:
    def test_max(self):
        np.testing.assert_array_equal(form("m = Max(x, gamma)").threshold, [1, 2, 4])
        np.testing.assert_array_equal(form("m = Max(two, x, gamma)").threshold, [2, 2, 4])
        assert form("m = Max(x)").is_x
        assert form("q = Mul(x, x)\nm = Max(x, q)") is None

    def test_relu(self):
        assert form("r = Relu(x)").threshold == 0
        assert form("q = Mul(x, x)\nr = Relu(q)").threshold is None

    def test_clip(self):
        assert form("c = Clip(x, half)").threshold == 0.5
        assert form("c = Clip<min = -0.25>(x)", opset=6).threshold == -0.25
        assert form("c = Clip(x)").is_x

    def test_clip_to_an_upper_bound_is_none(self):
        assert form("c = Clip(x, half, one)") is None
        assert form("c = Clip(x, , one)") is None
        assert form("c = Clip<max = 6.0>(x)", opset=6) is None
        assert form("c = Clip(x, half, u)", inputs=("float u",)) is None

    def test_clip_to_the_largest_number_is_no_bound(self):
        largest = {"largest": np.float32(np.finfo(np.float32).max)}
        lines = Lines("c = Clip(x, half, largest)", arrays=largest)
        assert lines.form().threshold == 0.5
        lines = Lines("c = Clip(x, , largest)", arrays=largest)
        assert lines.form().is_x
        infinite = {"largest": np.float32(np.inf)}
        assert Lines("c = Clip(x, , largest)", arrays=infinite).form().is_x


class TestComparisons:
    @pytest.mark.parametrize(
        ("op", "inputs", "greater"),
        [
            ("Greater", "x, half", True),
            ("GreaterOrEqual", "x, half", True),
            ("Less", "x, half", False),
            ("LessOrEqual", "x, half", False),
            ("Greater", "half, x", False),
            ("Less", "half, x", True),
        ],
    )
    def test_the_constant_is_the_bound(self, op, inputs, greater):
        found = Lines(f"c = {op}({inputs})").known()
        assert isinstance(found, Comparison)
        assert found.form.is_x
        assert found.bound.scale == 0.5
        assert found.greater is greater

    def test_of_two_functions_is_none(self):
        assert Lines("q = Mul(x, x)\nc = Greater(x, q)").known() is None
        assert Lines("t = Transpose<perm = [0, 1, 3, 2]>(x)\nc = Less(x, t)").known() is None

    @pytest.mark.parametrize("condition", ["Greater(x, wide)", "Less(wide, x)"])
    def test_with_a_bound_of_more_axes_is_none(self, condition):
        """The condition has them, and so has what is chosen by it."""
        arrays = {"wide": floats(0.5, shape=(1, 1, 1, 1, 1))}
        assert Lines(f"c = {condition}", arrays=arrays).known() is None
        assert Lines(f"c = {condition}\nw = Where(c, x, half)", arrays=arrays).form() is None

    @pytest.mark.parametrize(
        "nodes",
        [
            "c = Greater(y, half)\nw = Where(c, y, half)",
            "c = Less(y, half)\nw = Where(c, half, y)",
            "c = Less(half, y)\nw = Where(c, y, half)",
            "c = GreaterOrEqual(half, y)\nw = Where(c, half, y)",
        ],
    )
    def test_where(self, nodes):
        found = form(Y + nodes)
        assert found.threshold == 0.5
        np.testing.assert_array_equal(found.scale, [1, 2, 4])

    @pytest.mark.parametrize(
        "nodes",
        [
            # The smaller of the two.
            "c = Greater(y, half)\nw = Where(c, half, y)",
            "c = Less(y, half)\nw = Where(c, y, half)",
            # Another bound, and another function, than was compared.
            "c = Greater(y, half)\nw = Where(c, y, one)",
            "c = Greater(x, half)\nw = Where(c, y, half)",
            "c = Greater(y, gamma)\nw = Where(c, y, half)",
            # The same function with its axes elsewhere.
            "t = Transpose<perm = [0, 1, 3, 2]>(y)\nc = Greater(t, half)\nw = Where(c, y, half)",
            # Two functions.
            "c = Greater(y, half)\nw = Where(c, y, x)",
            "c = Greater(y, half)\nw = Where(c, half, half)",
            "w = Where(u, y, half)",
        ],
    )
    def test_where_of_something_else_is_none(self, nodes):
        assert form(Y + nodes, inputs=("bool[N,3,H,W] u",)) is None

    def test_where_with_a_bound_per_channel(self):
        found = form("c = Greater(x, gamma)\nw = Where(c, x, gamma)")
        np.testing.assert_array_equal(found.threshold, [1, 2, 4])


def test_messages_name_what_is_wrong():
    """The flaws that elementwise ops can bring in."""
    floor = form("q = Mul(x, x)\nm = GlobalAveragePool(q)\nf = Max(m, half)\nr = Sqrt(f)")
    assert floor.flaw == fm.FLOOR
