"""What a form is, and what becomes of it where a mean is complete."""

import numpy as np
import pytest
from matcher_forms import (
    COUNT,
    FRAME,
    INVERSE,
    MEAN,
    NU2,
    SHIFTED,
    SMALL,
    SPATIAL,
    SQUARE,
    X,
    Y,
    assert_same,
    number,
)

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Frame


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
