"""Running FRN: the native library, ONNX Runtime sessions that hold it, and plain arrays."""

from typing import Any

from frn_onnx import lazy

# Loaded when first used: arrays need only NumPy, sessions need ONNX Runtime.
_PUBLIC = {
    "InferenceSession": "frn_onnx.runtime.session",
    "build_info": "frn_onnx.runtime.library",
    "frn": "frn_onnx.runtime.arrays",
    "get_library_path": "frn_onnx.runtime.library",
    "register": "frn_onnx.runtime.library",
    "warm_up": "frn_onnx.runtime.cuda_arrays",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _PUBLIC, name)
