"""Values at the ends of what a type can hold: the right answer, and no slower than other values."""

import statistics
import time

import numpy as np
import pytest
from native_cases import DTYPES, at_offset, channels_of, make_params

from frn_onnx import _native

# One for each way of cutting: planes of one task, of several, of one element; rows of one task,
# folded ones with a rest, those of several tasks.
CASES = [
    ((2, 5, 9, 7), (2, 3)),
    ((1, 2, 300, 301), (2, 3)),
    ((1, 2, 700, 701), (2, 3)),
    ((3, 21, 1, 1), (2, 3)),
    ((2, 9, 7, 37), (1, 2)),
    ((2, 7, 7, 3), (1, 2)),
    ((1, 3, 5, 1030), (1, 2)),
    ((1, 130, 120, 67), (1, 2)),
]


def expected(x, gamma, beta, epsilon, axes):
    """In float64, which holds the square of every float."""
    shape = [1] * x.ndim
    shape[({1, 2, 3} - set(axes)).pop()] = -1
    x = x.astype(np.float64)
    gamma, beta = (p.astype(np.float64).reshape(shape) for p in (gamma, beta))
    with np.errstate(all="ignore"):
        scaled = gamma * (x / np.sqrt((x * x).mean(axes, keepdims=True) + epsilon))
    return scaled, scaled + beta


def check(x, gamma, beta, epsilon, axes, ulps=40):
    # Only an array may be negative.
    given = float(epsilon) if epsilon >= 0 else np.full(gamma.size, epsilon, np.float32)
    y = _native.frn(x, gamma, beta, epsilon=given, axes=axes).astype(np.float64)
    scaled, right = expected(x, gamma, beta, np.float64(np.float32(epsilon)), axes)
    unit = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-24}[x.dtype.name]
    least = {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149}[x.dtype.name]
    largest = {"float16": 65504, "bfloat16": 3.38e38, "float32": 3.4e38}[x.dtype.name]
    with np.errstate(all="ignore"):
        allowed = (unit + ulps * 2.0**-24) * (np.abs(scaled) + np.abs(right)) + 2 * least
        fits = (np.abs(right) < largest) & np.isfinite(right)
        wrong = fits & ~(np.abs(y - right) <= allowed)
    assert not wrong.any(), (y[wrong][0], right[wrong][0])
    assert (np.isnan(y) == np.isnan(right)).all()
    assert fits.any() or not np.isfinite(right).any()


@pytest.mark.parametrize("exponent", [-146, -120, -80, -60, -20, 20, 62, 100, 126])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_magnitudes_of_x(target, rng, shape, axes, exponent):
    for name in ("float32", "bfloat16"):
        x = (rng.uniform(0.5, 1.9, shape) * 2.0**exponent).astype(DTYPES[name])
        gamma, beta, _ = make_params(rng, channels_of(shape, axes), np.float32)
        for epsilon in (0.0, 1e-38, 1e-3):
            check(x, gamma, beta, epsilon, axes)


@pytest.mark.parametrize("exponent", [-61, -60, -50, -40])
@pytest.mark.parametrize("epsilon", [2.0**126, 3e38])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_a_huge_epsilon_beside_a_tiny_x(target, rng, shape, axes, epsilon, exponent):
    for name in ("float32", "bfloat16"):
        x = (rng.uniform(0.5, 1.9, shape) * 2.0**exponent).astype(DTYPES[name])
        gamma = (rng.uniform(0.5, 2, channels_of(shape, axes)) * 2.0**30).astype(np.float32)
        check(x, gamma, np.zeros_like(gamma), epsilon, axes, ulps=4)


@pytest.mark.parametrize("gamma", [1e-42, 1e-38, 1e38])
@pytest.mark.parametrize("x", [2.0**-20, 1.0, 3e4])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_magnitudes_of_gamma(target, rng, shape, axes, gamma, x):
    """The scale is no normal float; one channel is usual."""
    channels = channels_of(shape, axes)
    gammas = (rng.uniform(0.5, 2, channels) * gamma).astype(np.float32)
    gammas[0] = 1
    for name in ("float32", "bfloat16", "float16"):
        values = (rng.uniform(0.5, 1.9, shape) * x).astype(DTYPES[name])
        check(values, gammas, np.zeros(channels, np.float32), 0.0, axes)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_each_channel_for_itself(target, rng, shape, axes, name):
    """Dead, huge, tiny, infinite and NaN channels side by side with usual ones."""
    channels = channels_of(shape, axes)
    at = ({1, 2, 3} - set(axes)).pop()
    x = np.moveaxis(rng.normal(size=shape), at, 0)
    largest, least = (3e4, 2.0**-20) if name == "float16" else (1e38, 1e-36)
    values = [0.0, largest, least, np.inf, np.nan, 1.0]
    for c in range(channels):
        value = values[c % len(values)]
        if np.isfinite(value):
            x[c] *= value
        else:
            x[c].flat[-1] = value
    with np.errstate(all="ignore"):
        x = np.ascontiguousarray(np.moveaxis(x, 0, at)).astype(DTYPES[name])
    gamma, beta, _ = make_params(rng, channels, np.float32)
    check(x, gamma, beta, 0.0, axes)
    check(x, gamma, beta, 1e-6, axes)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_usual_channels_keep_their_bits(target, rng, shape, axes, name):
    """Whatever is in the channels beside them, in one vector or in another."""
    channels = channels_of(shape, axes)
    at = ({1, 2, 3} - set(axes)).pop()
    usual = np.moveaxis(rng.normal(size=shape), at, 0)
    gamma, beta, tau = make_params(rng, channels, np.float32)
    largest, least = (3e4, 2.0**-24) if name == "float16" else (1e38, 1e-38)
    kept = None
    for value in (1.0, 0.0, largest, least, np.inf, np.nan):
        with np.errstate(all="ignore"):
            x = usual.copy()
            x[1::3] = usual[1::3] * value
            x = np.ascontiguousarray(np.moveaxis(x, 0, at)).astype(DTYPES[name])
        y = _native.frn(x, gamma, beta, tau, epsilon=0.0, axes=axes).astype(np.float64)
        y = np.delete(np.moveaxis(y, at, 0), np.s_[1::3], axis=0)
        kept = y if kept is None else kept
        np.testing.assert_array_equal(y, kept, err_msg=str(value))


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_usual_gammas_keep_their_bits(target, rng, shape, axes, name):
    """Beside gammas whose scale is no normal float."""
    channels = channels_of(shape, axes)
    at = ({1, 2, 3} - set(axes)).pop()
    x = rng.normal(size=shape).astype(DTYPES[name])
    gamma, beta, tau = make_params(rng, channels, np.float32)
    kept = None
    for value in (1.0, 1e-40, 1e-45):
        gamma[1::3] = value
        y = _native.frn(x, gamma, beta, tau, epsilon=0.0, axes=axes).astype(np.float64)
        y = np.delete(np.moveaxis(y, at, 0), np.s_[1::3], axis=0)
        kept = y if kept is None else kept
        np.testing.assert_array_equal(y, kept, err_msg=str(value))


@pytest.mark.parametrize("axes", [(2, 3), (1, 2)])
def test_planes_of_one_huge_element(target, axes):
    """Their squares are halfway between floats, so that epsilon decides how they are rounded; what
    is in the lanes beside them does not."""
    x = np.arange(4097, 5792, 2, dtype=np.float32) * 2.0**50
    shape = (2 * x.size, 1, 1)[:: 1 if axes == (2, 3) else -1]
    one = np.ones(2 * x.size, np.float32)
    results = []
    for beside in (1.0, np.inf):
        pairs = np.stack([x, np.full_like(x, beside)], axis=1).reshape(1, *shape)
        y = _native.frn(pairs, one, 0 * one, epsilon=1e-6, axes=axes)
        results.append(y.reshape(-1, 2)[:, 0])
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16", "float64"])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_epsilon_below_the_mean_square(target, rng, shape, axes, name):
    """The root of a number below zero is NaN, as in the op's function body; tau hides nothing."""
    channels = channels_of(shape, axes)
    dtype = np.float64 if name == "float64" else np.float32
    gamma, beta, tau = make_params(rng, channels, dtype)
    epsilon = np.resize(np.array([-400, -1e38, -1e-12, -np.inf, 1e-3], dtype), channels)
    at = ({1, 2, 3} - set(axes)).pop()
    x = np.moveaxis(rng.uniform(0.5, 1.9, shape), at, 0)
    x[2::5] = 0
    x = np.ascontiguousarray(np.moveaxis(x, 0, at)).astype(DTYPES[name])
    y = _native.frn(x, gamma, beta, tau, epsilon=epsilon, axes=axes).astype(np.float64)
    y = np.moveaxis(y, at, 0)
    assert np.isnan(y[epsilon < 0]).all()
    assert not np.isnan(y[epsilon > 0]).any()


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_epsilon_little_below_zero(target, rng, shape, axes, name):
    """Less than the mean square is taken away: huge and ordinary planes are not summed as tiny."""
    channels = channels_of(shape, axes)
    gamma, beta, _ = make_params(rng, channels, np.float32)
    for scale in (1.0, 1e30, 1e-20):
        x = (rng.uniform(0.5, 1.9, shape) * scale).astype(DTYPES[name])
        check(x, gamma, beta, np.float32(-(min(scale, 1e18) ** 2) / 16), axes)


@pytest.mark.parametrize("gamma", [1e-30, 1e30])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_gamma_against_x(target, rng, shape, axes, name, gamma):
    """The scale is far beyond floats, what it makes of x is not."""
    channels = channels_of(shape, axes)
    gammas = (rng.uniform(0.5, 2, channels) * gamma).astype(np.float32)
    x = (rng.uniform(0.5, 1.9, shape) * 1e6 / gamma).astype(DTYPES[name])
    check(x, gammas, np.zeros(channels, np.float32), 0.0, axes)


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((17, 40, 1, 1), (2, 3)),
        ((17, 1, 1, 40), (1, 2)),
        ((17, 3, 2, 2), (2, 3)),
        ((17, 2, 2, 40), (1, 2)),
        ((17, 3, 3, 3), (1, 2)),
        ((17, 70, 7, 7), (2, 3)),
        ((17, 7, 7, 70), (1, 2)),
        ((17, 14, 14, 3), (1, 2)),
        ((17, 20, 5, 6), (1, 3)),
    ],
    ids=str,
)
def test_what_came_before_changes_nothing(target, rng, shape, axes, name):
    """What one sample asked for is tried first in the next: it is right there, or not used."""
    channels = channels_of(shape, axes)
    params = make_params(rng, channels, np.float32)
    epsilon = np.resize(np.array([0, 1e-6, 0, 1e-33], np.float32), channels)
    kinds = [1e30, 1e30, 1, 1e-30, 1e-30, 0, 1, np.inf, np.nan, 3e38, 1e-38, 1e18, 1.6e-16, 1, 0]
    magnitudes = np.array([*kinds, *kinds])
    for epsilons in (epsilon, np.zeros_like(epsilon), np.full_like(epsilon, 1e-6)):
        rng.shuffle(magnitudes)
        with np.errstate(all="ignore"):
            x = rng.uniform(-1, 1, shape) * magnitudes[: shape[0], None, None, None]
            x = x.astype(DTYPES[name])

        def run(x, epsilons=epsilons, **options):
            y = _native.frn(x, *params, epsilon=epsilons, axes=axes, **options)
            return y.view(f"u{y.itemsize}")

        alone = np.concatenate([run(x[n : n + 1]) for n in range(len(x))])
        np.testing.assert_array_equal(run(x, threads=1), alone)
        np.testing.assert_array_equal(run(x), alone)
        np.testing.assert_array_equal(run(x[::-1].copy())[::-1], alone)


def test_other_bits_of_nan(target):
    """A long payload must not carry, when it is rounded to bfloat16, into the sign."""
    nans = np.array([0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001], np.uint32).view(np.float32)
    x = np.ones((1, 3, 2, 2), DTYPES["bfloat16"])
    one = np.ones(3, np.float32)
    for shape, axes in (((1, 3, 2, 2), (2, 3)), ((1, 2, 2, 3), (1, 2)), ((4, 1, 1, 3), (1, 2))):
        x = np.ones(shape, DTYPES["bfloat16"])
        for index in range(4):
            params = [one, one, one, one]
            params[index] = nans
            y = _native.frn(x, *params[:3], epsilon=params[3], axes=axes)
            assert np.isnan(y.astype(np.float32)).all(), index


def ratio_in_pairs(usual, other, pairs=25):
    """The median of what two calls, one right behind the other, take of this thread's time: what
    else runs on the machine meets both, or few of the pairs."""
    ratios = []
    for _ in range(pairs):
        start = time.thread_time_ns()
        usual()
        middle = time.thread_time_ns()
        other()
        ratios.append((time.thread_time_ns() - middle) / (middle - start))
    return statistics.median(ratios)


@pytest.mark.timing
@pytest.mark.parametrize("side", [7, 8, 14])
@pytest.mark.parametrize("offset", [0, 16])
def test_larger_than_the_caches_costs_as_much_an_element(dtype, rng, side, offset):
    """From 12 MB on y is written past the caches, which ends of planes must not be."""
    plane = side * side * dtype.itemsize
    calls = []
    for size in (8 << 20, 20 << 20):
        x = rng.standard_normal((1, size // plane, side, side), np.float32).astype(dtype)
        one = np.ones(x.shape[1], np.float64 if dtype.itemsize == 8 else np.float32)
        out = at_offset(np.zeros_like(x), offset // dtype.itemsize)
        calls.append(
            lambda x=x, one=one, out=out: _native.frn(
                x, one, one, one, epsilon=1e-3, axes=(2, 3), out=out, threads=1
            )
        )
        calls[-1]()
    assert ratio_in_pairs(*calls, pairs=9) < 3 * 20 / 8


@pytest.mark.timing
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 64, 56, 56), (2, 3)),
        ((1, 1, 600, 600), (2, 3)),
        ((4, 512, 7, 7), (2, 3)),
        ((4, 7, 7, 512), (1, 2)),
        ((1, 28, 28, 256), (1, 2)),
        ((1, 112, 112, 64), (1, 2)),
        ((16, 56, 56, 3), (1, 2)),
    ],
    ids=str,
)
def test_cost_no_more_than_others(rng, name, shape, axes):
    """1.5 times is the aim."""
    usual = rng.standard_normal(shape, np.float32).astype(DTYPES[name])
    one = np.ones(channels_of(shape, axes), np.float64 if name == "float64" else np.float32)
    out = np.empty_like(usual)
    half = name == "float16"
    with np.errstate(all="ignore"):
        others = {
            "nan": np.full_like(usual, np.nan),
            "inf": np.full_like(usual, np.inf),
            "zero": np.zeros_like(usual),
            "large": (usual * (1e3 if half else 1e30)).astype(usual.dtype),
            "small": (usual * (1e-3 if half else 1e-30)).astype(usual.dtype),
            "largest": (usual * (3e4 if half else 1e38)).astype(usual.dtype),
            "least": (usual * (2.0**-24 if half else 1e-38)).astype(usual.dtype),
        }

    def call(x):
        return lambda: _native.frn(x, one, one, one, epsilon=0.0, axes=axes, out=out, threads=1)

    ratios = {}
    for kind, x in others.items():
        tries = (round(ratio_in_pairs(call(usual), call(x)), 2) for _ in range(5))
        ratios[kind] = next((ratio for ratio in tries if ratio < 1.7), None)
    assert None not in ratios.values(), ratios
