"""Which inputs and outputs of a node may be in half precision, and of what type they are.

It is in an op's schema: what may be float16 there may be half. An op without a schema takes and
gives halves, but for those of ONNX Runtime that are named here. Sequences and optional tensors stay
float32, and so does what makes them: there is no Cast for them.
"""

import functools
from collections.abc import Callable, Mapping

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import sites
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.standard import RANDOM, is_standard, schema

WIDE = ir.DataType.FLOAT
# Attributes that name the type of an output.
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "output_datatype")
# ONNX Runtime draws these in float32 and float64 alone on the CPU; the others name their type in
# an attribute that need not be there.
_WIDE_OPS = frozenset(
    (RANDOM - {"Bernoulli", "Multinomial"})
    | {"BlackmanWindow", "HammingWindow", "HannWindow", "MelWeightMatrix"}
    # Scales are often too small for float16. The others ONNX Runtime does not have in it, or they
    # look at bits.
    | {"DequantizeLinear", "QuantizeLinear", "BitCast", "EyeLike"}
)
_OF_SEQUENCES = ("Sequence", "Optional", "SplitToSequence", "ConcatFromSequence")
# Of ONNX Runtime's own ops: those for float32 alone, by what their names begin with, and inputs
# that stay float32 of others.
_FOR_FLOAT32 = (
    *("CDist", "Dequantize", "DynamicQuantize", "QAttention", "QEmbed", "QGemm", "QLinear"),
    "Quantize",
)
_GIVE_INTEGERS = ("QGemm", "QLinear", "Quantize")
_WIDE_INPUTS = {"GroupNorm": (1, 2), "SkipGroupNorm": (1, 2)}
# From this opset on ops take bfloat16 wherever they take float16, but for a few.
_BFLOAT16_OPSET = 22

Slots = Callable[[int], bool]
# Of a node that stays float32: no input and no output.
NONE: tuple[Slots, Slots] = (lambda _: False, lambda _: False)


def is_wide(node: ir.Node) -> bool:
    """Whether a node stays float32 for what it is."""
    if node.domain == "com.microsoft":
        return node.op_type.startswith(_FOR_FLOAT32)
    if not is_standard(node):
        return False
    return node.op_type in _WIDE_OPS or node.op_type.startswith(_OF_SEQUENCES)


def slots(node: ir.Node, model: ir.Model, half: ir.DataType) -> tuple[Slots, Slots]:
    """Which inputs and which outputs of a node may be half, by their numbers."""
    if op.is_frn(node):
        first = op.first_parameter(node.op_type)
        return (lambda index: index < first), (lambda _: True)
    opset = sites.opset(model)
    exact = half == ir.DataType.BFLOAT16 and opset >= _BFLOAT16_OPSET
    kinds = _kinds(
        node.op_type,
        model.opset_imports.get(node.domain, opset),
        node.domain,
        "tensor(bfloat16)" if exact else "tensor(float16)",
    )
    if kinds is None:
        stay = _WIDE_INPUTS.get(node.op_type, ())
        return (lambda index: index not in stay), (lambda _: True)
    takes, gives = kinds
    return (
        lambda index: takes[min(index, len(takes) - 1)],  # the last may stand for several
        lambda index: gives[min(index, len(gives) - 1)],
    )


@functools.cache
def _kinds(
    op_type: str, version: int, domain: str, half_type: str
) -> tuple[list[bool], list[bool]] | None:
    """Which inputs and outputs may be of a type, by the op's schema; None: there is none."""
    found = schema(op_type, version, domain)
    if found is None:
        return None
    allowed = {c.type_param_str: c.allowed_type_strs for c in found.type_constraints}
    takes, gives = (
        [half_type in allowed.get(each.type_str, [each.type_str]) for each in formal]
        for formal in (found.inputs, found.outputs)
    )
    return takes or [False], gives or [False]


def dtypes(model: ir.Model) -> dict[ir.Value, ir.DataType | None]:
    """The type of every tensor; where ONNX does not infer it, what the node before says, or what
    that takes."""
    shapes = Shapes(model)
    found: dict[ir.Value, ir.DataType | None] = {}

    def add(value: ir.Value, otherwise: ir.DataType | None = None) -> None:
        if is_tensor(value):
            found[value] = shapes.dtype(value) or otherwise

    for scope in sites.scopes(model):
        for value in (*scope.graph.inputs, *scope.graph.initializers.values()):
            add(value)
        for node in scope.graph:
            for index, value in enumerate(node.outputs):
                add(value, _given_on(node, index, found, sites.opset(model), model.opset_imports))
    return found


def _given_on(
    node: ir.Node,
    index: int,
    dtypes: Mapping[ir.Value, ir.DataType | None],
    opset: int,
    imports: Mapping[str, int],
) -> ir.DataType | None:
    """The type of an output by the schema and the inputs' types; of an op without a schema, float32
    where an input is."""
    known = schema(node.op_type, imports.get(node.domain, opset), node.domain)
    given = [None if value is None else dtypes.get(value) for value in node.inputs]
    if known is None:
        integers = node.domain == "com.microsoft" and node.op_type.startswith(_GIVE_INTEGERS)
        return WIDE if WIDE in given and not integers else None
    if not known.outputs or node.op_type.startswith(_OF_SEQUENCES):
        return None
    kind = known.outputs[min(index, len(known.outputs) - 1)].type_str
    if kind == "tensor(float)":
        return WIDE
    if node.op_type in ("Bernoulli", "EyeLike", "RandomNormalLike", "RandomUniformLike"):
        return ir.DataType(node.attributes.get_int("dtype", given[0] or ir.DataType.UNDEFINED))
    formal = [each.type_str for each in known.inputs]
    alike = (
        dtype
        for i, dtype in enumerate(given)
        if formal and formal[min(i, len(formal) - 1)] == kind and dtype is not None
    )
    return next(alike, None)


def is_tensor(value: ir.Value) -> bool:
    """Whether a value is one, and no sequence of them or one that may be missing."""
    return not isinstance(value.type, ir.SequenceType | ir.OptionalType)


def retyped(
    type_: ir.TypeProtocol | None, old: ir.DataType, new: ir.DataType
) -> ir.TypeProtocol | None:
    """The type of a tensor, a sequence, or an optional one, with another type of elements."""
    if isinstance(type_, ir.TensorType) and type_.dtype == old:
        return ir.TensorType(new, denotation=type_.denotation)
    if isinstance(type_, ir.SequenceType | ir.OptionalType):
        return type(type_)(retyped(type_.elem_type, old, new), denotation=type_.denotation)
    return type_
