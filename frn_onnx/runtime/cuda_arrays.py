"""The CUDA kernel on arrays that are on a GPU already: PyTorch's and CuPy's.

Arrays come in through DLPack, without a copy. The kernel is enqueued on the stream that is
current in the caller's framework, so it is ordered with what the caller does before and after.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from frn_onnx import op
from frn_onnx.errors import DtypeError, PluginError
from frn_onnx.runtime import library
from frn_onnx.runtime.spatial import spatial_axes

_DLPACK_CUDA = 2
_NO_SYNCHRONISATION = -1


@dataclass(frozen=True)
class _Framework:
    """What differs between the libraries that hold CUDA arrays.

    Attributes:
        stream: the current stream of x's device, as a number.
        contiguous: x, copied if its elements are not in C order.
        empty_like: a new contiguous array with x's shape, dtype and device.
        parameter: float32 values on x's device, from anything array-like.
    """

    stream: Callable[[Any], int]
    contiguous: Callable[[Any], Any]
    empty_like: Callable[[Any], Any]
    parameter: Callable[[npt.ArrayLike, Any], Any]


def is_cuda_array(x: Any) -> bool:
    """Whether x says through DLPack that it lies on a CUDA device."""
    return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] == _DLPACK_CUDA


def frn(
    x: Any,
    gamma: Any,
    beta: Any,
    tau: Any = None,
    *,
    epsilon: Any = op.DEFAULT_EPSILON,
    axes: Sequence[int] | None = None,
) -> Any:
    """:func:`frn_onnx.frn` for an array on a CUDA device; the result is of the same kind."""
    if library.build_info()["cuda"] is None:
        raise PluginError(
            "FRN: x is on a GPU, and the library was built without CUDA kernels; install frn_onnx "
            "where nvcc is on the path (FRN_ONNX_CUDA=on makes its absence an error)."
        )
    framework = _framework(x)
    shape = tuple(x.shape)
    axes = spatial_axes(shape, axes)
    x = framework.contiguous(x)
    y = framework.empty_like(x)
    native = library.native()

    def view(array: Any) -> Any:
        return native.DlpackArray(array.__dlpack__(stream=_NO_SYNCHRONISATION))

    def per_channel(name: str, value: Any) -> Any:
        parameter = framework.parameter(value, x)
        op.check_param(name, parameter.shape, shape, axes)
        return parameter

    kept = {"gamma": per_channel("gamma", gamma), "beta": per_channel("beta", beta)}
    if tau is not None:
        kept["tau"] = per_channel("tau", tau)
    scalar = np.ndim(epsilon) == 0
    if not scalar:
        kept["epsilon"] = abs(per_channel("epsilon", epsilon))
    views = {name: view(array) for name, array in kept.items()}
    source, target = view(x), view(y)
    if source.dtype not in ("float32", "float16", "bfloat16"):
        raise DtypeError(
            f"FRN: x on a GPU must be float32, float16 or bfloat16, received {source.dtype}; "
            "convert it, or move it to the CPU, which has a kernel for float64."
        )
    native.frn_cuda(
        x=source.address,
        y=target.address,
        shape=shape,
        dtype=source.dtype,
        axes=axes,
        **{n: (v.address, v.dtype) for n, v in views.items() if n != "epsilon"},
        epsilon=abs(float(epsilon)) if scalar else 0.0,
        epsilons=None if scalar else views["epsilon"].address,
        device=source.device[1],
        stream=framework.stream(x),
    )
    return y


def _framework(x: Any) -> _Framework:
    kind = type(x).__module__.partition(".")[0]
    if kind == "torch":
        torch = sys.modules["torch"]
        return _Framework(
            stream=lambda x: torch.cuda.current_stream(x.device).cuda_stream,
            contiguous=lambda x: x.detach().contiguous(),
            empty_like=lambda x: torch.empty_like(x, memory_format=torch.contiguous_format),
            parameter=lambda p, x: (
                torch.as_tensor(p, dtype=torch.float32, device=x.device).detach().contiguous()
            ),
        )
    if kind == "cupy":
        cupy = sys.modules["cupy"]
        return _Framework(
            stream=lambda x: cupy.cuda.get_current_stream().ptr,
            contiguous=cupy.ascontiguousarray,
            empty_like=lambda x: cupy.empty_like(x, order="C"),
            parameter=lambda p, x: cupy.ascontiguousarray(p, dtype=cupy.float32),
        )
    raise DtypeError(
        "FRN: x is on a GPU and must be a PyTorch tensor or a CuPy array, received "
        f"{type(x).__module__}.{type(x).__qualname__}; convert it through DLPack, for example "
        "with torch.from_dlpack(x)."
    )
