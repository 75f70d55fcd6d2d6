"""Filter Response Normalization in float64 NumPy: the truth every test compares with."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from frn_onnx import op


def frn(
    x: npt.ArrayLike,
    gamma: npt.ArrayLike,
    beta: npt.ArrayLike,
    tau: npt.ArrayLike | None = None,
    *,
    residual: npt.ArrayLike | None = None,
    epsilon: npt.ArrayLike = op.DEFAULT_EPSILON,
    axes: Sequence[int] | None = None,
) -> np.ndarray:
    """Filter Response Normalization with its Thresholded Linear Unit, in float64.

    y = max(gamma * x / sqrt(nu2 + |epsilon|) + beta [+ residual], tau), where nu2 is the mean
    of x**2 over the spatial axes, separately for each sample and channel.

    Args:
        x: (N, spatial..., C), or any order of axes with the batch first; any float dtype,
            any rank from 2 + len(axes).
        gamma: (C,), or shaped to broadcast along the channel axis only, as the ONNX op
            has it: (C, 1, 1) for NCHW.
        beta: as gamma.
        tau: as gamma, or None for no threshold.
        residual: an array of x's shape, or None for no addition.
        epsilon: scalar, or as gamma; its absolute value is used.
        axes: the spatial axes, over which nu2 is taken; the one axis left beside axis 0
            is the channel axis. None means channels last: every axis but the first and
            the last.

    Returns:
        y, the shape of x, float64. NaN in x, or in a parameter, is NaN in y.

    Raises:
        ShapeError: axes do not leave exactly one channel axis, a parameter does not hold one
            value per channel, or residual has not the shape of x.

    Source:
        arXiv 1911.09737, section 3.

    Example:
        >>> frn([[[3.0], [4.0]]], gamma=[2.0], beta=[0.0], epsilon=0.0)
        array([[[1.69705627],
                [2.26274170]]])
    """
    x = np.asarray(x, dtype=np.float64)
    axes = op.default_axes(x.ndim) if axes is None else op.normalize_axes(axes, x.ndim)
    channel = op.channel_axis(axes)
    channels = x.shape[channel]
    broadcast = op.param_shape(axes, channels)

    def per_channel(name: str, value: npt.ArrayLike) -> np.ndarray:
        value = np.asarray(value, dtype=np.float64)
        op.check_param(name, value.shape, x.shape, axes)
        return value.reshape(broadcast)

    if np.ndim(epsilon) != 0:
        epsilon = per_channel("epsilon", epsilon)
    # An empty plane has no mean; NumPy's nan with a warning is of no use, nor seen.
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        # Where the channels are last NumPy adds a plane up in one chain, whose rounding in float64
        # would be larger than that of the kernels measured by it.
        total = np.sum(np.square(x), axis=axes, keepdims=True, dtype=np.longdouble)
        nu2 = (total / np.prod([x.shape[a] for a in axes])).astype(np.float64)
        y = per_channel("gamma", gamma) * (x / np.sqrt(nu2 + np.abs(epsilon)))
        y = y + per_channel("beta", beta)
        if residual is not None:
            residual = np.asarray(residual, dtype=np.float64)
            op.check_residual(residual.shape, x.shape)
            y = y + residual
    return y if tau is None else np.maximum(y, per_channel("tau", tau))
