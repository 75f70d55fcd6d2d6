"""Running FRN: the native library, ONNX Runtime sessions that hold it, and plain arrays."""

import importlib
from typing import Any

# Loaded when first used: arrays need only NumPy, sessions need ONNX Runtime.
_PUBLIC = {
    "InferenceSession": "session",
    "build_info": "library",
    "frn": "arrays",
    "get_library_path": "library",
    "register": "library",
    "warm_up": "cuda_arrays",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
