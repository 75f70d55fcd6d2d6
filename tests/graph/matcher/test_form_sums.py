"""The algebra of sums, maxima and means: what each makes of a form, and where it says no."""

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
    SPATIAL,
    SQUARE,
    X,
    Y,
    assert_same,
    channels,
    number,
)

from frn_onnx.graph.matcher import form as fm


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
        b = Y.but(scale=np.asarray(3.0), offset=np.asarray(4.0))
        expected = Y.but(scale=np.asarray(5.0), offset=np.asarray(5.0))
        assert_same(fm.add(a, b, FULL), expected)
        assert fm.add(a.but(flaw="f"), b.but(flaw="f"), FULL).flaw == "f"

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            (X, SQUARE),
            (X, Y),
            (Y, Y.but(flaw="its mean runs over axes (1,)")),
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
