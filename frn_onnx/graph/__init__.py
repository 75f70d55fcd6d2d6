"""Any ONNX model: find FRN in it, bring it into another form, look at it, compare it.

Public names are loaded when they are first used: sessions need a few of these modules, and all of
them take longer to import than a session to make.
"""

from typing import Any

from frn_onnx import lazy

# Public name -> the module it lives in.
_PUBLIC = {
    "FuseResult": "frn_onnx.graph.fusion",
    "ModelInfo": "frn_onnx.graph.summary",
    "Report": "frn_onnx.graph.report",
    "convert": "frn_onnx.graph.half",
    "fix_conv_transpose": "frn_onnx.graph.conv_transpose",
    "fuse": "frn_onnx.graph.fusion",
    "inspect": "frn_onnx.graph.summary",
    "lower": "frn_onnx.graph.lowering",
    "register_onnx_schema": "frn_onnx.op_schema",
    "verify": "frn_onnx.graph.comparison",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    return lazy.load(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return __all__
