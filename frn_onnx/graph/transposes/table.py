"""Which rule each op goes by. What is not in here stays in the layout it has."""

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.transposes import rules, rules_axes
from frn_onnx.graph.transposes.rules import Facts, Move, Perm, Rule

_ELEMENTWISE = (
    "Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast "
    "Ceil Celu Clip Cos Cosh Div Elu Equal Erf Exp Floor Gelu Greater GreaterOrEqual HardSigmoid "
    "HardSwish Identity IsInf IsNaN LeakyRelu Less LessOrEqual Log Max Mean Min Mish Mod Mul Neg "
    "Not Or PRelu Pow Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign "
    "Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor"
)
_REDUCTIONS = (
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSum ReduceSumSquare"
)

_RULES: dict[tuple[str, str], Rule] = {
    **dict.fromkeys(((op.DOMAIN, name) for name in op.SIGNATURES), rules.frn),
    **dict.fromkeys((("", name) for name in _ELEMENTWISE.split()), rules.broadcast),
    **dict.fromkeys((("", name) for name in _REDUCTIONS.split()), rules_axes.reduction),
    **dict.fromkeys(
        (("", name) for name in ("QuantizeLinear", "DequantizeLinear")), rules.quantised
    ),
    **dict.fromkeys((("", name) for name in ("ArgMax", "ArgMin")), rules_axes.place_of_extreme),
    **dict.fromkeys(
        (("", name) for name in ("Softmax", "LogSoftmax", "Hardmax")), rules_axes.softmax
    ),
    ("", "Concat"): rules_axes.concat,
    ("", "CumSum"): rules_axes.cumulated,
    ("", "Expand"): rules_axes.expand,
    ("", "Gather"): rules_axes.gather,
    ("", "Pad"): rules_axes.pad,
    ("", "Reshape"): rules_axes.reshape,
    ("", "Slice"): rules_axes.slice_,
    ("", "Split"): rules_axes.split,
    ("", "Squeeze"): rules_axes.squeeze,
    ("", "Tile"): rules_axes.tile,
    ("", "Transpose"): rules.transpose,
    ("", "Unsqueeze"): rules_axes.unsqueeze,
}


def move(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """How a node works where ``known``, an input or output of it, comes in another order.

    Returns:
        None where it cannot. A perm that changes nothing is left out.
    """
    rule = _RULES.get((node.domain, node.op_type))
    found = rule and rule(node, known, perm, facts)
    if not found:
        return None
    return Move(
        {i: p for i, p in found.inputs.items() if not rules.is_identity(p)},
        {i: p for i, p in found.outputs.items() if not rules.is_identity(p)},
        found.attributes,
        found.constants,
    )
