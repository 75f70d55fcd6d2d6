"""How long runs take, learnt from those that were."""

import pytest

from frn_onnx.serving.pace import Pace


def test_nothing_is_known_at_first():
    assert Pace().expect(1) == 0


def test_sizes_between_those_known_are_in_proportion_and_larger_ones_too():
    pace = Pace()
    pace.note(1, 0.1)
    pace.note(32, 3.2)
    assert pace.expect(16) == pytest.approx(1.6, rel=0.1)
    assert pace.expect(64) == pytest.approx(6.4)


def test_smaller_ones_than_any_known_take_no_less():
    pace = Pace()
    pace.note(32, 3.2)
    assert pace.expect(1) == 3.2


def test_what_is_new_corrects_what_is_old_of_other_sizes():
    """A device that got slow, or fast again, did not for runs of one size only."""
    pace = Pace()
    pace.note(1, 0.01)
    pace.note(32, 0.02)
    for _ in range(30):
        pace.note(8, 1.0)
    assert pace.expect(1) == 0.01
    assert pace.expect(32) == pytest.approx(1.0, rel=0.01)
    for _ in range(30):
        pace.note(32, 0.5)
    assert pace.expect(8) == pytest.approx(0.5, rel=0.01)
