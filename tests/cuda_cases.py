"""What the tests of the CUDA kernels share, on a GPU and emulated: inputs, and their check."""

import numpy as np
import tolerances
from native_cases import channels_of, frn_of, make_params, make_residual, make_x

from frn_onnx import op

EPSILON = float(np.float32(1e-3))  # as an attribute holds it: the reference is exact


def feeds_for(
    rng, shape, axes, dtype, inputs=op.INPUTS[:4], param_dtype=None
) -> dict[str, np.ndarray]:
    """The inputs by name; the parameters shaped to broadcast, of x's type or another.

    ``epsilon``, where it is one of the inputs, is float32; ``residual`` comes behind X.
    """
    channels = channels_of(shape, axes)
    expanded = op.param_shape(op.normalize_axes(axes), channels)
    values = [a.astype(param_dtype or dtype) for a in make_params(rng, channels, np.float32)]
    values.append(np.linspace(0.2, 1.5, channels, dtype=np.float32))
    named = dict(zip(op.INPUTS[1:], values, strict=True))
    feeds = {name: a.reshape(expanded) for name, a in named.items() if name in inputs}
    if "residual" in inputs:
        feeds = {"residual": make_residual(rng, shape, dtype), **feeds}
    return {"X": make_x(rng, shape, dtype), **feeds}


def check(y, feeds, axes, epsilon=EPSILON) -> None:
    """Fails unless y is FRN of the feeds within the bound."""
    axes = op.normalize_axes(axes)
    x, gamma, beta = (feeds[name] for name in ("X", "gamma", "beta"))
    rest = {"epsilon": feeds.get("epsilon", np.float32(epsilon)), "axes": axes}
    tau, residual = feeds.get("tau"), feeds.get("residual")
    expected = frn_of(x, gamma, beta, tau, residual, **rest)
    assert y.dtype == x.dtype
    if y.size == 0:
        assert y.shape == expected.shape
        return
    # No cut sums with fewer than 4 threads; 48: within packs, over lanes, warps and blocks.
    size = int(np.prod([x.shape[axis] for axis in axes]))
    rest |= {"dtype": x.dtype, "residual": residual, "levels": size // 4 + 48}
    bound = tolerances.frn_bound(x, gamma, beta, tau, **rest)
    tolerances.assert_within(y, expected, bound)
