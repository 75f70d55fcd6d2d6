"""The algebra: what each step makes of a form, and each place where it says no."""

import numpy as np
import pytest

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Frame, Size
from frn_onnx.graph.matcher.form import Form

FRAME = Frame(("N", 3, "H", "W"), 1)
FULL = FRAME.full
SMALL = ((0,), (1,), (), ())
SPATIAL = frozenset({2, 3})
COUNT = FRAME.size([2, 3])
SCALAR = ()

X = Form(axes=FULL, scale=np.ones(()), x_power=1)
SQUARE = X.but(x_power=2)
MEAN = SQUARE.but(axes=SMALL, over=SPATIAL)
NU2 = Form(axes=SMALL, scale=np.ones(()), nu_power=1)
SHIFTED = NU2.but(epsilon=np.asarray(0.5))
INVERSE = SHIFTED.but(nu_power=-0.5)
Y = X.but(nu_power=-0.5, epsilon=np.asarray(0.5))


def number(value, axes=SCALAR) -> Form:
    return fm.constant(np.asarray(value, dtype=np.float64), axes)


def channels(*values) -> Form:
    return number(values, ((1,), (), ()))


def assert_same(form: Form, expected: Form) -> None:
    assert form is not None
    assert form.axes == expected.axes
    assert form.channels == expected.channels
    assert form.same(expected), f"{form}\nexpected {expected}"


class TestForm:
    @pytest.mark.parametrize(
        "change",
        [
            {"scale": np.asarray(2.0)},
            {"x_power": 2},
            {"nu_power": -0.5},
            {"epsilon": np.asarray(0.1)},
            {"offset": np.asarray(0.1)},
            {"threshold": np.asarray(0.1)},
            {"over": frozenset({2})},
            {"sizes": COUNT},
            {"flaw": "it is another"},
        ],
    )
    def test_same_asks_for_everything(self, change):
        assert X.same(X.but(axes=SMALL))
        assert not X.same(X.but(**change))
        assert not X.but(**change).same(X)

    def test_same_asks_for_every_channel(self):
        a = X.but(epsilon=np.array([1.0, 2.0, 3.0]))
        assert a.same(X.but(epsilon=np.array([1.0, 2.0, 3.0])))
        assert not a.same(X.but(epsilon=np.array([1.0, 2.0, 4.0])))

    @pytest.mark.parametrize(
        ("form", "is_constant"),
        [
            (number(2), True),
            (X, False),
            (NU2, False),
            (number(1).but(sizes=COUNT), False),
            (X.but(x_power=0, over=SPATIAL), True),
        ],
    )
    def test_is_constant(self, form, is_constant):
        assert form.is_constant is is_constant

    @pytest.mark.parametrize(
        ("form", "is_statistic"),
        [(SQUARE, True), (MEAN, True), (NU2, True), (INVERSE, True), (X, False), (Y, False)],
    )
    def test_is_statistic(self, form, is_statistic):
        assert form.is_statistic is is_statistic

    def test_a_constant_is_no_statistic(self):
        assert not number(1).is_statistic

    @pytest.mark.parametrize(
        "change",
        [
            {"x_power": 2},
            {"nu_power": -0.5},
            {"sizes": COUNT},
            {"over": SPATIAL},
            {"threshold": np.asarray(0.0)},
            {"scale": np.asarray(2.0)},
            {"scale": np.array([1.0, 1.0, 2.0])},
            {"offset": np.asarray(1.0)},
            {"offset": np.array([0.0, 0.0, 1.0])},
        ],
    )
    def test_is_x(self, change):
        assert X.is_x
        assert X.but(axes=SMALL).is_x
        assert not X.but(**change).is_x

    def test_looks_like_frn(self):
        assert Y.looks_like_frn
        assert Y.but(flaw="no").looks_like_frn
        assert Y.but(flaw="no", sizes=COUNT).looks_like_frn
        assert not Y.but(sizes=COUNT).looks_like_frn
        assert not Y.but(x_power=0).looks_like_frn
        assert not Y.but(nu_power=0.5).looks_like_frn

    def test_floor(self):
        """nu2 is at least 0, so scale * (nu2 + epsilon) + offset is at least what is left."""
        assert NU2.floor() == 0
        assert SHIFTED.floor() == 0.5
        assert SHIFTED.but(scale=np.asarray(3.0), offset=np.asarray(0.25)).floor() == 1.75
        assert SQUARE.but(offset=np.asarray(0.25)).floor() == 0.25
        assert INVERSE.but(offset=np.asarray(0.25)).floor() == 0.25
        assert SHIFTED.but(scale=np.asarray(0.0)).floor() == 0
        assert SHIFTED.but(scale=np.asarray(-1.0)).floor() == -np.inf
        assert SHIFTED.but(x_power=1).floor() == 0
        np.testing.assert_array_equal(
            SHIFTED.but(scale=np.array([1.0, -1.0, 0.0])).floor(), [0.5, -np.inf, 0]
        )


def test_constants_are_float64():
    assert fm.constant(np.float32(0.1), ()).scale.dtype == np.float64
    assert fm.constant(np.float32(0.1), ()).scale == np.float32(0.1)


class TestSettled:
    def test_a_finished_mean_is_nu2(self):
        assert_same(fm.settled(FRAME, MEAN), NU2)

    def test_what_is_added_is_epsilon(self):
        form = MEAN.but(scale=np.asarray(2.0), offset=np.asarray(1.0))
        assert_same(fm.settled(FRAME, form), SHIFTED.but(scale=np.asarray(2.0)))

    def test_what_is_added_again_is_added_to_epsilon(self):
        form = SHIFTED.but(scale=np.asarray(2.0), offset=np.asarray(1.0))
        expected = SHIFTED.but(scale=np.asarray(2.0), epsilon=np.asarray(1.0))
        assert_same(fm.settled(FRAME, form), expected)

    def test_one_epsilon_per_channel(self):
        form = MEAN.but(offset=np.array([0.0, 0.5, 0.25]))
        assert_same(fm.settled(FRAME, form), NU2.but(epsilon=np.array([0.0, 0.5, 0.25])))

    @pytest.mark.parametrize("offset", [-0.5, [0.5, -0.25, 0.5]])
    def test_a_negative_epsilon_is_a_flaw(self, offset):
        settled = fm.settled(FRAME, MEAN.but(offset=np.asarray(offset)))
        assert "the epsilon in the root is negative" in settled.flaw
        assert f"({np.min(offset):g})" in settled.flaw

    def test_an_older_flaw_stays(self):
        assert fm.settled(FRAME, MEAN.but(offset=np.asarray(-1.0), flaw="a")).flaw == "a"
        assert fm.settled(FRAME, MEAN.but(over=frozenset({2}), flaw="a")).flaw == "a"

    @pytest.mark.parametrize(
        "form",
        [
            NU2.but(offset=np.asarray(0.5), scale=np.asarray(0.0)),
            NU2.but(offset=np.asarray(0.5), scale=np.array([1.0, 0.0, 1.0])),
            NU2.but(offset=np.asarray(0.5), threshold=np.asarray(0.5)),
            NU2.but(offset=np.asarray(0.5), sizes=COUNT),
            INVERSE.but(offset=np.asarray(0.5)),
            X.but(offset=np.asarray(0.5), nu_power=1, epsilon=np.asarray(0.5)),
            SQUARE.but(offset=np.asarray(0.5)),
        ],
    )
    def test_what_is_no_epsilon_stays_an_offset(self, form):
        assert fm.settled(FRAME, form) is form

    @pytest.mark.parametrize(
        ("form", "frame", "flaw"),
        [
            (MEAN, FRAME, None),
            (MEAN.but(x_power=1), FRAME, "the mean of x, not of x**2"),
            (MEAN.but(over=frozenset({2})), FRAME, "over axes (2,) of x only"),
            (MEAN.but(over=frozenset({0, 2, 3})), FRAME, "over the batch axis (axes (0, 2, 3)"),
            (MEAN.but(over=frozenset({1, 2, 3})), FRAME, "over the channels too (axes (1, 2, 3)"),
            (MEAN.but(over=frozenset({1, 2})), FRAME, "over axes (1, 2) of x only"),
            (MEAN, Frame(FRAME.dims, None), "over axes (2, 3) of x only"),
            # Axes of size 1 may be left out of a mean, or be part of one.
            (MEAN.but(over=frozenset({2})), Frame(("N", 3, "H", 1), 1), None),
            (MEAN.but(over=frozenset({0, 2, 3})), Frame((1, 3, "H", "W"), 1), None),
            (MEAN.but(over=frozenset({1, 2, 3})), Frame(("N", 1, "H", "W"), 1), None),
            (MEAN.but(over=frozenset({1, 2})), Frame(("N", 3, "H", 1), 1), "channels too"),
        ],
    )
    def test_a_mean_over_other_axes_is_a_flaw(self, form, frame, flaw):
        found = fm.settled(frame, form).flaw
        assert found is None if flaw is None else flaw in found


class TestMultiply:
    def test_by_a_constant(self):
        form = Y.but(offset=np.asarray(3.0), threshold=np.asarray(5.0))
        product = fm.multiply(FRAME, form, channels(1, 2, 4), FULL)
        expected = form.but(
            scale=np.array([1.0, 2, 4]),
            offset=np.array([3.0, 6, 12]),
            threshold=np.array([5.0, 10, 20]),
        )
        assert_same(product, expected)
        assert_same(fm.multiply(FRAME, channels(1, 2, 4), form, FULL), expected)

    def test_two_constants(self):
        assert_same(fm.multiply(FRAME, number(2), number(3), SCALAR), number(6))

    def test_a_threshold_by_a_negative_factor_is_none(self):
        """-max(y, t) is min(-y, -t)."""
        form = Y.but(threshold=np.asarray(1.0))
        assert fm.multiply(FRAME, form, number(-1), FULL) is None
        assert fm.multiply(FRAME, form, channels(1, 2, -1), FULL) is None
        assert fm.multiply(FRAME, Y, number(-1), FULL) is not None
        assert fm.multiply(FRAME, form, number(0), FULL).threshold == 0

    def test_a_factor_that_is_1_in_float32(self):
        almost = 1 + 2.0**-24
        assert fm.multiply(FRAME, MEAN, number(almost), SMALL).scale == 1
        assert fm.multiply(FRAME, MEAN, number(1 + 2.0**-23), SMALL).scale == 1
        assert fm.multiply(FRAME, MEAN, number(1 + 2.0**-22), SMALL).scale == 1 + 2.0**-22
        assert fm.multiply(FRAME, MEAN, number(1 - 2.0**-22), SMALL).scale == 1 - 2.0**-22
        # A gamma is what it is.
        assert fm.multiply(FRAME, Y, number(almost), FULL).scale == almost
        per_channel = fm.multiply(FRAME, MEAN, channels(almost, 1, 2), SMALL).scale
        np.testing.assert_array_equal(per_channel, [almost, 1, 2])

    @pytest.mark.filterwarnings("ignore:invalid value")
    def test_what_is_not_finite_is_none(self):
        assert fm.multiply(FRAME, X, number(np.inf), FULL) is None
        assert fm.multiply(FRAME, X, channels(1, np.nan, 1), FULL) is None

    def test_powers_add_up(self):
        assert_same(fm.multiply(FRAME, X, X, FULL), SQUARE)
        assert_same(fm.multiply(FRAME, X, INVERSE, FULL), Y)
        assert_same(fm.multiply(FRAME, INVERSE, X, FULL), Y)
        assert_same(fm.multiply(FRAME, INVERSE, INVERSE, SMALL), SHIFTED.but(nu_power=-1))
        scaled = fm.multiply(
            FRAME, X.but(scale=np.asarray(2.0)), INVERSE.but(scale=np.asarray(3.0)), FULL
        )
        assert scaled.scale == 6

    def test_a_mean_is_settled_first(self):
        product = fm.multiply(FRAME, X, MEAN.but(offset=np.asarray(0.5)), FULL)
        assert_same(product, X.but(nu_power=1, epsilon=np.asarray(0.5)))
        product = fm.multiply(FRAME, MEAN.but(offset=np.asarray(0.5)), X, FULL)
        assert_same(product, X.but(nu_power=1, epsilon=np.asarray(0.5)))

    def test_sizes_multiply_and_channels_and_flaws_are_inherited(self):
        a, b = X.but(sizes=COUNT), INVERSE.but(sizes=COUNT, channels=3, flaw="b")
        product = fm.multiply(FRAME, a, b, FULL)
        assert product.sizes == COUNT * COUNT
        assert (product.channels, product.flaw) == (3, "b")
        product = fm.multiply(FRAME, a.but(channels=3, flaw="a"), b.but(channels=None), FULL)
        assert (product.channels, product.flaw) == (3, "a")

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            # (x + 1) * x, and with a threshold: sums do not multiply.
            (X.but(offset=np.asarray(1.0)), X),
            (X, X.but(offset=np.array([0.0, 0.0, 1.0]))),
            (X.but(threshold=np.asarray(0.0)), INVERSE),
            (X, INVERSE.but(threshold=np.asarray(0.0))),
            # (nu2 + 0.5)**-0.5 * (nu2 + 0.25)**-0.5, and one of them without an epsilon.
            (INVERSE, INVERSE.but(epsilon=np.asarray(0.25))),
            (INVERSE, INVERSE.but(epsilon=None)),
            (INVERSE.but(epsilon=np.array([0.5, 0.5, 0.25])), INVERSE),
            # Two numbers of channels.
            (X.but(channels=3), INVERSE.but(channels=4)),
            # x**3 and more is no part of FRN.
            (SQUARE, X),
            (SQUARE, SQUARE),
            (X.but(x_power=-1), NU2),
        ],
    )
    def test_is_none(self, a, b):
        assert fm.multiply(FRAME, a, b, FULL) is None
        assert fm.multiply(FRAME, b, a, FULL) is None

    def test_an_epsilon_counts_where_there_is_nu2(self):
        """x**2 * (nu2 + 0.5)**0 has none."""
        assert_same(fm.multiply(FRAME, X.but(epsilon=None), INVERSE, FULL), Y)
        assert fm.multiply(FRAME, INVERSE, X, FULL).epsilon == 0.5


class TestPower:
    def test_of_one(self):
        form = X.but(offset=np.asarray(1.0))
        assert fm.power(FRAME, form, 1) is form

    def test_root_and_inverse(self):
        assert_same(fm.power(FRAME, SHIFTED, -0.5), INVERSE)
        assert_same(fm.power(FRAME, fm.power(FRAME, SHIFTED, 0.5), -1), INVERSE)
        assert_same(fm.power(FRAME, fm.power(FRAME, SHIFTED, -1), 0.5), INVERSE)

    def test_scale_and_sizes_are_raised(self):
        form = SHIFTED.but(scale=np.array([4.0, 9, 16]), sizes=COUNT)
        expected = INVERSE.but(scale=np.array([1 / 2, 1 / 3, 1 / 4]), sizes=COUNT**-0.5)
        assert_same(fm.power(FRAME, form, -0.5), expected)

    def test_a_mean_is_settled_first(self):
        assert_same(fm.power(FRAME, MEAN.but(offset=np.asarray(0.5)), -0.5), INVERSE)

    def test_x_squared(self):
        assert_same(fm.power(FRAME, X, 2), SQUARE)
        scaled = fm.power(FRAME, X.but(scale=np.asarray(-3.0)), 2)
        assert_same(scaled, SQUARE.but(scale=np.asarray(9.0)))

    def test_the_root_of_a_square_is_the_magnitude(self):
        root = fm.power(FRAME, SQUARE.but(scale=np.asarray(9.0)), 0.5)
        assert_same(root, X.but(scale=np.asarray(3.0), magnitude=True))
        assert not root.is_x
        assert_same(fm.power(FRAME, root, 2), SQUARE.but(scale=np.asarray(9.0)))

    def test_a_constant(self):
        assert_same(fm.power(FRAME, number(4), 0.5), number(2))
        assert_same(fm.power(FRAME, number(4), -1), number(0.25))

    @pytest.mark.parametrize(
        ("form", "exponent"),
        [
            (SQUARE, -0.5),
            (SQUARE, 0),
            # 1/x, x**3 and sqrt(x) are no part of FRN.
            (X, -1),
            (X, 3),
            (X, 0.5),
            (SQUARE, 2),
            # Roots of what is negative or 0, and the inverse of 0.
            (SHIFTED.but(scale=np.asarray(-1.0)), -0.5),
            (SHIFTED.but(scale=np.array([1.0, 1.0, -1.0])), 0.5),
            (SHIFTED.but(scale=np.asarray(0.0)), 0.5),
            (number(-1), 0.5),
            (number(0), -1),
            (number(0), -0.5),
            # Roots of sums.
            (X.but(offset=np.asarray(1.0)), 2),
            (Y.but(offset=np.asarray(1.0)), -1),
            (SQUARE.but(offset=np.asarray(1.0)), -0.5),
            (X.but(threshold=np.asarray(0.0)), 2),
            (Y.but(threshold=np.asarray(0.0)), -1),
            (SHIFTED.but(nu_power=0.5, offset=np.asarray(0.1)), 2),
        ],
    )
    @pytest.mark.filterwarnings("error")
    def test_is_none(self, form, exponent):
        assert fm.power(FRAME, form, exponent) is None

    def test_a_negative_scale_has_whole_powers(self):
        form = fm.power(FRAME, SHIFTED.but(scale=np.asarray(-2.0)), -1)
        assert_same(form, SHIFTED.but(scale=np.asarray(-0.5), nu_power=-1))

    def test_of_a_floor_is_a_flaw(self):
        form = fm.power(FRAME, NU2.but(threshold=np.asarray(0.1)), -0.5)
        assert form.flaw == fm.FLOOR
        assert form.threshold is None
        assert fm.power(FRAME, NU2.but(threshold=np.asarray(0.1), flaw="a"), -0.5).flaw == "a"

    def test_a_floor_over_an_epsilon_takes_both(self):
        form = fm.power(FRAME, MEAN.but(threshold=np.asarray(0.7), offset=np.asarray(0.1)), -0.5)
        assert form.flaw == fm.FLOOR
        assert form.epsilon == 0.1

    def test_of_a_root_and_epsilon_is_a_flaw(self):
        root = SHIFTED.but(nu_power=0.5, offset=np.asarray(0.1))
        form = fm.power(FRAME, root, -1)
        assert_same(form, INVERSE.but(flaw=fm.OUTSIDE))
        assert fm.power(FRAME, root.but(flaw="a"), -1).flaw == "a"

    def test_of_a_sum_of_an_unknown_count_is_a_flaw(self):
        total = NU2.but(sizes=COUNT, offset=np.asarray(0.1))
        assert fm.power(FRAME, total, -0.5).flaw == fm.UNKNOWN_COUNT
        assert fm.power(FRAME, total, 0.5).flaw == fm.UNKNOWN_COUNT


class TestAdd:
    def test_a_constant(self):
        form = Y.but(offset=np.asarray(1.0), threshold=np.asarray(2.0))
        expected = form.but(offset=np.array([2.0, 3, 4]), threshold=np.array([3.0, 4, 5]))
        assert_same(fm.add(form, channels(1, 2, 3), FULL), expected)
        assert_same(fm.add(channels(1, 2, 3), form, FULL), expected)

    def test_two_constants(self):
        assert_same(fm.add(number(1), channels(1, 2, 3), SMALL), number([2, 3, 4], SMALL))

    def test_an_epsilon_of_0_was_added(self):
        assert fm.add(MEAN, number(0), SMALL).epsilon == 0
        assert fm.add(SHIFTED, number(0), SMALL).epsilon == 0.5
        assert fm.add(MEAN, number(0.1), SMALL).epsilon is None
        assert fm.add(Y.but(epsilon=None), number(0), FULL).epsilon is None

    def test_an_infinite_number_is_none(self):
        assert fm.add(Y, number(-np.inf), FULL) is None
        assert fm.add(MEAN, channels(0, np.nan, 0), SMALL) is None

    def test_two_multiples_of_one_function(self):
        a = Y.but(scale=np.asarray(2.0), offset=np.asarray(1.0))
        b = Y.but(scale=np.asarray(3.0), offset=np.asarray(4.0), flaw="b")
        expected = Y.but(scale=np.asarray(5.0), offset=np.asarray(5.0), flaw="b")
        assert_same(fm.add(a, b, FULL), expected)
        assert fm.add(a.but(flaw="a"), b, FULL).flaw == "a"

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (X, SQUARE),
            (X, Y),
            (MEAN, MEAN.but(over=frozenset({2}))),
            (MEAN, MEAN.but(sizes=COUNT)),
            (NU2.but(channels=3), NU2.but(channels=4)),
            (Y, Y.but(epsilon=np.asarray(0.25))),
            (Y, Y.but(epsilon=None)),
            (Y, Y.but(threshold=np.asarray(0.0))),
        ],
    )
    def test_two_functions_are_none(self, a, b):
        assert fm.add(a, b, FULL) is None
        assert fm.add(b, a, FULL) is None


class TestAxes:
    """The result has the axes that both operands give it."""

    LINE = ((1,), (), ())

    @pytest.mark.parametrize("step", [fm.add, fm.maximum])
    @pytest.mark.parametrize("form", [Y, SHIFTED])
    def test_of_sums_and_maxima(self, step, form):
        assert step(form.but(axes=self.LINE), number(9), FULL).axes == FULL
        assert step(number(0), form.but(axes=self.LINE), FULL).axes == FULL

    def test_of_two_functions(self):
        assert fm.add(X.but(axes=self.LINE), X, FULL).axes == FULL
        assert fm.multiply(FRAME, X.but(axes=self.LINE), X, FULL).axes == FULL

    def test_of_products(self):
        assert fm.multiply(FRAME, Y.but(axes=self.LINE), number(9), FULL).axes == FULL
        assert fm.multiply(FRAME, number(2), number(9), FULL).axes == FULL
        assert fm.add(number(2), number(9), FULL).axes == FULL

    def test_of_means(self):
        assert fm.mean(X, SPATIAL, SMALL).axes == SMALL


class TestNegate:
    def test_scale_and_offset(self):
        form = Y.but(scale=np.asarray(2.0), offset=np.asarray(3.0))
        expected = Y.but(scale=np.asarray(-2.0), offset=np.asarray(-3.0))
        assert_same(fm.negate(form), expected)

    def test_of_a_threshold_is_none(self):
        assert fm.negate(Y.but(threshold=np.asarray(0.0))) is None


class TestMaximum:
    def test_a_constant_is_a_threshold(self):
        expected = Y.but(threshold=np.array([1.0, 2, 3]))
        assert_same(fm.maximum(Y, channels(1, 2, 3), FULL), expected)
        assert_same(fm.maximum(channels(1, 2, 3), Y, FULL), expected)

    def test_the_larger_of_two_thresholds(self):
        form = Y.but(threshold=np.array([0.0, 2.0, 5.0]))
        assert_same(
            fm.maximum(form, channels(1, 2, 3), FULL), Y.but(threshold=np.array([1.0, 2, 5]))
        )

    def test_below_what_a_statistic_can_be_it_is_nothing(self):
        assert_same(fm.maximum(SHIFTED, number(0.5), SMALL), SHIFTED)
        assert_same(fm.maximum(NU2.but(axes=SCALAR), number(0), SMALL), NU2)
        assert fm.maximum(SHIFTED, number(0.75), SMALL).threshold == 0.75
        assert fm.maximum(SHIFTED, channels(0.5, 0.5, 0.75), SMALL).threshold is not None
        # y has no floor.
        assert fm.maximum(Y, number(-9), FULL).threshold == -9

    def test_a_threshold_that_is_no_number_is_none(self):
        assert fm.maximum(Y, channels(0, np.nan, 1), FULL) is None
        assert fm.maximum(Y, number(-np.inf), FULL).threshold == -np.inf

    def test_of_two_functions_or_two_constants_is_none(self):
        assert fm.maximum(X, Y, FULL) is None
        assert fm.maximum(number(1), number(2), SCALAR) is None


class TestAbsolute:
    @pytest.mark.parametrize("form", [SQUARE, NU2, SHIFTED, INVERSE, MEAN])
    def test_of_a_statistic_is_the_statistic(self, form):
        assert fm.absolute(FRAME, form) is form

    @pytest.mark.parametrize(
        "form",
        [
            X.but(offset=np.asarray(1.0)),
            X.but(threshold=np.asarray(0.0)),
            Y,
            SQUARE.but(scale=np.asarray(-1.0)),
            MEAN.but(scale=np.asarray(-1.0)),
            INVERSE.but(offset=np.asarray(-1.0)),
            NU2.but(scale=np.array([1.0, -1.0, 1.0])),
        ],
    )
    def test_of_what_can_be_negative_is_none(self, form):
        assert fm.absolute(FRAME, form) is None

    def test_of_x_is_its_magnitude(self):
        form = fm.absolute(FRAME, X.but(scale=np.array([1.0, -2, 3])))
        assert_same(form, X.but(scale=np.array([1.0, 2, 3]), magnitude=True))

    def test_of_a_negative_epsilon_stays_a_near_miss(self):
        form = fm.absolute(FRAME, MEAN.but(offset=np.asarray(-0.5)))
        assert "negative" in form.flaw


class TestMean:
    def test_axes_add_up(self):
        once = fm.mean(SQUARE, frozenset({2}), ((0,), (1,), (), (3,)))
        assert once.over == {2}
        twice = fm.mean(once, frozenset({3}), SMALL)
        assert_same(twice, MEAN)

    def test_of_x_and_of_offsets(self):
        assert fm.mean(X, SPATIAL, SMALL).over == SPATIAL
        form = fm.mean(SQUARE.but(offset=np.asarray(0.5), scale=np.asarray(2.0)), SPATIAL, SMALL)
        assert (form.offset, form.scale) == (0.5, 2.0)

    @pytest.mark.parametrize(
        "form", [X.but(threshold=np.asarray(0.0)), Y, NU2, number(1), X.but(x_power=3)]
    )
    def test_of_what_is_no_monomial_is_none(self, form):
        assert fm.mean(form, SPATIAL, SMALL) is None


class TestMultiplyBySize:
    def test_a_known_number(self):
        form = fm.multiply_by_size(MEAN.but(offset=np.asarray(0.5)), Size(20))
        assert (form.scale, form.offset, form.sizes) == (20, 10, Size())

    def test_an_open_number(self):
        form = fm.multiply_by_size(MEAN, Size(2.0, ((2, 1),)))
        assert (form.scale, form.sizes) == (2, Size(1.0, ((2, 1),)))

    def test_an_open_number_and_an_offset_are_none(self):
        assert fm.multiply_by_size(MEAN.but(offset=np.asarray(0.5)), COUNT) is None
