"""The nodes that stay float32 where a model becomes half precision.

The square of a float16 overflows from 256 on, and vanishes below 2e-4. So what FRN, and every other
norm that is written in standard ops, computes between a square and the division by its root stays
in float32; so do numbers that are made from integers, counts and indices among them.
"""

from collections.abc import Callable, Iterator

import onnx_ir as ir

from frn_onnx.graph import sites
from frn_onnx.graph.edit import constant
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.standard import is_standard

# These square by themselves.
_NORMS = frozenset(
    {"GlobalLpPool", "LpNormalization", "LpPool", "MeanVarianceNormalization", "ReduceL2"}
)
_REDUCTIONS = frozenset(
    {"AveragePool", "Einsum", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMax"}
    | {"ReduceMean", "ReduceMin", "ReduceSum", "ReduceSumSquare"}
)
# These take a square back into the range of what was squared.
_ROOTS = frozenset({"Log", "Sqrt"})
_MOVES = frozenset(
    {"Cast", "Concat", "Dropout", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape"}
    | {"Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where"}
)
_ARITHMETIC = frozenset(
    {"Abs", "Add", "Clip", "Div", "Max", "Mean", "Min", "Mul", "Neg", "Pow", "Reciprocal", "Relu"}
    | {"Sub", "Sum"}
)
# What a square goes through, and what is done to a statistic.
_OF_SQUARES = _MOVES | _ARITHMETIC | _REDUCTIONS
_OF_STATISTICS = _OF_SQUARES | _ROOTS | {"Exp"}
# What may be as small as to vanish, or as large as to overflow, where it meets a count.
_SCALING = frozenset({"Div", "Mul"})
# What is done to positions, sizes and angles.
_OF_NUMBERS = _OF_STATISTICS | {"Ceil", "Cos", "Floor", "Mod", "Round", "Sin"}
_INTEGERS = frozenset(
    {ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64, ir.DataType.UINT16}
    | {ir.DataType.UINT32, ir.DataType.UINT64}
)
# How far back two tensors are looked at, to see whether they are computed alike.
_DEPTH = 4

Dtype = Callable[[ir.Value], ir.DataType | None]


def wide_nodes(model: ir.Model, dtype: Dtype) -> set[ir.Node]:
    """The nodes of a model that stay float32.

    Args:
        model: any.
        dtype: tells the type of a value.
    """
    constants = Constants(model)
    found: set[ir.Node] = set()
    roots: set[ir.Node] = set()
    for node in sites.nodes(model):
        if not is_standard(node):
            continue
        if node.op_type in _NORMS:
            roots.add(node)
        elif _is_square(node, constants):
            found |= _from_square(node, constants, roots)
    return found | _after_roots(roots) | _of_integers(model, dtype)


def _is_square(node: ir.Node, constants: Constants) -> bool:
    if node.op_type == "ReduceSumSquare":
        return True
    if node.op_type in ("Einsum", "Mul"):
        return len(node.inputs) == 2 and _are_alike(node.inputs[0], node.inputs[1])
    return _exponent(node, constants) in (2, 4)


def _exponent(node: ir.Node, constants: Constants) -> float | None:
    """Of a Pow by one number."""
    return constants.number(node.inputs[1]) if node.op_type == "Pow" else None


def _are_alike(a: ir.Value | None, b: ir.Value | None, depth: int = _DEPTH) -> bool:
    """Whether two values are the same tensor, but for its signs."""
    a, b = _behind_signs(a), _behind_signs(b)
    if a is b or a is None or b is None or not depth:
        return a is b
    one, other = a.producer(), b.producer()
    return (
        one is not None
        and other is not None
        and (one.domain, one.op_type) == (other.domain, other.op_type)
        and one.op_type in _OF_SQUARES
        and a.index() == b.index()
        and len(one.inputs) == len(other.inputs)
        and str(one.attributes) == str(other.attributes)
        and all(_are_alike(x, y, depth - 1) for x, y in zip(one.inputs, other.inputs, strict=True))
    )


def _behind_signs(value: ir.Value | None) -> ir.Value | None:
    while value is not None and value.producer() is not None:
        if value.producer().op_type not in ("Abs", "Cast", "Identity", "Neg"):
            break
        value = value.producer().inputs[0]
    return value


def _from_square(square: ir.Node, constants: Constants, roots: set[ir.Node]) -> set[ir.Node]:
    """A square and what is computed of it, if a reduction or a root is among that; the roots are
    added to ``roots``."""
    found, stack, reduces = {square}, [square], False
    while stack:
        node = stack.pop()
        reduces = reduces or node.op_type in _REDUCTIONS
        for user in _users(node):
            if user in found:
                continue
            exponent = _exponent(user, constants)
            if user.op_type in _ROOTS or (exponent is not None and abs(exponent) <= 0.5):
                reduces = True
                roots.add(user)
            elif user.op_type in _OF_SQUARES:
                found.add(user)
                stack.append(user)
    return found if reduces else set()


def _after_roots(roots: set[ir.Node]) -> set[ir.Node]:
    """Roots, what is computed of them alone, and the nodes that bring it and a tensor together."""
    found, statistics, stack = set(roots), set(roots), list(roots)
    while stack:
        node = stack.pop()
        for user in _users(node):
            if user in statistics or user.op_type not in _OF_STATISTICS:
                continue
            found.add(user)
            others = (value for value in user.inputs if value is not None)
            if all(value.producer() in statistics or _is_constant(value) for value in others):
                statistics.add(user)
                stack.append(user)
    return found


def _of_integers(model: ir.Model, dtype: Dtype) -> set[ir.Node]:
    """Nodes that compute with nothing but numbers made from integers and constants, and those that
    scale a tensor by one."""
    numbers: set[ir.Value] = set()
    found: set[ir.Node] = set()
    for node in sites.nodes(model):
        if not is_standard(node):
            continue
        given = [v for v in node.inputs if v is not None and not _is_constant(v)]
        if node.op_type == "Cast" and given and dtype(given[0]) in _INTEGERS:
            alone = True
        else:
            met = [value for value in given if value in numbers]
            if not met or node.op_type not in _OF_NUMBERS:
                continue
            floats = (v for v in given if dtype(v) == ir.DataType.FLOAT)
            alone = all(value in numbers for value in floats)
            if not alone and node.op_type not in _SCALING:
                continue
        found.add(node)
        if alone:
            numbers.update(node.outputs)
    return found


def _is_constant(value: ir.Value, depth: int = _DEPTH) -> bool:
    """Whether a value is, or is made of, initializers and Constants; none is read for that."""
    if constant(value) is not None:
        return True
    node = value.producer()
    given = [] if node is None else [each for each in node.inputs if each is not None]
    return depth > 0 and bool(given) and all(_is_constant(each, depth - 1) for each in given)


def _users(node: ir.Node) -> Iterator[ir.Node]:
    for output in node.outputs:
        for user, _ in output.uses():
            if is_standard(user):
                yield user
