"""The algebra of products and powers: what each makes of a form, and where it says no."""

import numpy as np
import pytest
from matcher_forms import (
    COUNT,
    FRAME,
    FULL,
    INVERSE,
    MEAN,
    NU2,
    SCALAR,
    SHIFTED,
    SMALL,
    SQUARE,
    X,
    Y,
    assert_same,
    channels,
    number,
)

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Size


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

    def test_magnitudes(self):
        """|x| over the root of nu2 stays one of |x|; |x| * |x| has the sign of x**2."""
        size = X.but(magnitude=True)
        for product in (
            fm.multiply(FRAME, size, INVERSE, FULL),
            fm.multiply(FRAME, INVERSE, size, FULL),
        ):
            assert (product.x_power, product.magnitude) == (1, True)
        squared = fm.multiply(FRAME, size, size, FULL)
        assert (squared.x_power, squared.magnitude) == (2, False)

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


class TestMultiplyBySize:
    def test_a_known_number(self):
        form = fm.multiply_by_size(MEAN.but(offset=np.asarray(0.5)), Size(20))
        assert (form.scale, form.offset, form.sizes) == (20, 10, Size())

    def test_an_open_number(self):
        form = fm.multiply_by_size(MEAN, Size(2.0, ((2, 1),)))
        assert (form.scale, form.sizes) == (2, Size(1.0, ((2, 1),)))

    def test_an_open_number_and_an_offset_are_none(self):
        assert fm.multiply_by_size(MEAN.but(offset=np.asarray(0.5)), COUNT) is None
