"""The residual: added before the threshold, by every path of the kernels, and rounded once."""

import math

import numpy as np
import pytest
from native_cases import (
    CASES,
    DTYPES,
    at_byte,
    at_offset,
    channels_of,
    make_params,
    make_residual,
    make_x,
    run_and_check,
)

import frn_onnx
from frn_onnx import _native, op
from frn_onnx.errors import DtypeError, ShapeError

FULL = [case for case in CASES if math.prod(case[0])]
SOME = FULL[::3]


def make(rng, shape, axes, dtype):
    """x, gamma, beta, tau and residual; without x, the arguments of run_and_check."""
    params = make_params(rng, channels_of(shape, axes), dtype)
    return make_x(rng, shape, dtype), *params, make_residual(rng, shape, dtype)


def call(x, gamma, beta, tau, residual, *, axes, epsilon=1e-3, **options):
    arguments = {"epsilon": epsilon, "axes": axes, **options}
    return _native.frn(x, gamma, beta, tau, residual=residual, **arguments)


@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_every_shape(target, dtype, rng, shape, axes):
    """And nothing else is written: neither around y, nor what is read."""
    arguments = make(rng, shape, axes, dtype)
    before = [np.copy(argument) for argument in arguments]
    size, canary = math.prod(shape), np.array(-7.0, dtype)
    around = np.full(size + 64, canary, dtype)
    out = around[32 : 32 + size].reshape(shape)
    run_and_check(*arguments, axes=axes, threads=2, out=out)
    assert (around[:32] == canary).all()
    assert (around[32 + size :] == canary).all()
    for given, kept in zip(arguments, before, strict=True):
        assert given.tobytes() == kept.tobytes()


@pytest.mark.parametrize(("shape", "axes"), SOME, ids=str)
def test_without_threshold(target, dtype, rng, shape, axes):
    x, gamma, beta, tau, residual = make(rng, shape, axes, dtype)
    free = run_and_check(x, gamma, beta, None, residual, axes=axes)
    tau += 3  # above most
    assert (free != run_and_check(x, gamma, beta, tau, residual, axes=axes)).any()


def sum_of_parts(x, gamma, beta, tau, residual, *, axes, epsilon=1e-3):
    """The residual and the threshold behind FRN, in x's own type."""
    y = _native.frn(x, gamma, beta, epsilon=epsilon, axes=axes)
    like = op.param_shape(op.normalize_axes(axes), gamma.size)
    with np.errstate(invalid="ignore"):
        return np.maximum(y + residual, tau.reshape(like))


@pytest.mark.parametrize("name", ["float32", "float64"])
@pytest.mark.parametrize(("shape", "axes"), FULL, ids=str)
def test_bits_of_the_sum(target, rng, shape, axes, name):
    """Where T is what is computed in, the sum rounds as an Add behind FRN does."""
    arguments = make(rng, shape, axes, DTYPES[name])
    assert call(*arguments, axes=axes).tobytes() == sum_of_parts(*arguments, axes=axes).tobytes()


@pytest.mark.parametrize("over", ["x", "residual"])
@pytest.mark.parametrize(("shape", "axes"), FULL, ids=str)
def test_in_place_is_the_same_bits(target, dtype, rng, shape, axes, over):
    x, *params, residual = make(rng, shape, axes, dtype)
    apart = call(x, *params, residual, axes=axes)
    out = {"x": x, "residual": residual}[over]
    assert call(x, *params, residual, axes=axes, out=out) is out
    assert out.tobytes() == apart.tobytes()


@pytest.mark.parametrize(("shape", "axes"), SOME, ids=str)
def test_residual_is_x(target, dtype, rng, shape, axes):
    x, *params, _ = make(rng, shape, axes, dtype)
    apart = run_and_check(x, *params, x, axes=axes)
    call(x, *params, x, axes=axes, out=x)
    assert x.tobytes() == apart.tobytes()


@pytest.mark.parametrize(("shape", "axes"), SOME, ids=str)
def test_same_bits_for_every_number_of_threads(target, dtype, rng, shape, axes):
    arguments = make(rng, shape, axes, dtype)
    assert len({call(*arguments, axes=axes, threads=n).tobytes() for n in (1, 2, 5)}) == 1


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("shape", "axes"), [((2, 5, 1000, 423), (2, 3)), ((1, 256, 260, 64), (1, 2))]
)
def test_larger_than_the_caches(target, rng, shape, axes, name):
    """y is written past the caches, unless it is in place; also where it is not aligned."""
    dtype = DTYPES[name]
    shape = (shape[0] * 4 // dtype.itemsize, *shape[1:])
    x, *params, residual = make(rng, shape, axes, dtype)
    x, residual = at_offset(x, 3), at_offset(residual, 2)
    expected = run_and_check(x, *params, residual, axes=axes)
    for over in (0, 1):
        both = x.copy(), residual.copy()
        call(both[0], *params, both[1], axes=axes, out=both[over])
        assert both[over].tobytes() == expected.tobytes()
    for offset in (0, 1):
        out = at_offset(np.zeros_like(x), offset)
        assert call(x, *params, residual, axes=axes, out=out).tobytes() == expected.tobytes()


@pytest.mark.parametrize("rows", [5, 3000])  # in the caches, and larger than they are
@pytest.mark.parametrize("axes", [(2, 3), (1, 2)])
def test_at_any_byte(target, dtype, rng, axes, rows):
    shape = (1, 4, rows, 300) if axes == (2, 3) else (1, rows, 300, 4)
    if rows > 5:
        shape = (max(1, 4 // dtype.itemsize), *shape[1:])
    x, *params, residual = make(rng, shape, axes, dtype)
    expected = call(x, *params, residual, axes=axes)
    for byte in (1, 3) if rows > 5 else (1, 2, 3, 5, 63):
        out = at_byte(np.zeros_like(x), byte)
        moved = at_byte(x, (byte + 2) % 64), *params, at_byte(residual, (byte + 5) % 64)
        call(*moved, axes=axes, out=out)
        assert out.tobytes() == expected.tobytes()


@pytest.mark.parametrize(("shape", "axes"), SOME, ids=str)
def test_not_finite_residual(target, dtype, rng, shape, axes):
    """NaN is NaN, also under the threshold, in that element alone; infinities are the sum's."""
    x, gamma, beta, tau, residual = make(rng, shape, axes, dtype)
    plain = call(x, gamma, beta, tau, residual, axes=axes)
    flat = residual.reshape(-1)
    values = [np.nan, np.inf, -np.inf]
    places = [flat.size // 2, flat.size - 1, 0]
    for place, value in zip(places, values, strict=False):
        flat[place] = value
    if flat.dtype.itemsize == 2:  # whose payload would carry into the exponent, if it were rounded
        flat[places[0]] = np.array(0xFFFF, np.uint16).view(flat.dtype)
    y = call(x, gamma, beta, tau, residual, axes=axes)
    like = op.param_shape(op.normalize_axes(axes), gamma.size)
    under = np.broadcast_to(tau.reshape(like), shape).reshape(-1).astype(dtype)
    expected = plain.reshape(-1).copy()
    for place, value in zip(places, values, strict=False):
        expected[place] = under[place] if value == -np.inf else value
    np.testing.assert_array_equal(y.reshape(-1).astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("scale", [1e-39, 1e-30, 1e25, 2e38])
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
@pytest.mark.parametrize(("shape", "axes"), SOME, ids=str)
def test_extremes_of_x(target, rng, shape, axes, name, scale):
    """Sums that are taken again, and scales that are two, have a residual as well."""
    x, *params, residual = make(rng, shape, axes, DTYPES[name])
    x = (rng.uniform(0.5, 1.6, shape) * scale).astype(x.dtype)
    run_and_check(x, *params, residual, epsilon=0.0, axes=axes)
    gamma = np.sign(params[0]) * np.float32(1e-36)  # scale is no normal number
    free = _native.frn(x, gamma, params[1] * 0, epsilon=0.0, axes=axes)
    y = call(x, gamma, params[1] * 0, None, np.zeros_like(x), epsilon=0.0, axes=axes)
    assert (y == free).all()


@pytest.mark.parametrize("axes", [(2, 3), (1, 2)])
def test_nan_in_one_plane(target, dtype, rng, axes):
    """Which has paths of its own; NaN in a parameter fills its channel."""
    x, gamma, beta, tau, residual = make(rng, (2, 6, 7, 6), axes, dtype)
    x[0, 1, 1, 1] = np.nan
    run_and_check(x, gamma, beta, tau, residual, axes=axes)
    for parameter in (gamma, beta, tau):
        parameter[2] = np.nan
        run_and_check(x, gamma, beta, tau, residual, axes=axes)


class TestFrn:
    """frn_onnx.frn, which takes more than the kernel does."""

    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)

    def test_any_array_like_x(self, rng):
        c = rng.normal(size=(3, 3)).astype(np.float32)
        residual = rng.normal(size=(2, 3, 5, 4)).astype(np.float32).swapaxes(2, 3)
        expected = run_and_check(self.x, *c, residual.copy(), axes=(2, 3), epsilon=1e-6)
        for given in (residual, residual.astype(">f4"), np.asfortranarray(residual)):
            y = frn_onnx.frn(self.x, *c, residual=given, axes=(2, 3))
            assert y.tobytes() == expected.tobytes()

    def test_shape(self):
        c = np.ones(3, np.float32)
        with pytest.raises(ShapeError, match=r"shape of x, \(2, 3, 4, 5\), received \(3, 4, 5\)"):
            frn_onnx.frn(self.x, c, c, residual=self.x[0], axes=(2, 3))

    def test_dtype(self):
        c = np.ones(3, np.float32)
        with pytest.raises(DtypeError, match="residual must be float32, as x is, received float64"):
            frn_onnx.frn(self.x, c, c, residual=self.x.astype(np.float64), axes=(2, 3))


class TestArguments:
    x = np.ones((2, 3, 4, 5), np.float32)
    c = np.ones(3, np.float32)

    def refused(self, residual, pattern):
        with pytest.raises(ValueError, match=pattern):
            call(self.x, self.c, self.c, None, residual, axes=(2, 3))

    @pytest.mark.parametrize(
        "residual",
        [
            np.ones((2, 3, 4, 1), np.float32),
            np.ones((1, 3, 4, 5), np.float32),
            np.ones((2, 3, 20), np.float32),
            np.ones((2, 3, 4, 5), np.float64),
            np.ones((2, 3, 4, 5), np.int32),
            np.ones((2, 3, 4, 10), np.float32)[..., ::2],
            np.ones((2, 3, 4, 5), np.float32, order="F"),
        ],
        ids=["width 1", "batch 1", "rank 3", "float64", "int32", "strided", "Fortran"],
    )
    def test_like_x(self, residual):
        self.refused(residual, "residual must be a C-contiguous array like x, which is float32 ")

    def test_byte_order(self):
        self.refused(self.x.astype(">f4"), "residual must be in the machine's byte order")
