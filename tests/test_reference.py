"""The reference against the formula written out by hand, and its refusals."""

import math

import numpy as np
import pytest

from frn_onnx import reference
from frn_onnx.errors import ShapeError


def by_hand(x, gamma, beta, tau, epsilon):
    """The formula in plain loops over an (N, H, W, C) list of lists."""
    n, h, w, c = x.shape
    y = np.empty(x.shape)
    for i in range(n):
        for k in range(c):
            nu2 = sum(float(x[i, a, b, k]) ** 2 for a in range(h) for b in range(w)) / (h * w)
            for a in range(h):
                for b in range(w):
                    v = gamma[k] * x[i, a, b, k] / math.sqrt(nu2 + abs(epsilon)) + beta[k]
                    y[i, a, b, k] = max(v, tau[k])
    return y


@pytest.fixture
def arrays(rng):
    x = rng.normal(size=(2, 3, 4, 5)) * 3 - 1
    return x, *(rng.normal(size=5) for _ in range(3))


def test_equals_the_formula(arrays):
    np.testing.assert_allclose(
        reference.frn(*arrays, epsilon=0.25), by_hand(*arrays, 0.25), rtol=1e-14
    )


def test_large_planes_are_exact_to_the_last_bits(rng):
    """More so than what is measured by it: one chain of additions is off by 19 units here."""
    x = rng.normal(size=(1, 150, 150, 3)) - 0.3
    y = reference.frn(x, np.ones(3), np.zeros(3))
    for k in range(3):
        nu2 = math.fsum(np.square(x[0, :, :, k]).ravel()) / 150**2
        expected = x[0, :, :, k] / math.sqrt(nu2 + 1e-6)
        np.testing.assert_allclose(y[0, :, :, k], expected, rtol=4 * 2.0**-53)


def test_layout_is_only_an_order_of_axes(arrays):
    x, *params = arrays
    nchw = np.moveaxis(x, -1, 1)
    y = reference.frn(nchw, *(p.reshape(5, 1, 1) for p in params), axes=[-1, 2])
    np.testing.assert_array_equal(np.moveaxis(y, 1, -1), reference.frn(x, *params))


@pytest.mark.parametrize("which", range(1, 4))
def test_every_parameter_counts(arrays, which):
    changed = list(arrays)
    changed[which] = changed[which] + 0.5
    assert not np.array_equal(reference.frn(*changed), reference.frn(*arrays))


def test_epsilon_counts_and_its_sign_does_not(arrays):
    assert not np.array_equal(reference.frn(*arrays, epsilon=0.5), reference.frn(*arrays))
    np.testing.assert_array_equal(
        reference.frn(*arrays, epsilon=-0.5), reference.frn(*arrays, epsilon=0.5)
    )


def test_epsilon_per_channel(arrays):
    x, *params = arrays
    epsilon = np.array([0.1, 0.2, 0.3, 0.4, 0.5])
    y = reference.frn(x, *params, epsilon=epsilon)
    for k in range(5):
        one = reference.frn(x[..., k : k + 1], *(p[k : k + 1] for p in params), epsilon=epsilon[k])
        # NumPy sums the two memory layouts in different orders.
        np.testing.assert_allclose(y[..., k : k + 1], one, rtol=1e-14)


def test_nan_passes_and_stays_in_its_plane(arrays):
    x, *params = arrays
    x[1, 2, 3, 4] = np.nan
    nan = np.isnan(reference.frn(x, *params))
    assert nan[1, :, :, 4].all()
    assert nan.sum() == 12


@pytest.mark.parametrize("shape", [(2, 5, 3), (2, 4, 3, 2, 3), (0, 4, 4, 3), (2, 1, 1, 3)])
def test_ranks_and_edges(rng, shape):
    x = rng.normal(size=shape)
    params = [rng.normal(size=3) for _ in range(3)]
    assert reference.frn(x, *params).shape == shape


def test_wrong_parameter_shape_names_both_and_the_cure(arrays):
    x, gamma, beta, tau = arrays
    with pytest.raises(
        ShapeError, match=r"beta must have shape \(C,\)=\(5,\).*received \(4,\).*axes="
    ):
        reference.frn(x, gamma, beta[:4], tau)


@pytest.mark.parametrize("axes", [[1, 1], [0, 1], [1, 4], [1], [1, 2, 3], []])
def test_axes_must_leave_one_channel_axis(arrays, axes):
    with pytest.raises(ShapeError, match=r"distinct axes within 1\.\.3"):
        reference.frn(*arrays, axes=axes)
