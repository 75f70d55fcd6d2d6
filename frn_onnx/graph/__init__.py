"""Any ONNX model: find FRN in it, bring it into another form, look at it, compare it."""

from frn_onnx.graph.conv_transpose import fix_conv_transpose
from frn_onnx.graph.convert import convert
from frn_onnx.graph.fuse import FuseResult, fuse
from frn_onnx.graph.inspect import ModelInfo, inspect
from frn_onnx.graph.lower import lower
from frn_onnx.graph.schema import register_onnx_schema
from frn_onnx.graph.verify import Report, verify

__all__ = [
    "FuseResult",
    "ModelInfo",
    "Report",
    "convert",
    "fix_conv_transpose",
    "fuse",
    "inspect",
    "lower",
    "register_onnx_schema",
    "verify",
]
