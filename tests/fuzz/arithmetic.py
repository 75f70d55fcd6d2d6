"""Standard ops in float64, for graphs of a few elements: what a fuzzed graph computes.

Casts between float types do nothing here: which function it is counts, not its rounding. An
operand of the wrong type or shape raises :class:`Invalid`, so that a graph that ran is valid.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE})
INT, BOOL = TensorProto.INT64, TensorProto.BOOL
# Why FRN does not run: x has another number of channels.
PARAMETERS = "parameters for another number of channels"
# Larger tensors are not worth their time.
_LARGEST = 20000


class Invalid(Exception):  # noqa: N818 - a verdict on a graph, not a fault
    """The graph breaks the specification of an op."""


@dataclass(frozen=True)
class Value:
    """A tensor: float64, int64 or bool, and the element type that it has in the file."""

    array: np.ndarray
    type: int


@dataclass
class Node:
    """One node with one output."""

    op: str
    inputs: list[str]
    output: str
    attributes: dict

    def copy(self) -> "Node":
        return Node(self.op, list(self.inputs), self.output, dict(self.attributes))


def run(
    nodes: Sequence[Node], known: Mapping[str, Value], opset: int, until: str | None = None
) -> dict[str, Value]:
    """Every value of a graph, by its name."""
    values = dict(known)
    with np.errstate(all="ignore"):
        for node in nodes:
            try:
                args = [values[name] if name else None for name in node.inputs]
                result = OPS[node.op](args, node.attributes, opset)
            except (IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise Invalid(f"{node.op}: {error}") from error
            if result.array.size > _LARGEST or result.array.ndim > 8:
                raise Invalid("too large")
            values[node.output] = result
    return values


def _require(condition: bool, what: str = "") -> None:
    if not condition:
        raise Invalid(what)


def _floats(args: Sequence[Value]) -> int:
    """The one float type that all operands have."""
    types = {arg.type for arg in args}
    _require(len(types) == 1 and types <= FLOATS, "types")
    return types.pop()


def _elementwise(function: Callable, integers: bool = False) -> Callable:
    def rule(args, attributes, opset):
        types = {arg.type for arg in args}
        _require(len(types) == 1 and types <= FLOATS | ({INT} if integers else set()), "types")
        result = args[0].array
        if len(args) == 1:
            return Value(function(result), args[0].type)
        for arg in args[1:]:
            result = function(result, arg.array)
        return Value(np.asarray(result), args[0].type)

    return rule


def _divide(args, attributes, opset):
    a, b = args
    _require(a.type == b.type and a.type in FLOATS | {INT}, "types")
    if a.type == INT:
        _require(bool(np.all(b.array != 0)), "division by zero")
        return Value(np.trunc(a.array / b.array).astype(np.int64), INT)
    return Value(np.asarray(a.array / b.array), a.type)


def _compare(function: Callable, since: int = 9) -> Callable:
    def rule(args, attributes, opset):
        _require(opset >= since, "opset")
        _floats(args)
        return Value(np.asarray(function(args[0].array, args[1].array)), BOOL)

    return rule


def _where(args, attributes, opset):
    condition, yes, no = args
    _require(condition.type == BOOL and yes.type == no.type, "types")
    return Value(np.where(condition.array, yes.array, no.array), yes.type)


def _clip(args, attributes, opset):
    kind = _floats([arg for arg in args if arg is not None])
    result = args[0].array
    for bound, function in zip(args[1:], (np.maximum, np.minimum), strict=False):
        if bound is not None:
            _require(bound.array.ndim == 0, "a bound of rank 0")
            result = function(result, bound.array)
    return Value(np.asarray(result), kind)


def _cast(args, attributes, opset):
    (x,), target = args, attributes["to"]
    if target in FLOATS:
        return Value(x.array.astype(np.float64), target)
    _require(target == INT, "type")
    return Value(np.trunc(np.nan_to_num(x.array.astype(np.float64))).astype(np.int64), INT)


def _axes(args, attributes, rank: int) -> tuple[int, ...] | None:
    given = attributes.get("axes")
    if len(args) > 1 and args[1] is not None:
        _require(args[1].type == INT and args[1].array.ndim == 1, "axes")
        given = args[1].array.tolist()
    if given is None:
        return None
    _require(all(-rank <= axis < rank for axis in given), "axes out of range")
    axes = tuple(axis % rank for axis in given)
    _require(len(set(axes)) == len(axes), "an axis twice")
    return axes


def _reduce(function: Callable, axes_input: int) -> Callable:
    def rule(args, attributes, opset):
        _floats(args[:1])
        _require(("axes" not in attributes) if opset >= axes_input else len(args) == 1, "opset")
        x = args[0].array
        axes = _axes(args, attributes, x.ndim)
        if not axes and attributes.get("noop_with_empty_axes"):
            # The function of one element each, as for every mean and sum over no axis.
            return Value(function(x[..., None], (x.ndim,), False), args[0].type)
        keep = bool(attributes.get("keepdims", 1))
        every = axes or tuple(range(x.ndim))
        return Value(np.asarray(function(x, every, keep)), args[0].type)

    return rule


def _pooled(function: Callable) -> Callable:
    def rule(args, attributes, opset):
        _floats(args)
        x = args[0].array
        _require(x.ndim >= 3 and (function is _norm or not attributes), "rank, attributes")
        taken = _magnitude if attributes.get("p") == 1 else function
        return Value(taken(x, tuple(range(2, x.ndim)), True), args[0].type)

    return rule


def _mean(x, axes, keep):
    return x.mean(axis=axes, keepdims=keep)


def _sum(x, axes, keep):
    return x.sum(axis=axes, keepdims=keep)


def _magnitude(x, axes, keep):
    return np.abs(x).sum(axis=axes, keepdims=keep)


def _norm(x, axes, keep):
    return np.sqrt((x * x).sum(axis=axes, keepdims=keep))


def _window(function: Callable) -> Callable:
    """Over windows without strides and pads."""

    def rule(args, attributes, opset):
        _floats(args)
        x, kernel = args[0].array, attributes["kernel_shape"]
        _require(x.ndim == len(kernel) + 2, "rank")
        _require(function is _norm or "p" not in attributes, "attributes")
        _require(all(k <= size for k, size in zip(kernel, x.shape[2:], strict=True)), "window")
        axes = tuple(range(2, x.ndim))
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel, axes)
        taken = _magnitude if attributes.get("p") == 1 else function
        return Value(taken(windows, tuple(range(x.ndim, windows.ndim)), False), args[0].type)

    return rule


def _rms_normalization(args, attributes, opset):
    _require(opset >= 23, "opset")
    kind = _floats(args)
    x, scale = args[0].array, args[1].array
    axis = attributes.get("axis", -1)
    _require(-x.ndim <= axis < x.ndim, "axis")
    axes = tuple(range(axis % x.ndim, x.ndim))
    root = np.sqrt((x * x).mean(axis=axes, keepdims=True) + attributes.get("epsilon", 1e-5))
    _require(np.broadcast_shapes(scale.shape, x.shape) == x.shape, "scale")
    return Value(x / root * scale, kind)


def _transpose(args, attributes, opset):
    x = args[0]
    return Value(np.transpose(x.array, attributes.get("perm")), x.type)


def _unsqueeze(args, attributes, opset):
    _require(("axes" in attributes) != (opset >= 13), "opset")
    x = args[0].array
    count = len(attributes["axes"]) if len(args) == 1 else args[1].array.size
    axes = _axes(args, attributes, x.ndim + count)
    return Value(np.expand_dims(x, axes), args[0].type)


def _squeeze(args, attributes, opset):
    _require(("axes" in attributes) != (opset >= 13) or len(args) == 1, "opset")
    x = args[0].array
    axes = _axes(args, attributes, x.ndim)
    return Value(np.squeeze(x, axes), args[0].type)


def _reshape(args, attributes, opset):
    x, shape = args
    _require(shape.type == INT and shape.array.ndim == 1, "shape")
    target = shape.array.tolist()
    if not attributes.get("allowzero", 0):
        target = [x.array.shape[i] if size == 0 else size for i, size in enumerate(target)]
    _require(all(size >= -1 for size in target), "shape")
    return Value(x.array.reshape(target), x.type)


def _expand(args, attributes, opset):
    x, shape = args
    _require(shape.type == INT and shape.array.ndim == 1, "shape")
    target = np.broadcast_shapes(x.array.shape, tuple(shape.array.tolist()))
    return Value(np.broadcast_to(x.array, target), x.type)


def _flatten(args, attributes, opset):
    x, axis = args[0], attributes.get("axis", 1)
    _require(-x.array.ndim <= axis <= x.array.ndim, "axis")
    axis += x.array.ndim if axis < 0 else 0
    return Value(x.array.reshape(math.prod(x.array.shape[:axis]), -1), x.type)


def _gather(args, attributes, opset):
    x, index = args
    _require(x.array.ndim > 0, "rank")
    _require(index.type == INT, "index")
    return Value(np.take(x.array, index.array, axis=attributes.get("axis", 0)), x.type)


def _concat(args, attributes, opset):
    _require(len({arg.type for arg in args}) == 1, "types")
    return Value(np.concatenate([a.array for a in args], attributes["axis"]), args[0].type)


def _shape(args, attributes, opset):
    return Value(np.asarray(args[0].array.shape, np.int64), INT)


def _slice(args, attributes, opset):
    """Of the first axes, by constants."""
    x, starts, ends = (arg.array for arg in args)
    parts = tuple(slice(a, b) for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
    return Value(x[parts], args[0].type)


def _constant_of_shape(args, attributes, opset):
    return Value(np.full(args[0].array.tolist(), 1.0), TensorProto.FLOAT)


def _einsum(args, attributes, opset):
    _require(opset >= 12, "opset")
    kind = _floats(args)
    return Value(np.einsum(attributes["equation"], *(a.array for a in args)), kind)


def _matmul(args, attributes, opset):
    kind = _floats(args)
    return Value(np.matmul(args[0].array, args[1].array), kind)


def _residual_frn(args, attributes, opset):
    x, residual, *parameters = args
    _require(residual.array.shape == x.array.shape, PARAMETERS)
    return _frn([x, *parameters], attributes, opset, residual.array)


def _frn(args, attributes, opset, residual=0.0):
    """The op itself, as a fused graph has it."""
    x, gamma, beta, tau, epsilon = (*(None if a is None else a.array for a in args), None, None)[:5]
    axes = tuple(attributes["axes"])
    _require(x.ndim == len(axes) + 2, "axes")
    nu2 = (x * x).mean(axis=axes, keepdims=True)
    y = gamma * x / np.sqrt(nu2 + (attributes["epsilon"] if epsilon is None else epsilon)) + beta
    _require(y.shape == x.shape, PARAMETERS)
    y = y + residual
    return Value(y if tau is None else np.maximum(y, tau), args[0].type)


OPS: dict[str, Callable] = {
    "Abs": _elementwise(np.abs),
    "Add": _elementwise(np.add, integers=True),
    "AveragePool": _window(_mean),
    "Cast": _cast,
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Einsum": _einsum,
    "Exp": _elementwise(np.exp),
    "Expand": _expand,
    "FilterResponseNormalization": _frn,
    "Flatten": _flatten,
    "Gather": _gather,
    "GlobalAveragePool": _pooled(_mean),
    "GlobalLpPool": _pooled(_norm),
    "Greater": _compare(np.greater),
    "GreaterOrEqual": _compare(np.greater_equal, 12),
    "Identity": _elementwise(lambda x: x, integers=True),
    "Less": _compare(np.less),
    "LessOrEqual": _compare(np.less_equal, 12),
    "LpPool": _window(_norm),
    "MatMul": _matmul,
    "Max": _elementwise(np.maximum),
    "Min": _elementwise(np.minimum),
    "Mul": _elementwise(np.multiply, integers=True),
    "Neg": _elementwise(np.negative),
    "Pow": _elementwise(np.power),
    "RMSNormalization": _rms_normalization,
    "Reciprocal": _elementwise(np.reciprocal),
    "ReduceL1": _reduce(_magnitude, 18),
    "ReduceL2": _reduce(_norm, 18),
    "ReduceMax": _reduce(lambda x, axes, keep: x.max(axis=axes, keepdims=keep), 18),
    "ReduceMean": _reduce(_mean, 18),
    "ReduceSum": _reduce(_sum, 13),
    "ReduceSumSquare": _reduce(lambda x, axes, keep: _sum(x * x, axes, keep), 18),
    "Relu": _elementwise(lambda x: np.maximum(x, 0)),
    "ResidualFilterResponseNormalization": _residual_frn,
    "Reshape": _reshape,
    "Shape": _shape,
    "Sigmoid": _elementwise(lambda x: 1 / (1 + np.exp(-x))),
    "Slice": _slice,
    "Sqrt": _elementwise(np.sqrt),
    "Squeeze": _squeeze,
    "Sub": _elementwise(np.subtract, integers=True),
    "Sum": _elementwise(np.add),
    "Tanh": _elementwise(np.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
