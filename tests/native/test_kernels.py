"""The kernels on arrays: every target, element type and layout at hostile shapes."""

import math
import resource

import hypothesis
import numpy as np
import pytest
import tolerances
from hypothesis import strategies as st
from native_cases import (
    CASES,
    DTYPES,
    allowed,
    at_byte,
    at_offset,
    channels_of,
    frn_of,
    make_params,
    make_x,
    run_and_check,
)

from frn_onnx import _native


@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_every_shape(target, dtype, rng, shape, axes):
    x = make_x(rng, shape, dtype)
    params = make_params(rng, channels_of(shape, axes), dtype)
    run_and_check(x, *params, axes=axes, threads=2)


@pytest.mark.parametrize("offset", [1, 3, 5])
@pytest.mark.parametrize(("shape", "axes"), [((2, 5, 9, 7), (2, 3)), ((2, 9, 7, 37), (1, 2))])
def test_misaligned(target, dtype, rng, shape, axes, offset):
    x = at_offset(make_x(rng, shape, dtype), offset)
    out = at_offset(np.zeros_like(x), (offset + 1) % 4)
    params = make_params(rng, channels_of(shape, axes), dtype)
    assert run_and_check(x, *params, axes=axes, out=out, threads=1) is out


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((2, 5, 1000, 423), (2, 3)),
        ((260, 258, 7, 9), (2, 3)),  # no whole line of memory that is worth it
        ((68, 65, 31, 31), (2, 3)),  # whole lines at another place in each plane
        ((1, 260, 250, 65), (1, 2)),
        ((1, 256, 260, 64), (1, 2)),
        ((2, 90, 90, 261), (1, 2)),
    ],
)
def test_larger_than_the_caches(monkeypatch, dtype, rng, shape, axes):
    """From 12 MB on y is written past the caches, with instructions that need alignment. What is
    right takes longer to know than every target to compute."""
    batch, *sizes = shape
    shape = (batch * max(1, 4 // dtype.itemsize), *sizes)
    assert math.prod(shape) * dtype.itemsize >= 16 << 20
    x = at_offset(make_x(rng, shape, dtype), 3)
    params = make_params(rng, channels_of(shape, axes), dtype)
    expected = frn_of(x, *params, epsilon=1e-3, axes=axes)
    bounds = allowed(expected, x, *params, epsilon=1e-3, axes=axes)
    for target in _native.cpu_targets():
        monkeypatch.setenv("FRN_ONNX_CPU_TARGET", target)
        results = []
        for offset in (0, 1):
            out = at_offset(np.zeros_like(x), offset)
            results.append(_native.frn(x, *params, epsilon=1e-3, axes=axes, out=out))
        tolerances.assert_within(results[0], expected, bounds)
        assert results[0].tobytes() == results[1].tobytes()


@pytest.mark.parametrize("rows", [5, 3000])  # in the caches, and larger than they are
@pytest.mark.parametrize("axes", [(2, 3), (1, 2)])
def test_at_any_byte(target, dtype, rng, axes, rows):
    """Views into received buffers and mapped files begin anywhere; parameters, too."""
    shape = (1, 4, rows, 300) if axes == (2, 3) else (1, rows, 300, 4)
    if rows > 5:
        shape = (max(1, 4 // dtype.itemsize), *shape[1:])
    x = make_x(rng, shape, dtype)
    params = make_params(rng, 4, dtype)
    expected = _native.frn(x, *params, epsilon=1e-3, axes=axes)
    for byte in (1, 3) if rows > 5 else (1, 2, 3, 5, 63):
        shifted = [at_byte(p, byte) for p in params]
        out = at_byte(np.zeros_like(x), byte)
        _native.frn(at_byte(x, (byte + 2) % 64), *shifted, epsilon=1e-3, axes=axes, out=out)
        assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("shape", "axes"), [c for c in CASES if c[0][0] > 0], ids=str)
def test_in_place_is_the_same_bits(target, dtype, rng, shape, axes):
    x = make_x(rng, shape, dtype)
    params = make_params(rng, channels_of(shape, axes), dtype)
    apart = _native.frn(x, *params, epsilon=1e-3, axes=axes)
    over = x.copy()
    _native.frn(over, *params, epsilon=1e-3, axes=axes, out=over)
    assert over.tobytes() == apart.tobytes()


@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_writes_nothing_else(target, dtype, rng, shape, axes):
    """Canaries before and behind y stay."""
    x = make_x(rng, shape, dtype)
    params = make_params(rng, channels_of(shape, axes), dtype)
    canary = np.array(-7.0, dtype)
    around = np.full(x.size + 64, canary, dtype)
    out = around[32 : 32 + x.size].reshape(shape)
    _native.frn(x, *params, epsilon=1e-3, axes=axes, out=out)
    assert (around[:32] == canary).all()
    assert (around[32 + x.size :] == canary).all()


@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_same_bits_for_every_number_of_threads(target, dtype, rng, shape, axes):
    x = make_x(rng, shape, dtype)
    params = make_params(rng, channels_of(shape, axes), dtype)
    results = {
        _native.frn(x, *params, epsilon=1e-3, axes=axes, threads=n).tobytes() for n in (1, 2, 5)
    }
    assert len(results) == 1


@st.composite
def shapes_and_axes(draw):
    """Any rank, any channel axis, small sizes and now and then a large one."""
    rank = draw(st.integers(3, 5))
    sizes = st.one_of(st.integers(1, 9), st.integers(1, 70))
    shape = tuple(draw(sizes) for _ in range(rank))
    channel = draw(st.integers(1, rank - 1))
    return shape, tuple(axis for axis in range(1, rank) if axis != channel)


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True)
@hypothesis.given(case=shapes_and_axes(), dtype=st.sampled_from(sorted(DTYPES)))
def test_any_shape(case, dtype):
    shape, axes = case
    hypothesis.assume(np.prod(shape) <= 1 << 18)
    rng = np.random.default_rng(7)
    x = make_x(rng, shape, DTYPES[dtype])
    run_and_check(x, *make_params(rng, channels_of(shape, axes), DTYPES[dtype]), axes=axes)


@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 64, 512, 256), (2, 3)), ((2, 512, 256, 64), (1, 2))]
)
def test_needs_no_memory_of_the_size_of_the_tensor(rng, shape, axes):
    x = np.ones(shape, np.float32)
    params = make_params(rng, 64, np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _native.frn(x, *params, epsilon=1e-3, axes=axes, out=x)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    assert grown < x.nbytes / 16


@pytest.mark.parametrize("axes", [(2, 3), (1, 2), (1, 3)])
class TestEveryParameterCounts:
    """Each parameter changes the answer, and is read per channel."""

    shape = (2, 6, 7, 9)

    def test_no_threshold(self, target, dtype, rng, axes):
        x = make_x(rng, self.shape, dtype)
        gamma, beta, tau = make_params(rng, channels_of(self.shape, axes), dtype)
        free = run_and_check(x, gamma, beta, axes=axes)
        assert (free != run_and_check(x, gamma, beta, tau, axes=axes)).any()

    def test_epsilon(self, target, dtype, rng, axes):
        x = make_x(rng, self.shape, dtype)
        params = make_params(rng, channels_of(self.shape, axes), dtype)
        small = run_and_check(x, *params, epsilon=1e-6, axes=axes)
        large = run_and_check(x, *params, epsilon=2.0, axes=axes)
        assert (small != large).any()

    def test_epsilon_per_channel(self, target, dtype, rng, axes):
        x = make_x(rng, self.shape, dtype)
        gamma, beta, tau = make_params(rng, channels_of(self.shape, axes), dtype)
        epsilon = np.linspace(0.1, 3.0, gamma.size).astype(gamma.dtype)
        run_and_check(x, gamma, beta, tau, epsilon=epsilon, axes=axes)

    @pytest.mark.parametrize("index", [0, 1, 2])
    def test_each_channel_of_each_parameter(self, target, dtype, rng, axes, index):
        x = make_x(rng, self.shape, dtype)
        params = make_params(rng, channels_of(self.shape, axes), dtype)
        params[2][:] -= 4  # no channel lies below its threshold altogether
        before = run_and_check(x, *params, axes=axes)
        channel = params[0].size - 2
        params[index][channel] += 3
        after = run_and_check(x, *params, axes=axes)
        moved = np.moveaxis(before != after, ({1, 2, 3} - set(axes)).pop(), 0)
        assert moved[channel].any()
        assert not np.delete(moved, channel, axis=0).any()
