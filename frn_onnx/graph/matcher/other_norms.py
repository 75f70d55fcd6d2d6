"""Other normalisations that equal FRN up to what is before or behind them."""

from collections.abc import Iterator

import onnx_ir as ir

from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.rules_axes import MOVES

# What makes nothing of a tensor but another shape or type.
MOVEMENT = MOVES.keys() - {"ConstantOfShape", "Gather", "Slice"}


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
    node = x.producer()
    if node is None or node.op_type != "Reshape":
        return None
    if not any(user.op_type == "Reshape" for user in y.consumers()):
        return None
    return "it averages over groups of channels: this is group normalisation"


def centred(x: ir.Value) -> str | None:
    """Why it is instance or layer normalisation, if x is u - mean(u)."""
    node = source(x).producer()
    if node is None or node.op_type != "Sub":
        return None
    minuend, mean = (source(v) for v in node.inputs)
    producer = mean.producer()
    if producer is None or producer.op_type not in ("ReduceMean", "GlobalAveragePool"):
        return None
    if source(producer.inputs[0]) is not minuend:
        return None
    return "the mean is subtracted first: this is instance, group or layer normalisation"


def unmoved(value: ir.Value) -> Iterator[ir.Value]:
    """A value, and what it was moved from."""
    node = value.producer()
    yield value
    while node is not None and node.op_type in MOVEMENT and node.inputs[0] is not None:
        value = node.inputs[0]
        node = value.producer()
        yield value


def source(value: ir.Value) -> ir.Value:
    """What a value was moved from in the end."""
    *_, first = unmoved(value)
    return first
