"""What the tests of the native kernels share: element types, hostile shapes, calls and checks."""

import math

import ml_dtypes
import numpy as np
import tolerances

from frn_onnx import op, reference
from frn_onnx.runtime import library

DTYPES = {
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}

# (shape, axes). Channels and planes around the vector widths (2 to 16 lanes), around the widths at
# which pixels are folded and strips cut, planes of one element, planes that several threads share.
CASES = [
    ((2, 3, 7, 7), (2, 3)),
    ((1, 5, 1, 1), (2, 3)),
    ((3, 1, 5, 3), (2, 3)),
    ((2, 64, 4, 4), (2, 3)),
    ((150, 16, 2, 2), (2, 3)),  # several samples at once, in several tasks
    ((3, 700, 3, 2), (2, 3)),  # parts of a sample
    ((700, 3, 3, 3), (1, 2)),
    ((31, 2, 2, 17), (1, 2)),
    ((37, 3, 11, 7), (1, 2)),  # a tile of several samples, and some left over
    ((5, 127, 24), (1,)),
    ((1, 130, 3, 5), (2, 3)),
    ((2, 17, 8, 8), (2, 3)),
    ((1, 2, 31, 33), (2, 3)),
    ((1, 3, 260, 250), (2, 3)),
    ((2, 2, 600, 601), (2, 3)),
    ((1, 1, 601, 601), (2, 3)),
    ((2, 7, 7, 3), (1, 2)),
    ((1, 1, 1, 5), (1, 2)),
    ((3, 5, 3, 1), (1, 2)),
    ((2, 4, 4, 64), (1, 2)),
    ((2, 9, 5, 15), (1, 2)),
    ((2, 9, 5, 16), (1, 2)),
    ((2, 9, 5, 17), (1, 2)),
    ((2, 6, 7, 127), (1, 2)),
    ((2, 6, 7, 129), (1, 2)),
    ((1, 3, 2, 257), (1, 2)),
    ((2, 7, 7, 1025), (1, 2)),
    ((1, 1, 2, 2050), (1, 2)),
    ((1, 60, 61, 40), (1, 2)),
    ((2, 130, 120, 66), (1, 2)),
    ((3, 300, 310, 3), (1, 2)),
    ((5, 12, 1, 1), (1, 2)),
    ((2, 5, 6, 7), (1, 3)),
    ((2, 5, 1, 7), (1, 3)),
    ((2, 33, 70, 9), (1, 3)),
    ((3, 4, 1000), (2,)),
    ((3, 1000, 4), (1,)),
    ((2, 3, 4, 5, 6), (2, 3, 4)),
    ((2, 4, 5, 6, 3), (1, 2, 3)),
    ((2, 4, 5, 3, 6), (1, 2, 4)),
    ((0, 3, 4, 4), (2, 3)),
    ((0, 4, 4, 3), (1, 2)),
    ((2, 0, 4, 4), (2, 3)),
    ((2, 4, 4, 0), (1, 2)),
    ((2, 3, 0, 4), (2, 3)),
    ((2, 0, 4, 3), (1, 2)),
]

# The longest chain of additions an element goes through before it meets numbers of a wider type.
# float32 sums blocks of 32, adds four of them, and goes on in double. float64 stays in double:
# after the block at most 320 blocks of 256 (a plane that one task takes, or 64 Ki elements of a
# larger one), and 64 such runs; or, row by row, 32 blocks of 32 rows, 64 runs of 1024 rows and
# 256 folded columns; and 64 slices.
CHAIN = {"float64": 32 + 2 + 320 + 64 + 64, "float32": 34, "float16": 34, "bfloat16": 34}


def channels_of(shape, axes) -> int:
    return shape[op.channel_axis(op.normalize_axes(axes, len(shape)))]


def param_dtype(dtype) -> np.dtype:
    """The type that _native.frn takes parameters in."""
    return np.dtype(np.float64 if np.dtype(dtype) == np.float64 else np.float32)


def make_x(rng, shape, dtype) -> np.ndarray:
    """Signed, with a mean far from zero, so that sign and offset errors show."""
    return (rng.standard_normal(shape) * 1.5 - 2.3).astype(dtype)


def make_residual(rng, shape, dtype) -> np.ndarray:
    """Of another mean than x, and large enough to matter beside FRN of it."""
    return (rng.standard_normal(shape) * 2 + 0.7).astype(dtype)


def make_params(rng, channels, dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """gamma, beta and tau: distinct, of both signs, with tau above part of the values."""
    gamma, beta, tau = rng.standard_normal((3, channels)).astype(param_dtype(dtype))
    return gamma + np.sign(gamma), beta, tau


def at_byte(array: np.ndarray, byte: int) -> np.ndarray:
    """A copy of an array at an address of this remainder by 64."""
    raw = np.zeros(array.nbytes + 128, np.uint8)
    placed = np.ndarray(array.shape, array.dtype, raw, offset=-raw.ctypes.data % 64 + byte)
    placed[...] = array
    assert placed.ctypes.data % 64 == byte
    return placed


def at_offset(array: np.ndarray, elements: int) -> np.ndarray:
    """A contiguous copy that begins ``elements`` elements behind a 64-byte boundary."""
    raw = np.zeros(array.nbytes + 64 + elements * array.itemsize, np.uint8)
    start = -raw.ctypes.data % 64 + elements * array.itemsize
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def bound(x, gamma, beta, tau, residual=None, *, epsilon, axes) -> np.ndarray:
    """The largest error of the native kernels' arithmetic (see CHAIN)."""
    size = math.prod(x.shape[a] for a in axes)
    levels = min(size, CHAIN[x.dtype.name])
    return tolerances.frn_bound(
        x,
        gamma,
        beta,
        tau,
        epsilon=epsilon,
        axes=axes,
        dtype=x.dtype,
        residual=residual,
        levels=levels,
    )


def allowed(expected, x, gamma, beta, tau=None, residual=None, *, epsilon, axes) -> np.ndarray:
    """The error that each element of y may have, where the reference gives ``expected``."""
    finite_tau = None if tau is None else np.where(np.isinf(tau), 0, tau)  # that adds no error
    bounds = bound(x, gamma, beta, finite_tau, residual, epsilon=epsilon, axes=axes)
    # Beside an infinity every element is beta or tau, rounded once to x's type.
    once = np.abs(expected) * tolerances.unit_roundoff(x.dtype)
    return np.where(np.isfinite(bounds), bounds, once)


def frn_of(x, gamma, beta, tau=None, residual=None, *, epsilon, axes) -> np.ndarray:
    """What the kernels must give, in float64."""
    if residual is None:
        return reference.frn(x, gamma, beta, tau, epsilon=epsilon, axes=axes)
    y = reference.frn(x, gamma, beta, epsilon=epsilon, axes=axes)
    with np.errstate(invalid="ignore"):
        y = y + residual.astype(np.float64)
    if tau is None:
        return y
    like = op.param_shape(axes, channels_of(x.shape, axes))
    return np.maximum(y, tau.astype(np.float64).reshape(like))


def check(y, x, gamma, beta, tau=None, residual=None, *, epsilon, axes) -> None:
    """Fails unless y is FRN of x, within the bound."""
    axes = op.normalize_axes(axes)
    expected = frn_of(x, gamma, beta, tau, residual, epsilon=epsilon, axes=axes)
    assert y.dtype == x.dtype
    if y.size == 0:
        assert y.shape == expected.shape
        return
    bounds = allowed(expected, x, gamma, beta, tau, residual, epsilon=epsilon, axes=axes)
    tolerances.assert_within(y, expected, bounds)


def run_and_check(
    x, gamma, beta, tau=None, residual=None, *, epsilon=1e-3, axes, **options
) -> np.ndarray:
    original, added = x.copy(), None if residual is None else residual.copy()
    y = library.native().frn(
        x, gamma, beta, tau, residual=residual, epsilon=epsilon, axes=axes, **options
    )
    check(y, original, gamma, beta, tau, added, epsilon=epsilon, axes=axes)
    return y


def rounded(channels: int, block: int) -> int:
    """Up to whole blocks."""
    return -(-channels // block) * block


def to_blocked(x: np.ndarray, block: int, fill: float = 0.0) -> np.ndarray:
    """(N, C, H, W) as ONNX Runtime has it in blocks, by the shape that it gives it."""
    n, c, h, w = x.shape
    padded = np.full((n, rounded(c, block), h, w), fill, x.dtype)
    padded[:, :c] = x
    blocks = padded.reshape(n, rounded(c, block) // block, block, h, w).transpose(0, 1, 3, 4, 2)
    return np.ascontiguousarray(blocks).reshape(padded.shape)


def from_blocked(y: np.ndarray, block: int) -> np.ndarray:
    """As (N, C, H, W) again, with the channels that fill the last block."""
    n, c, h, w = y.shape
    return y.reshape(n, c // block, h, w, block).transpose(0, 1, 4, 2, 3).reshape(n, c, h, w)
