"""The native kernel on plain arrays, without ONNX Runtime."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from frn_onnx import op
from frn_onnx.errors import DtypeError
from frn_onnx.runtime import cuda_arrays, library, parameters
from frn_onnx.runtime.spatial import spatial_axes

_DTYPES = ("float32", "float64", "float16", "bfloat16")


def frn(
    x: np.ndarray,
    gamma: npt.ArrayLike,
    beta: npt.ArrayLike,
    tau: npt.ArrayLike | None = None,
    *,
    residual: np.ndarray | None = None,
    epsilon: npt.ArrayLike = op.DEFAULT_EPSILON,
    axes: Sequence[int] | None = None,
) -> np.ndarray:
    """Filter Response Normalization of an array, by the kernel that sessions use.

    y = max(gamma * x / sqrt(nu2 + |epsilon|) + beta [+ residual], tau), where nu2 is the mean
    of x**2 over the spatial axes, separately for each sample and channel.

    Args:
        x: rank 3, 4 or 5, batch first; float32, float64, float16 or bfloat16 (ml_dtypes).
            What is not C-contiguous, or of another byte order, is copied first. A PyTorch
            tensor or CuPy array on a CUDA device stays there (not float64).
        gamma: (C,), or shaped to broadcast along the channel axis only, (C, 1, 1) for NCHW.
        beta: as gamma.
        tau: as gamma, or None for no threshold.
        residual: None, or an array of x's shape and dtype; nothing is broadcast. The sum is
            rounded to that dtype once. Where x is on a CUDA device, it is there, too.
        epsilon: scalar, or one value per channel as gamma; its absolute value is used.
        axes: the spatial axes; the one axis left beside axis 0 is the channel axis. None
            means channels last.

    Returns:
        y, a new array of x's kind, shape and dtype; on a CUDA device it is enqueued on the
        current stream of that device.

    Raises:
        ArgumentError: axes are no sequence of integers; epsilon is not finite (of a vector on a
            CUDA device that is not asked); autograd would record the call, which has no backward
            pass.
        DtypeError: x has a dtype without a kernel, residual another one than x, or a parameter
            holds no real numbers.
        ShapeError: x, axes, a parameter or residual has a shape that does not fit.
        PluginError: the native library is missing.

    Example:
        >>> frn_onnx.frn(image, gamma, beta, tau)                    # (N, H, W, C)
        >>> frn_onnx.frn(image, gamma, beta, tau, axes=(2, 3))       # (N, C, H, W)
    """
    if cuda_arrays.is_cuda_array(x):
        return cuda_arrays.frn(x, gamma, beta, tau, residual=residual, epsilon=epsilon, axes=axes)
    x = np.asarray(x)
    if x.dtype.name not in _DTYPES:
        raise DtypeError(
            f"FRN: x must be one of {', '.join(_DTYPES)}, received {x.dtype.name}; convert it "
            "first, for example with x.astype('float32')."
        )
    x = x.astype(x.dtype.newbyteorder("="), copy=False)
    axes = spatial_axes(x.shape, axes)
    if residual is not None:
        residual = _residual(np.asarray(residual), x)
    channels = x.shape[op.channel_axis(axes)]
    # Parameters are computed with in float32, as the statistic is; in float64 for float64.
    param_dtype = np.float64 if x.dtype == np.float64 else np.float32

    def per_channel(name: str, value: npt.ArrayLike) -> np.ndarray:
        value = parameters.numbers(name, value)
        op.check_param(name, value.shape, x.shape, axes)
        return np.ascontiguousarray(value.reshape(channels), dtype=param_dtype)

    epsilons = parameters.absolute(epsilon, param_dtype)
    return library.native().frn(
        np.ascontiguousarray(x),
        per_channel("gamma", gamma),
        per_channel("beta", beta),
        None if tau is None else per_channel("tau", tau),
        residual=residual,
        epsilon=per_channel("epsilon", epsilons) if epsilons.ndim else float(epsilons),
        axes=axes,
    )


def _residual(residual: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The residual as the kernel takes it; ``x`` is in the machine's byte order."""
    if residual.dtype.name != x.dtype.name:
        raise DtypeError(
            f"FRN: residual must be {x.dtype.name}, as x is, received {residual.dtype.name}; "
            "convert it with residual.astype(x.dtype)."
        )
    op.check_residual(residual.shape, x.shape)
    return np.ascontiguousarray(residual, dtype=x.dtype)
