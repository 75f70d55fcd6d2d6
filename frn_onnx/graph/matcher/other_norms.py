"""Other normalisations that equal FRN up to what is before or behind them."""

import onnx_ir as ir

MOVEMENT = frozenset(
    {"Cast", "CastLike", "Expand", "Flatten", "Identity"}
    | {"Reshape", "Squeeze", "Transpose", "Unsqueeze"}
)


def per_group(x: ir.Value, y: ir.Value, channel: int, rank: int) -> str | None:
    """RMS and group norms over the last axis of a rank-3 tensor are FRN but for what follows."""
    if rank != 3 or channel != 1:
        return None
    for user in y.consumers():
        if user.op_type in ("Mul", "Add"):
            return "its scale varies along the axis it averages over: this is RMS normalisation"
        source = x.producer()
        if user.op_type == "Reshape" and source is not None and source.op_type == "Reshape":
            return "it averages over groups of channels: this is group normalisation"
    return None


def centred(x: ir.Value) -> str | None:
    """Whether x is u - mean(u)."""
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
