"""The golden file against the reference, and the kernels of every target against the file."""

import golden
import numpy as np
import pytest
import tolerances

from frn_onnx import _native, op

CASES = golden.read()


def test_small_enough_to_travel():
    assert golden.PATH.stat().st_size < 300_000
    assert {case.x.dtype.itemsize for case in CASES} == {2, 4, 8}


def test_is_what_the_reference_gives():
    """Computed anew from the inputs in the file; long double is not the same everywhere."""
    for case in CASES:
        y, allowed = case.y.copy(), case.allowed.copy()
        case.compute()
        np.testing.assert_allclose(y, case.y, rtol=1e-14, err_msg=case.name)
        np.testing.assert_allclose(allowed, case.allowed, rtol=1e-6, err_msg=case.name)


def test_every_case_is_met(target):
    wrong = []
    for case in CASES:
        epsilon = float(np.float32(case.epsilon)) if case.epsilons is None else case.epsilons
        axes = op.normalize_axes(case.axes)
        params = (case.gamma, case.beta, case.tau)
        y = _native.frn(case.x, *params, residual=case.residual, epsilon=epsilon, axes=axes)
        try:
            tolerances.assert_within(y, case.y, case.allowed)
        except AssertionError as error:
            wrong.append(f"{case.name}: {error}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("index", range(0, len(CASES), 7))
def test_a_wrong_element_is_seen(index):
    """The tolerances are of use: no large element may be a tenth larger."""
    case = CASES[index]
    y = case.y.astype(case.x.dtype)
    tolerances.assert_within(y, case.y, case.allowed)
    finite = np.where(np.isfinite(case.y), np.abs(case.y), 0)
    where = np.unravel_index(np.argmax(finite - 20 * case.allowed), finite.shape)
    y[where] = y[where].astype(np.float64) * 1.1 if finite[where] > 0 else 1
    with pytest.raises(AssertionError, match="out of tolerance"):
        tolerances.assert_within(y, case.y, case.allowed)
