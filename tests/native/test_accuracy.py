"""Numbers that break careless sums: huge planes, huge and tiny magnitudes, zeros, NaN and inf."""

import ml_dtypes
import numpy as np
import pytest
from native_cases import make_params, make_x, run_and_check

from frn_onnx import _native

NCHW, NHWC = ((1, 2, 640, 512), (2, 3)), ((1, 640, 512, 2), (1, 2))
SMALL_NCHW, SMALL_NHWC = ((2, 5, 6, 7), (2, 3)), ((2, 6, 7, 5), (1, 2))
WIDE_NHWC = ((2, 6, 7, 150), (1, 2))
EVERY = [NCHW, NHWC, SMALL_NCHW, SMALL_NHWC, WIDE_NHWC]


def params_for(rng, shape, axes, dtype):
    return make_params(rng, shape[1] if 1 not in axes else shape[-1], dtype)


@pytest.mark.parametrize(
    ("shape", "axes"), [((1, 1, 2048, 2048), (2, 3)), ((1, 2048, 2048, 1), (1, 2))]
)
def test_largest_plane(target, dtype, rng, shape, axes):
    x = (rng.standard_normal(shape, dtype=np.float32) - np.float32(4)).astype(dtype)
    run_and_check(x, *make_params(rng, 1, dtype), axes=axes)


@pytest.mark.parametrize(("shape", "axes"), EVERY)
def test_mean_far_from_zero(target, dtype, rng, shape, axes):
    x = (make_x(rng, shape, np.float64) + 200).astype(dtype)
    run_and_check(x, *params_for(rng, shape, axes, dtype), axes=axes)


@pytest.mark.parametrize("magnitude", [1e18, 1e20, 3e37])
@pytest.mark.parametrize(("shape", "axes"), EVERY)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_squares_beyond_float(target, rng, shape, axes, dtype, magnitude):
    """Their sum, and from 1.8e19 each square, overflows float32."""
    x = (make_x(rng, shape, np.float64) * magnitude).astype(dtype)
    run_and_check(x, *params_for(rng, shape, axes, dtype), axes=axes)


@pytest.mark.parametrize("magnitude", [1e-18, 1e-25, 1e-36])
@pytest.mark.parametrize("epsilon", [0.0, 2.0**-145, 1e-6])
@pytest.mark.parametrize(("shape", "axes"), EVERY)
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_squares_below_float(target, rng, shape, axes, dtype, epsilon, magnitude):
    """Their squares are subnormal floats or zero, which matters where epsilon is as small."""
    x = (make_x(rng, shape, np.float64) * magnitude).astype(dtype)
    run_and_check(x, *params_for(rng, shape, axes, dtype), epsilon=epsilon, axes=axes)


@pytest.mark.parametrize(("shape", "axes"), EVERY)
def test_subnormal_input(target, dtype, rng, shape, axes):
    smallest = float(ml_dtypes.finfo(dtype).smallest_subnormal)
    x = (rng.integers(-9, 9, shape) * smallest).astype(dtype)
    run_and_check(x, *params_for(rng, shape, axes, dtype), epsilon=1e-6, axes=axes)


@pytest.mark.parametrize(("shape", "axes"), EVERY)
def test_half_beyond_256(target, rng, shape, axes):
    """The square of a half overflows from 256 on."""
    x = np.clip(make_x(rng, shape, np.float64) * 9000, -65504, 65504).astype(np.float16)
    run_and_check(x, *params_for(rng, shape, axes, np.float16), axes=axes)


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
@pytest.mark.parametrize(("shape", "axes"), EVERY)
def test_zero_channel(target, dtype, rng, shape, axes, epsilon):
    """With epsilon 0 it is 0 / 0: NaN in that channel, as the formula says, and in no other."""
    x = make_x(rng, shape, dtype)
    x[(slice(None), 0) if 1 not in axes else (..., 0)] = 0
    run_and_check(x, *params_for(rng, shape, axes, dtype), epsilon=epsilon, axes=axes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("shape", "axes"), EVERY)
def test_not_finite_input(target, dtype, rng, shape, axes, value):
    """NaN fills its own plane; an infinity makes NaN of itself and beta of the rest."""
    x = make_x(rng, shape, dtype)
    x[0, 1, 1, 1] = value
    y = run_and_check(x, *params_for(rng, shape, axes, dtype), axes=axes)
    assert np.isnan(y[0, 1, 1, 1].astype(np.float32))


@pytest.mark.parametrize("index", [0, 1, 2], ids=["gamma", "beta", "tau"])
@pytest.mark.parametrize(("shape", "axes"), [SMALL_NCHW, SMALL_NHWC, WIDE_NHWC])
def test_nan_parameter(target, dtype, rng, shape, axes, index):
    """NaN in a parameter is NaN in its channel, as np.maximum has it, and in no other."""
    x = make_x(rng, shape, dtype)
    params = params_for(rng, shape, axes, dtype)
    params[index][1] = np.nan
    y = run_and_check(x, *params, axes=axes)
    assert np.isnan(y.astype(np.float32)).sum() == y.size // params[0].size


@pytest.mark.parametrize("index", [0, 1, 2], ids=["gamma", "beta", "tau"])
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(("shape", "axes"), [SMALL_NCHW, SMALL_NHWC, WIDE_NHWC])
def test_nan_with_payload(target, rng, shape, axes, dtype, index):
    """Rounding a NaN whose payload is all ones would carry into its exponent and sign."""
    x = make_x(rng, shape, dtype)
    x.view(np.uint16)[0, 0, 0, 0] |= 0x7FFF
    params = params_for(rng, shape, axes, dtype)
    params[index].view(np.uint32)[1] = 0x7FFFFFFF
    run_and_check(x, *params, axes=axes)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_rounds_as_the_type_does(target, dtype):
    """Every half is stored as NumPy would: to nearest, ties to even, subnormals, overflow.

    Planes of one element with epsilon chosen so that the scale is exactly 1: y = x + 0 in float
    and one rounding; beta carries values between two halves.
    """
    exact = np.arange(1 << 16, dtype=np.uint16).view(dtype)
    exact = exact[np.isfinite(exact.astype(np.float32))]
    ulp = np.abs(exact.astype(np.float64)) * 2.0 ** -np.array([8, 9, 11, 12])[:, None]
    for beta in [*ulp, *-ulp, np.zeros(exact.size)]:
        beta = (exact.astype(np.float64) + beta).astype(np.float32)
        x = np.zeros((1, exact.size, 1), dtype)
        ones = np.ones(exact.size, np.float32)
        y = _native.frn(x, ones, beta, epsilon=1.0, axes=(2,)).reshape(-1)
        with np.errstate(over="ignore"):
            assert y.tobytes() == (beta + np.float32(0)).astype(dtype).tobytes()
