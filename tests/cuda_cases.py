"""What the tests of the CUDA kernels on a GPU share: inputs, and the check of an output."""

import numpy as np
import tolerances
from native_cases import channels_of, make_params, make_x

from frn_onnx import op, reference

EPSILON = float(np.float32(1e-3))  # as an attribute holds it: the reference is exact


def feeds_for(rng, shape, axes, dtype) -> dict[str, np.ndarray]:
    """X, gamma, beta and tau by name, all of one dtype; the parameters shaped to broadcast."""
    channels = channels_of(shape, axes)
    expanded = op.param_shape(op.normalize_axes(axes), channels)
    params = [a.reshape(expanded).astype(dtype) for a in make_params(rng, channels, np.float32)]
    return {"X": make_x(rng, shape, dtype), **dict(zip(op.INPUTS[1:4], params, strict=True))}


def check(y, feeds, axes) -> None:
    """Fails unless y is FRN of the feeds, with EPSILON, within the bound."""
    x, *params = feeds.values()
    axes = op.normalize_axes(axes)
    expected = reference.frn(x, *params, epsilon=EPSILON, axes=axes)
    assert y.dtype == x.dtype
    if y.size == 0:
        assert y.shape == expected.shape
        return
    # As in test_simt.py: no cut sums with fewer than 4 threads.
    size = int(np.prod([x.shape[axis] for axis in axes]))
    bound = tolerances.frn_bound(
        x, *params, epsilon=EPSILON, axes=axes, dtype=x.dtype, levels=size // 4 + 48
    )
    tolerances.assert_within(y, expected, bound)
