"""Which rule each op goes by. What is not in here stays in the layout it has."""

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.perms import Perm, is_identity
from frn_onnx.graph.transposes import moves, moves_axes
from frn_onnx.graph.transposes.moves import Facts, Move, Rule

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

_STANDARD: dict[str, Rule] = {
    _ELEMENTWISE: moves.broadcast,
    _REDUCTIONS: moves_axes.reduction,
    "ArgMax ArgMin": moves_axes.place_of_extreme,
    "Concat": moves_axes.concat,
    "CumSum": moves_axes.cumulated,
    "Expand": moves_axes.expand,
    "Gather": moves_axes.gather,
    "Pad": moves_axes.pad,
    "QuantizeLinear DequantizeLinear": moves.quantised,
    "Reshape": moves_axes.reshape,
    "Slice": moves_axes.slice_,
    "Softmax LogSoftmax Hardmax": moves_axes.softmax,
    "Split": moves_axes.split,
    "Squeeze": moves_axes.squeeze,
    "Tile": moves_axes.tile,
    "Transpose": moves.transpose,
    "Unsqueeze": moves_axes.unsqueeze,
}
_RULES: dict[tuple[str, str], Rule] = {
    **dict.fromkeys(((op.DOMAIN, name) for name in op.SIGNATURES), moves.frn),
    **{("", name): rule for names, rule in _STANDARD.items() for name in names.split()},
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
        {i: p for i, p in found.inputs.items() if not is_identity(p)},
        {i: p for i, p in found.outputs.items() if not is_identity(p)},
        found.attributes,
        found.constants,
    )
