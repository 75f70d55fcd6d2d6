"""Other normalisations that equal FRN up to what is before or behind them."""

import onnx_ir as ir

from frn_onnx.graph.matcher.constants import Constants

MOVEMENT = frozenset(
    {"Cast", "CastLike", "Expand", "Flatten", "Identity"}
    | {"Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


def scaled_within(y: ir.Value, constants: Constants) -> bool:
    """Whether a scale follows that varies along the axis averaged over: RMS or layer norm.

    Asked of a tensor of rank 3 averaged over its last axis, where no parameter says that axis 1
    is the channel axis.
    """
    scales = [v for user in y.consumers() if user.op_type == "Mul" for v in user.inputs]
    arrays = [array for v in scales if (array := constants.get(v)) is not None]
    return any(array.ndim and array.shape[-1] > 1 for array in arrays)


def grouped(x: ir.Value, y: ir.Value) -> str | None:
    """Why it is group normalisation, if x comes out of a Reshape and y goes into one."""
    source = x.producer()
    if source is None or source.op_type != "Reshape":
        return None
    if not any(user.op_type == "Reshape" for user in y.consumers()):
        return None
    return "it averages over groups of channels: this is group normalisation"


def centred(x: ir.Value) -> str | None:
    """Why it is instance or layer normalisation, if x is u - mean(u)."""
    node = _unmoved(x).producer()
    if node is None or node.op_type != "Sub":
        return None
    minuend, mean = (_unmoved(v) for v in node.inputs)
    producer = mean.producer()
    if producer is None or producer.op_type not in ("ReduceMean", "GlobalAveragePool"):
        return None
    if _unmoved(producer.inputs[0]) is not minuend:
        return None
    return "the mean is subtracted first: this is instance, group or layer normalisation"


def _unmoved(value: ir.Value) -> ir.Value:
    node = value.producer()
    while node is not None and node.op_type in MOVEMENT:
        value = node.inputs[0]
        node = value.producer()
    return value
