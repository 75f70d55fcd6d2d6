"""Filter Response Normalization (FRN + TLU) for ONNX: export, fuse, run, serve.

    nu2 = mean(x**2) over the spatial axes, per sample and channel
    y   = max(gamma * x / sqrt(nu2 + epsilon) + beta, tau)

Every public name is loaded when it is first used: importing the package imports neither
TensorFlow nor Keras nor ONNX Runtime.
"""

import importlib
from typing import Any

from frn_onnx import lazy

__version__ = "0.1.0"

# Public name -> the module it lives in.
_PUBLIC = {
    "InferenceSession": "frn_onnx.runtime",
    "build_info": "frn_onnx.runtime",
    "convert": "frn_onnx.graph",
    "export": "frn_onnx.export",
    "frn": "frn_onnx.runtime",
    "fuse": "frn_onnx.graph",
    "get_library_path": "frn_onnx.runtime",
    "inspect": "frn_onnx.graph",
    "lower": "frn_onnx.graph",
    "register": "frn_onnx.runtime",
    "register_onnx_schema": "frn_onnx.graph",
    "verify": "frn_onnx.graph",
    "warm_up": "frn_onnx.runtime",
}
_SUBMODULES = ("errors", "layers", "op", "reference")

__all__ = ["__version__", *sorted(_PUBLIC), *_SUBMODULES]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"frn_onnx.{name}")
    return lazy.load(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return sorted(__all__)
