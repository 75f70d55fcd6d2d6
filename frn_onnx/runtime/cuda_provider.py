"""Why ONNX Runtime's CUDA provider does not load, in words that say what to install."""

import ctypes
import re
from pathlib import Path
from typing import Any

from frn_onnx.runtime import library

# The oldest driver for each major version of CUDA, as NVIDIA's release notes list them for Linux;
# cuDriverGetVersion gives 12000 for 12.0.
_DRIVERS = {"12": "525", "13": "580"}
# Start of a library's name -> the package that brings it; {} is CUDA's major version.
_PACKAGES = {
    "libcudnn": "nvidia-cudnn-cu{}",
    "libcublas": "nvidia-cublas-cu{}",
    "libcudart": "nvidia-cuda-runtime-cu{}",
    "libcufft": "nvidia-cufft-cu{}",
    "libcurand": "nvidia-curand-cu{}",
    "libnvrtc": "nvidia-cuda-nvrtc-cu{}",
}


def problem() -> str | None:
    """What keeps the CUDA provider of the installed ONNX Runtime from loading; None: nothing does.

    Raises:
        DependencyError: no ONNX Runtime is installed.
    """
    ort = library.onnxruntime()
    cuda = _cuda_version()
    major = cuda.split(".")[0]
    version = driver_version()
    if version is None:
        return (
            f"this onnxruntime-gpu is built for CUDA {cuda}, and there is no NVIDIA driver here "
            "(libcuda.so.1 does not load). Install the driver, in a container start it with --gpus "
            "all, or take the CPU: pip uninstall onnxruntime-gpu && pip install onnxruntime"
        )
    if version < int(major) * 1000:
        return (
            f"the NVIDIA driver is for CUDA {version // 1000}.{version % 1000 // 10}, and this "
            f"onnxruntime-gpu is built for CUDA {cuda}: update the driver to "
            f"{_DRIVERS.get(major, 'a newer one')} or newer, or install an onnxruntime-gpu that is "
            f"built for CUDA {version // 1000}"
        )
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()
    try:
        _load(ort)
    except OSError as error:
        return _missing(str(error), cuda)
    return None


def kernels_problem(toolkit: str) -> str | None:
    """Why this build's own CUDA kernels do not run; None: they do, or there is no driver at all.

    Args:
        toolkit: the CUDA that they were built with, such as "13.0".
    """
    major = toolkit.split(".")[0]
    version = driver_version()
    if version is None or version // 1000 >= int(major):
        return None
    return (
        f"built with CUDA {toolkit}, and the NVIDIA driver is for CUDA {version // 1000}."
        f"{version % 1000 // 10}: sessions do without FRN's CUDA kernels. Update the driver to "
        f"{_DRIVERS.get(major, 'a newer one')} or newer, or build from the source with CUDA "
        f"{version // 1000}"
    )


def driver_version() -> int | None:
    """The newest CUDA that the driver knows, as 12040 for 12.4; None: there is no driver."""
    number = ctypes.c_int()
    try:
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return None
    return None if failed else number.value


def _cuda_version() -> str:
    from onnxruntime.capi import build_and_package_info

    return str(getattr(build_and_package_info, "cuda_version", "") or "12")


def _load(ort: Any) -> None:
    folder = Path(ort.__file__).parent / "capi"
    # The provider takes functions from this one, which ONNX Runtime loads before it.
    ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(folder / "libonnxruntime_providers_cuda.so"))


def _missing(message: str, cuda: str) -> str:
    """Says which library the loader did not find, and what brings it."""
    major = cuda.split(".")[0]
    found = re.match(r"(lib\w+)\.so\.?([\d.]*)", message)
    package = next((p for start, p in _PACKAGES.items() if message.startswith(start)), None)
    text = f"the CUDA provider of onnxruntime-gpu, built for CUDA {cuda}, does not load: {message}."
    if found and package:
        text += f" Install what is missing: pip install {_named(package, major)}"
        text += ", or all of it: pip install 'onnxruntime-gpu[cuda,cudnn]'"
    return text


def _named(package: str, major: str) -> str:
    # From CUDA 13 on only cuDNN's package has the version in its name.
    if int(major) >= 13 and "cudnn" not in package:
        return package.removesuffix("-cu{}")
    return package.format(major)
