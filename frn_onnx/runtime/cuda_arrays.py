"""The CUDA kernel on arrays that are on a GPU already: PyTorch's and CuPy's.

Nothing is copied that is contiguous. Whatever is allocated or enqueued is so on the device of x
and on the stream that is current there in the caller's framework, so the kernel is ordered with
what the caller does before and after.
"""

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any

import numpy as np

from frn_onnx import op
from frn_onnx.errors import ArgumentError, DtypeError, PluginError
from frn_onnx.runtime import library, parameters
from frn_onnx.runtime.spatial import spatial_axes

_DLPACK_CUDA = (2, 13)  # a GPU's own memory, and managed memory, which CuPy can be told to take
_DTYPES = ("float32", "float16", "bfloat16")


def is_cuda_array(x: Any) -> bool:
    """Whether x says through DLPack that it lies on a CUDA device."""
    return hasattr(x, "__dlpack_device__") and x.__dlpack_device__()[0] in _DLPACK_CUDA


def warm_up(device: int = 0) -> None:
    """Loads the CUDA kernels on a GPU, which the first call there does otherwise.

    For programs that time that call, or capture it in a CUDA graph.

    Args:
        device: ordinal of the GPU: the 1 of ``torch.device("cuda:1")``.

    Raises:
        PluginError: the library is missing, or was built without CUDA kernels.
        RuntimeError: CUDA reported an error; there is no such device, or no driver.
    """
    _native().warm_up_cuda(device=device)


def frn(
    x: Any,
    gamma: Any,
    beta: Any,
    tau: Any = None,
    *,
    residual: Any = None,
    epsilon: Any = op.DEFAULT_EPSILON,
    axes: Sequence[int] | None = None,
) -> Any:
    """:func:`frn_onnx.frn` for an array on a CUDA device; the result is of the same kind."""
    native = _native()
    framework = _framework(x)
    arguments = {"gamma": gamma, "beta": beta, "tau": tau, "epsilon": epsilon}
    framework.check_gradients(x=x, residual=residual, **arguments)
    dtype = framework.dtype(x)
    if dtype not in _DTYPES:
        raise DtypeError(
            f"FRN: x on a GPU must be {', '.join(_DTYPES[:-1])} or {_DTYPES[-1]}, received "
            f"{dtype}; convert it, or move it to the CPU, which has a kernel for float64."
        )
    shape = tuple(x.shape)
    axes = spatial_axes(shape, axes)
    if residual is not None:
        _check_residual(residual, framework, dtype, shape)
    scalar = np.ndim(epsilon) == 0
    if scalar:
        if hasattr(epsilon, "item"):  # it may be on the device
            epsilon = epsilon.item()
        epsilon = parameters.absolute(epsilon, np.float32)
    given = {**arguments, "epsilon": None if scalar else epsilon}
    with framework.current_device():
        x = framework.contiguous(x)
        added = None if residual is None else framework.contiguous(residual)
        y = framework.empty_like(x)
        vectors = {  # epsilon's kernel argument is float32, whatever x is
            name: framework.vector(name, value, "float32" if name == "epsilon" else dtype)
            for name, value in given.items()
            if value is not None
        }
        for name, vector in vectors.items():
            op.check_param(name, tuple(vector.shape), shape, axes)
        epsilons = None if scalar else abs(vectors.pop("epsilon"))
        native.frn_cuda(
            x=framework.address(x),
            residual=0 if added is None else framework.address(added),
            y=framework.address(y),
            shape=shape,
            dtype=dtype,
            axes=axes,
            **{n: (framework.address(v), framework.dtype(v)) for n, v in vectors.items()},
            epsilon=float(epsilon) if scalar else 0.0,
            epsilons=None if scalar else framework.address(epsilons),
            device=framework.device,
            stream=framework.stream(),
        )
    return y


def _check_residual(
    residual: Any, framework: "_Torch | _CuPy", dtype: str, shape: tuple[int, ...]
) -> None:
    """Refuses a residual that is not what x is."""
    own = _framework(residual) if is_cuda_array(residual) else None
    if type(own) is not type(framework) or own.device != framework.device:
        raise ArgumentError(
            f"FRN: residual must be an array of x's kind on its device, {framework.device}; "
            f"received {type(residual).__module__}.{type(residual).__qualname__}"
            + (f" on device {own.device}" if own else " on the CPU")
            + ". Move it there first."
        )
    if framework.dtype(residual) != dtype:
        raise DtypeError(
            f"FRN: residual must be {dtype}, as x is, received {framework.dtype(residual)}; "
            "convert it first."
        )
    op.check_residual(tuple(residual.shape), shape)


def _check_real(name: str, dtype: str) -> None:
    """Refuses what the frameworks would make real with a warning."""
    if dtype.startswith("complex"):
        raise parameters.not_real(name, dtype)


def _native() -> ModuleType:
    if library.build_info()["cuda"] is None:
        raise PluginError(
            "FRN: the library was built without CUDA kernels, which a GPU needs; install frn_onnx "
            "where nvcc is on the path (FRN_ONNX_CUDA=on makes its absence an error)."
        )
    return library.native()


class _Torch:
    """PyTorch's tensors on the device of one of them, x."""

    def __init__(self, torch: Any, x: Any) -> None:
        self._torch = torch
        self._device = x.device
        self.device: int = x.device.index

    def current_device(self) -> AbstractContextManager:
        return self._torch.cuda.device(self._device)

    def stream(self) -> int:
        return self._torch.cuda.current_stream(self._device).cuda_stream

    def check_gradients(self, **arguments: Any) -> None:
        """Refuses what autograd would record: the kernel has no backward pass."""
        if not self._torch.is_grad_enabled():
            return
        names = [name for name, a in arguments.items() if getattr(a, "requires_grad", False)]
        if names:
            raise ArgumentError(
                f"FRN: the kernel has no backward pass, and gradients are asked for "
                f"({', '.join(names)} with requires_grad=True); call it under torch.no_grad() or "
                "torch.inference_mode(), or give it x.detach(). To train, write FRN in PyTorch's "
                "own operations."
            )

    def contiguous(self, x: Any) -> Any:
        return x.detach().contiguous()

    def empty_like(self, x: Any) -> Any:
        return self._torch.empty_like(x, memory_format=self._torch.contiguous_format)

    def vector(self, name: str, value: Any, dtype: str) -> Any:
        """A parameter on the device, from anything array-like: float32, or of the dtype already."""
        if isinstance(value, np.ndarray):  # bfloat16 and read-only ones among them
            array = parameters.numbers(name, value).astype(np.float32)
            return self._torch.tensor(array, device=self._device)
        tensor = self._torch.as_tensor(value, device=self._device).detach()
        _check_real(name, self.dtype(tensor))
        if self.dtype(tensor) != dtype:
            tensor = tensor.to(self._torch.float32)
        return tensor.contiguous()

    def address(self, tensor: Any) -> int:
        return tensor.data_ptr()

    def dtype(self, tensor: Any) -> str:
        return str(tensor.dtype).removeprefix("torch.")


class _CuPy:
    """CuPy's arrays on the device of one of them, x."""

    def __init__(self, cupy: Any, x: Any) -> None:
        self._cupy = cupy
        self.device: int = x.device.id

    def current_device(self) -> AbstractContextManager:
        return self._cupy.cuda.Device(self.device)

    def stream(self) -> int:
        return self._cupy.cuda.get_current_stream().ptr

    def check_gradients(self, **arguments: Any) -> None:
        """There are none."""

    def contiguous(self, x: Any) -> Any:
        return self._cupy.ascontiguousarray(x)

    def empty_like(self, x: Any) -> Any:
        return self._cupy.empty_like(x, order="C")

    def vector(self, name: str, value: Any, dtype: str) -> Any:
        """A parameter on the device, from anything array-like: float32, or of the dtype already."""
        if not isinstance(value, self._cupy.ndarray):
            value = self._cupy.asarray(value)
        elif value.device.id != self.device:
            value = value.copy()  # to the current device
        _check_real(name, self.dtype(value))
        return self._cupy.ascontiguousarray(
            value, dtype=None if self.dtype(value) == dtype else np.float32
        )

    def address(self, array: Any) -> int:
        return array.data.ptr

    def dtype(self, array: Any) -> str:
        return array.dtype.name


def _framework(x: Any) -> _Torch | _CuPy:
    torch, cupy = sys.modules.get("torch"), sys.modules.get("cupy")
    if torch is not None and isinstance(x, torch.Tensor):
        return _Torch(torch, x)
    if cupy is not None and isinstance(x, cupy.ndarray):
        return _CuPy(cupy, x)
    raise DtypeError(
        "FRN: x is on a GPU and must be a PyTorch tensor or a CuPy array, received "
        f"{type(x).__module__}.{type(x).__qualname__}; convert it through DLPack, for example "
        "with torch.from_dlpack(x)."
    )
