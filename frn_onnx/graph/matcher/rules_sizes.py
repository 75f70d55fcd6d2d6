"""Shape arithmetic: the small integer tensors between Shape nodes and whatever uses them.

Exporters write ``x.sum((2, 3)) / (x.shape[2] * x.shape[3])`` and ``r.expand(x.shape)`` as chains
of Shape, Gather, Mul, Cast, Concat ... Here such a tensor is a list of products of sizes of x's
axes, so the division above is known to turn the sum into the mean whatever H and W are.
"""

import math

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher.axes import Size
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.shapes import FLOATS, cast_to
from frn_onnx.graph.matcher.values import Context, Known, Rule, Sizes, apply
from frn_onnx.graph.standard import is_standard

# Longest chain of shape arithmetic that is followed.
_DEEPEST = 64
# No tensor has more axes than that, so a longer list is no shape: Concat of a list with itself,
# often enough, fills any memory.
_LONGEST = 64


def _simple(entries, rank: int):
    """A Sizes, or a NumPy array when every entry is a plain number."""
    if all(size is not None and size.number is not None for size in entries):
        numbers = np.asarray([size.number for size in entries])
        if all(size.is_whole for size in entries):
            numbers = numbers.astype(np.int64)
        return numbers if rank else numbers.reshape(())
    return Sizes(tuple(entries), rank)


def _as_sizes(arg) -> Sizes | None:
    if isinstance(arg, Sizes):
        return arg if len(arg.entries) <= _LONGEST else None
    if isinstance(arg, np.ndarray) and arg.ndim <= 1 and arg.size <= _LONGEST:
        return Sizes(tuple(Size(number) for number in arg.reshape(-1).tolist()), arg.ndim)
    return None


def _shape(context, node, args):
    if isinstance(args[0], Sizes):
        return np.asarray([len(args[0].entries)] * args[0].rank, dtype=np.int64)
    if isinstance(args[0], Form):
        entries = [context.frame.size(axis) for axis in args[0].axes]
    else:
        entries = context.stated_shape(node.inputs[0])
    start = node.attributes.get_int("start", 0)
    end = node.attributes.get_int("end", len(entries))
    return _simple(entries[slice(start, end)], 1)


def _size(context, node, args):
    if isinstance(args[0], Sizes):
        return np.asarray(len(args[0].entries), dtype=np.int64)
    return _simple([context.frame.size([a for axis in args[0].axes for a in axis])], 0)


def _gather(context, node, args):
    data, index = args
    if index.ndim > 1:
        return None
    return _simple([data.entries[int(i)] for i in index.reshape(-1)], index.ndim)


def _slice(context, node, args):
    start, end, *rest = (int(bound.item()) for bound in args[1:])
    step = rest[1] if len(rest) > 1 else 1
    return _simple(args[0].entries[start:end:step], 1)


def _concat(context, node, args):
    return _simple([size for arg in args for size in _as_sizes(arg).entries], 1)


def _to_scalar(context, node, args):
    return _simple(args[0].entries, 0) if len(args[0].entries) == 1 else None


def _to_list(context, node, args):
    return _simple(args[0].entries, 1) if args[0].rank == 0 else None


def _reshape(context, node, args):
    target = args[1]
    if not isinstance(target, np.ndarray) or target.size > 1:
        return None
    return _simple(args[0].entries, 1) if target.size else _to_scalar(context, node, args)


def _same(context, node, args):
    return args[0]


def _cast(context, node, args):
    whole = all(size is None or size.is_whole for size in args[0].entries)
    return args[0] if whole or cast_to(node) in FLOATS else None


def _divide(context, node, args):
    """A quotient; that of integers is cut off, and only kept where there is nothing to cut."""
    result = _elementwise(lambda a, b: a * b**-1)(context, node, args)
    if not isinstance(result, Sizes) or context.shapes.dtype(node.outputs[0]) in FLOATS:
        return result
    whole = all(size is not None and size.is_whole for size in result.entries)
    return result if whole else None


def _elementwise(operate):
    def rule(context, node, args):
        a, b = (_as_sizes(arg) for arg in args)
        count = max(len(a.entries), len(b.entries))
        left = a.entries * (count if len(a.entries) == 1 else 1)
        right = b.entries * (count if len(b.entries) == 1 else 1)
        if len(left) != len(right):
            return None
        entries = [
            None if p is None or q is None else operate(p, q)
            for p, q in zip(left, right, strict=True)
        ]
        return _simple(entries, max(a.rank, b.rank))

    return rule


def _larger(a: Size, b: Size) -> Size | None:
    """Of two shapes that broadcast: an axis of no elements has no results that could differ."""
    if a == b:
        return a
    if not (a.is_whole and b.is_whole) or min(a.factor, b.factor) < 1:
        return None
    if a.number is not None and b.number is not None:
        return max(a, b, key=lambda size: size.number)
    return {a.number: b, b.number: a}.get(1)


def _product(context, node, args):
    result = math.prod(args[0].entries, start=Size())
    return _simple([result], int(bool(node.attributes.get_int("keepdims", 1))))


def _equal(context, node, args):
    """No size is negative, so a size never equals -1; the one thing exporters ask."""
    a, b = (_as_sizes(arg) for arg in args)
    result = []
    for p, q in zip(a.entries, b.entries, strict=True):
        if p is None or q is None:
            return None
        decided = p == q or (p.number is not None and q.number is not None)
        if not decided and (p.number or 0) >= 0 and (q.number or 0) >= 0:
            return None
        result.append(p == q)
    return np.asarray(result)


def _where(context, node, args):
    yes, no = (_as_sizes(arg).entries for arg in args[1:])
    pairs = zip(args[0].reshape(-1), yes, no, strict=True)
    return _simple([p if chosen else q for chosen, p, q in pairs], 1)


SIZE_RULES: dict[str, Rule] = {
    "Cast": _cast,
    "Concat": _concat,
    "Div": _divide,
    "Equal": _equal,
    "Gather": _gather,
    "Identity": _same,
    "Max": _elementwise(_larger),
    "Mul": _elementwise(lambda a, b: a * b),
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _to_scalar,
    "Unsqueeze": _to_list,
    "Where": _where,
}


def size_of_value(context: Context, value: ir.Value, depth: int = 0) -> Sizes | np.ndarray | None:
    """What shape arithmetic on a tensor that is not computed from x comes to, if that is sizes.

    An exporter may take H and W from the model's input, which x has in common with it: the two
    state the same names for the sizes.
    """
    if value not in context.sizes:
        context.sizes[value] = _followed(context, value, depth)
    return context.sizes[value]


def _followed(context: Context, value: ir.Value, depth: int) -> Sizes | np.ndarray | None:
    constant = context.constants.get(value)
    node = value.producer()
    if constant is not None or not is_standard(node, *SIZE_RULES):
        return constant
    if depth > _DEEPEST or len(context.shapes.of(value) or ()) > 1:
        return None
    args: list[Known | None] = [None]
    if node.op_type != "Shape":
        args = [None if v is None else size_of_value(context, v, depth + 1) for v in node.inputs]
        if any(a is None and v is not None for a, v in zip(args, node.inputs, strict=True)):
            return None
        if all(isinstance(arg, np.ndarray) for arg in args if arg is not None):
            return context.constants.fold_sizes(node, args)
    result = apply(SIZE_RULES[node.op_type], context, node, args)
    return result if isinstance(result, Sizes | np.ndarray) else None
