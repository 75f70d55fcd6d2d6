"""Any ONNX model: find FRN in it, bring it into another form, look at it, compare it."""

from frn_onnx.graph.comparison import Report, verify
from frn_onnx.graph.conv_transpose import fix_conv_transpose
from frn_onnx.graph.fusion import FuseResult, fuse
from frn_onnx.graph.half import convert
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.summary import ModelInfo, inspect
from frn_onnx.op_schema import register_onnx_schema

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
