"""What the ONNX standard says: which ops are its own, and since when what holds."""

import onnx
import onnx_ir as ir

# From this opset on operands are broadcast as NumPy does it.
BROADCASTING_OPSET = 7
# From this version of the file format on an initializer need not be an input, and the value of one
# that is may be overridden by the caller.
INITIALIZERS_ALONE = 4

# What these give is drawn anew in each run.
RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
    | {"Bernoulli", "Multinomial"}
)


def is_standard(node: ir.Node | None, *op_types: str) -> bool:
    """Whether a node is there and is one of ONNX's own ops; of these types, where any are named.

    Their domain has a full name, too, ai.onnx, which ``onnx_ir`` takes for "".
    """
    return node is not None and node.domain == "" and (not op_types or node.op_type in op_types)


def schema(op_type: str, version: int, domain: str = "") -> onnx.defs.OpSchema | None:
    """The definition of an op of ONNX's; None for one that it does not have, or not yet."""
    try:
        return onnx.defs.get_schema(op_type, version, domain)
    except onnx.defs.SchemaError:
        return None
