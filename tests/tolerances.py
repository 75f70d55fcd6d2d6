"""The only tolerances of the test suite, each derived from the arithmetic it bounds.

    y = max(gamma * x / sqrt(nu2 + epsilon) + beta, tau)

With u the unit roundoff of the arithmetic and the mean taken over S elements, nu2 has the
relative error (levels + 2) * u, where ``levels`` is the longest chain of additions that one
element goes through. A square root halves a relative error; division, the product with x and
the sum with beta add one u each. Storing y in its own type adds that type's unit roundoff.
The bound is on |gamma * x_hat| + |beta|, the magnitude before any cancellation, so it holds
element by element and needs no absolute slack beyond the smallest subnormal. tau, where it is
stored in a wider type than y, is rounded once.
"""

import math

import numpy as np

from frn_onnx import reference

# Chains of additions: 8 lanes are the fewest any vector unit of a CPU reduces with, and
# implementations that are not ours (ONNX Runtime, NumPy) sum in blocks of at most 128.
_FOREIGN_BLOCK = 128

# Of one network spelled in two ways, relative to its largest output: half the bits of float64.
# How rounding grows through dozens of layers has no useful bound, but another function, or a
# parameter in the wrong place, shows in the first digits.
FLOAT64_NETWORK_RTOL = 2.0**-26


def unit_roundoff(dtype) -> float:
    """Half the distance from 1 to the next number of ``dtype``."""
    name = np.dtype(dtype).name
    bits = {"float16": 11, "bfloat16": 8, "float32": 24, "float64": 53}[name]
    return 2.0**-bits


def frn_bound(
    x,
    gamma,
    beta,
    tau=None,
    *,
    epsilon=1e-6,
    axes=None,
    dtype=np.float32,
    residual=None,
    levels=None,
    roundings=0,
) -> np.ndarray:
    """The largest |y - reference| that correct arithmetic in ``dtype`` can give, per element.

    Args:
        x, gamma, beta, tau, epsilon, axes, residual: what the tested function was given, after
            rounding to its own type.
        dtype: the type of y. The statistic is in float32, in float64 for float64.
        levels: longest chain of additions in the mean; None: blocks of 128, then pairs.
        roundings: how many steps more than the op's own a graph takes from x to y, each of
            which rounds once, to ``dtype``, a term no larger than the sum of all.
    """
    x64 = np.asarray(x, dtype=np.float64)
    rank = x64.ndim
    reduced = tuple(range(1, rank - 1)) if axes is None else tuple(axes)
    size = math.prod(x64.shape[a] for a in reduced)
    if levels is None:
        levels = min(size, _FOREIGN_BLOCK) + math.ceil(math.log2(max(size / _FOREIGN_BLOCK, 1)))
    u_out = unit_roundoff(dtype)
    u = unit_roundoff(np.float64 if np.dtype(dtype).name == "float64" else np.float32)
    zeros = np.zeros_like(np.asarray(gamma, dtype=np.float64))

    def magnitude(parameter):
        """|parameter|, given to every element of its channel."""
        return reference.frn(0 * x64, zeros, np.abs(parameter), epsilon=1.0, axes=axes)

    affine = np.abs(reference.frn(x64, np.abs(gamma), zeros, epsilon=epsilon, axes=axes))
    offset = magnitude(beta)
    threshold = 0.0 if tau is None else magnitude(tau)
    relative = 0.5 * (levels + 3) * u + 4 * u
    smallest = float(_smallest_subnormal(dtype))
    steps = roundings * unit_roundoff(dtype) * (affine + offset + threshold)
    bound = (affine + offset) * (relative + u_out) + threshold * u_out + smallest + steps
    if residual is None:
        return bound
    # One sum more, whose magnitude is rounded with the rest.
    added = np.abs(np.asarray(residual, dtype=np.float64))
    return bound + (affine + offset) * u + added * (u + u_out)


def _smallest_subnormal(dtype) -> float:
    return {"float16": 2.0**-24, "bfloat16": 2.0**-133, "float32": 2.0**-149, "float64": 5e-324}[
        np.dtype(dtype).name
    ]


def assert_within(actual, expected, bound) -> None:
    """Fails with the worst element: its index, both values, the error and what was allowed."""
    actual = np.asarray(actual)
    expected = np.asarray(expected, dtype=np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    wide = actual.astype(np.float64)
    bound = np.broadcast_to(np.asarray(bound, dtype=np.float64), expected.shape)
    agree = (wide == expected) | (np.isnan(wide) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        excess = np.where(agree, 0.0, np.abs(wide - expected) / bound)
    excess = np.where(np.isnan(excess), np.inf, excess)
    if excess.size and excess.max() > 1.0:
        worst = np.unravel_index(np.argmax(excess), excess.shape)
        index = tuple(int(i) for i in worst)
        raise AssertionError(
            f"{int((excess > 1).sum())} of {excess.size} elements are out of tolerance; worst at "
            f"{index}: {wide[worst]!r}, expected {expected[worst]!r}, error "
            f"{abs(wide[worst] - expected[worst]):.3e}, allowed {bound[worst]:.3e} "
            f"({excess[worst]:.2f} times)"
        )


def affine_tlu_bound(x, alpha, tau, *, dtype=np.float32) -> np.ndarray:
    """The largest |y - max(x, alpha * x + tau)| that a product and a sum in ``dtype`` give.

    x, alpha and tau are as the tested function saw them, after rounding to ``dtype``, and
    broadcast against each other.
    """
    product, offset = np.abs(np.asarray(alpha, np.float64) * x), np.abs(np.asarray(tau, np.float64))
    return (2 * product + offset) * unit_roundoff(dtype) * 1.01 + float(_smallest_subnormal(dtype))


def frn_gradient_bound(magnitude, size: int) -> np.ndarray:
    """The largest error of a gradient of FRN in float64, through a mean over ``size`` elements.

    Args:
        magnitude: the gradient's terms, added without their signs.
        size: how many elements the mean is over.
    """
    return magnitude * (2 * size + 16) * unit_roundoff(np.float64)
