"""What each ONNX op does to a Form: one small rule per op.

A rule gets the node and its inputs, each a Form, a NumPy constant, a Sizes, a Comparison or
None (something else), at least one of them not constant. It returns what the node's output is,
or None where the output is outside the algebra.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx.graph import axes as ax
from frn_onnx.graph import form as fm
from frn_onnx.graph.axes import Axes, Frame, Size
from frn_onnx.graph.constants import Constants
from frn_onnx.graph.form import Form
from frn_onnx.graph.shapes import FLOATS, Shapes
from frn_onnx.graph.sizes import SIZE_RULES, Sizes


@dataclass(frozen=True)
class Comparison:
    """form > bound (or >=), which a Where turns into a threshold."""

    form: Form
    bound: Form
    greater: bool


Known = Form | np.ndarray | Sizes | Comparison


@dataclass(frozen=True)
class Context:
    """What the rules may look up."""

    frame: Frame
    constants: Constants
    shapes: Shapes

    def stated_shape(self, value: ir.Value) -> list[Size | None] | None:
        """The shape of a value as the file or inference has it, in sizes of x's axes."""
        dims = self.shapes.of(value)
        if dims is None:
            return None
        names = {dim: axis for axis, dim in enumerate(self.frame.dims) if isinstance(dim, str)}
        return [
            Size(dim)
            if isinstance(dim, int)
            else self.frame.size([names[dim]])
            if dim in names
            else None
            for dim in dims
        ]


Rule = Callable[[Context, ir.Node, list[Known | None]], Known | None]


def evaluate(context: Context, node: ir.Node, args: list[Known | None]) -> Known | None:
    """The output of a node for known inputs; None where it is outside the algebra."""
    if node.domain != "" or len(node.outputs) != 1:
        return None
    given = [a for a, value in zip(args, node.inputs, strict=True) if value is not None]
    if given and all(isinstance(arg, np.ndarray) for arg in given):
        return context.constants.fold(node, args)
    tables = [RULES]
    if any(isinstance(arg, Sizes) for arg in given) or node.op_type in ("Shape", "Size"):
        tables.insert(0, SIZE_RULES)
    try:
        results = (t[node.op_type](context, node, args) for t in tables if node.op_type in t)
        return next((result for result in results if result is not None), None)
    except (IndexError, KeyError, ValueError):
        # A node that breaks its own specification: a missing input, a perm of another rank ...
        return None


def evaluate_unknown(node: ir.Node, args: list[Known | None]) -> Known | None:
    """The output of a node with an input of which nothing is known: a flawed form, or None."""
    if node.domain != "" or node.op_type not in ("Add", "Sum"):
        return None
    form = next((arg for arg in args if isinstance(arg, Form)), None)
    if form is None or not (form.is_statistic and (form.nu_power == 1 or form.over)):
        return None
    return form.but(flaw=form.flaw or fm.NOT_CONSTANT)


# Elementwise arithmetic.


def pair(context: Context, args: list[Known | None]) -> tuple[Form, Form, Axes] | None:
    """Two inputs as forms, and the axes of the result. One of them is a Form already."""
    like = next((arg for arg in args if isinstance(arg, Form)), None)
    forms = [None if like is None else as_form(context.frame, arg, like.axes) for arg in args]
    if len(forms) != 2 or forms[0] is None or forms[1] is None:
        return None
    axes = context.frame.broadcast(forms[0].axes, forms[1].axes)
    return None if axes is None else (forms[0], forms[1], axes)


def as_form(frame: Frame, arg: Known | None, like: Axes) -> Form | None:
    """A constant or a size as a form, beside a tensor with the axes ``like``."""
    if isinstance(arg, Form):
        return arg
    if isinstance(arg, Sizes):
        size = arg.one
        if size is None:
            return None
        return Form(
            axes=((),) * arg.rank,
            scale=np.asarray(size.factor),
            sizes=Size(1.0, size.powers),
        )
    if not isinstance(arg, np.ndarray):
        return None
    value = frame.per_channel(arg.astype(np.float64), like)
    if value is None and frame.channel is None:
        # Only the places of the axes are looked for: any factor will do.
        return fm.constant(np.ones(()), ())
    if value is None:
        return None
    aligned = ((),) * max(arg.ndim - len(like), 0) + like[max(len(like) - arg.ndim, 0) :]
    axes = tuple(axis if arg.shape[position] != 1 else () for position, axis in enumerate(aligned))
    return fm.constant(value, axes)


def _multiply(context, node, args):
    both = pair(context, args)
    return both and fm.multiply(context.frame, *both)


def _divide(context, node, args):
    both = pair(context, args)
    if both is None:
        return None
    inverse = fm.power(context.frame, both[1], -1)
    return inverse and fm.multiply(context.frame, both[0], inverse, both[2])


def _power(context, node, args):
    base, exponent = args
    if not isinstance(base, Form) or not isinstance(exponent, np.ndarray) or exponent.size != 1:
        return None
    return fm.power(context.frame, base, float(exponent.item()))


def _add(context, node, args):
    both = pair(context, args)
    return both and fm.add(*both)


def _subtract(context, node, args):
    both = pair(context, args)
    negative = both and fm.negate(both[1])
    return negative and fm.add(both[0], negative, both[2])


def _unary(operate: Callable[[Frame, Form], Form | None]) -> Rule:
    def rule(context, node, args):
        form = as_form(context.frame, args[0], ())
        return form and operate(context.frame, form)

    return rule


# Thresholds.


def _maximum(context, node, args):
    result = args[0]
    for arg in args[1:]:
        both = pair(context, [result, arg])
        result = both and fm.maximum(*both)
        if result is None:
            return None
    return result


def _relu(context, node, args):
    return _maximum(context, node, [args[0], np.zeros(())])


def _clip(context, node, args):
    def bound(position: int, name: str) -> Known | None:
        if name in node.attributes:
            return np.asarray(node.attributes[name].as_float())
        return args[position] if len(args) > position else None

    if isinstance(args[0], Form) and _is_given(node, 2, "max"):
        upper = bound(2, "max")
        if not isinstance(upper, np.ndarray) or float(upper) < np.finfo(np.float32).max:
            return None
    if not _is_given(node, 1, "min"):
        return args[0]
    lower = bound(1, "min")
    return _maximum(context, node, [args[0], lower]) if lower is not None else None


def _is_given(node: ir.Node, position: int, name: str) -> bool:
    if name in node.attributes:
        return True
    return len(node.inputs) > position and node.inputs[position] is not None


def _compare(greater: bool) -> Rule:
    def rule(context, node, args):
        both = pair(context, args)
        if both is None:
            return None
        a, b, _ = both
        if b.is_constant:
            return Comparison(a, b, greater)
        return Comparison(b, a, not greater) if a.is_constant else None

    return rule


def _where(context, node, args):
    """where(y > t, y, t), and where(y < t, t, y)."""
    condition, yes, no = args
    if not isinstance(condition, Comparison):
        return None
    kept, other = (yes, no) if condition.greater else (no, yes)
    if not isinstance(kept, Form) or not kept.same(condition.form):
        return None
    both = pair(context, [kept, other])
    if both is None or not both[1].is_constant:
        return None
    if not np.all(both[1].scale == condition.bound.scale):
        return None
    return fm.maximum(*both)


# Moving axes.


def _same(context, node, args):
    return args[0]


def _cast(context, node, args):
    # A cast between float types is a rounding, none of the function. Cast to an integer is.
    if not isinstance(args[0], Form):
        return None
    target = context.shapes.dtype(node.outputs[0])
    if "to" in node.attributes:
        target = ir.DataType(node.attributes["to"].as_int())
    return args[0] if target in FLOATS else None


def _transpose(context, node, args):
    form = args[0]
    if not isinstance(form, Form):
        return None
    rank = len(form.axes)
    perm = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(rank)[::-1]
    return form.but(axes=tuple(form.axes[axis] for axis in perm))


def _axes_argument(node: ir.Node, args: list[Known | None]) -> list[int] | None:
    """The axes of a node, from its attribute or its second input; None: not given."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    if len(args) > 1 and isinstance(args[1], np.ndarray):
        return [int(axis) for axis in args[1].reshape(-1)]
    return None


def _unsqueeze(context, node, args):
    axes = _axes_argument(node, args)
    if not isinstance(args[0], Form) or axes is None:
        return None
    return args[0].but(axes=ax.unsqueezed(args[0].axes, axes))


def _squeeze(context, node, args):
    if not isinstance(args[0], Form):
        return None
    axes = _axes_argument(node, args)
    if axes is None and _is_given(node, 1, "axes"):
        return None
    return _with_axes(args[0], ax.squeezed(context.frame, args[0].axes, axes))


def _flatten(context, node, args):
    if not isinstance(args[0], Form):
        return None
    split = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    return args[0].but(axes=ax.flattened(args[0].axes, split % (len(args[0].axes) + 1)))


def _reshape(context, node, args):
    form, shape = args
    if not isinstance(form, Form):
        return None
    frame = context.frame
    target = _shape_argument(context, shape)
    if target is not None and not node.attributes.get("allowzero"):
        target = [
            frame.size(form.axes[i]) if size is not None and size.number == 0 else size
            for i, size in enumerate(target)
        ]
    for sizes in (target, context.stated_shape(node.outputs[0])):
        if sizes is None:
            continue
        if axes := frame.reshape(form.axes, sizes):
            return form.but(axes=axes)
        if form.channels is None and frame.channel is not None and frame.channels is None:
            # (N, C, 1, 1) to (-1, 1, 1, 32) is no more than a move if C is 32. Then gamma has 32
            # values, or the match is off.
            for size in sizes:
                count = None if size is None else size.number
                if (
                    count
                    and count > 1
                    and (axes := frame.with_channels(int(count)).reshape(form.axes, sizes))
                ):
                    return form.but(axes=axes, channels=int(count))
    return None


def _expand(context, node, args):
    source, shape = args
    target = _shape_argument(context, shape) or context.stated_shape(node.outputs[0])
    if target is None:
        return None
    rank = len(target)
    form = source if isinstance(source, Form) else None
    known = () if form is None else form.axes
    known = ((),) * (rank - len(known)) + known
    axes = []
    for position, size in enumerate(target):
        hint = known[position] or (position + context.frame.rank - rank,)
        axis = context.frame.axis_of_size(size, [a for a in hint if a >= 0])
        if context.frame.solid(known[position]):
            axis = known[position]
        if axis is None:
            return None
        axes.append(axis)
    if form is None:
        form = as_form(context.frame, source, tuple(axes))
    return _with_axes(form, tuple(axes)) if form is not None else None


def _constant_of_shape(context, node, args):
    """A tensor of one value in a shape made of sizes of x."""
    if not isinstance(args[0], Sizes):
        return None
    rank = len(args[0].entries)
    axes = [
        context.frame.axis_of_size(size, [position] if rank == context.frame.rank else [])
        for position, size in enumerate(args[0].entries)
    ]
    value = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else 0
    if None in axes:
        return None
    return fm.constant(np.asarray(value, dtype=np.float64).reshape(()), tuple(axes))


def _shape_argument(context: Context, shape: Known | None) -> list[Size | None] | None:
    """The sizes that a shape input asks for; -1 becomes None, unknown."""
    if isinstance(shape, Sizes):
        return [None if size is None or size.number == -1 else size for size in shape.entries]
    if isinstance(shape, np.ndarray):
        return [None if size == -1 else Size(int(size)) for size in shape.reshape(-1)]
    return None


def _with_axes(form: Form, axes: Axes | None) -> Form | None:
    return None if axes is None else form.but(axes=axes)


# The statistic.


def reduced_positions(
    context: Context, node: ir.Node, args: list[Known | None], rank: int
) -> tuple[int, ...] | None:
    """The axes of its input that a reduction runs over; None if they are not known."""
    if node.op_type in ("GlobalAveragePool", "AveragePool", "GlobalLpPool"):
        return tuple(range(2, rank))
    if node.op_type == "RMSNormalization":
        first = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
        return tuple(range(first % rank, rank))
    axes = _axes_argument(node, args)
    if axes is None and _is_given(node, 1, "axes"):
        return None
    if not axes:
        noop = node.attributes.get("noop_with_empty_axes")
        return None if noop is not None and noop.as_int() else tuple(range(rank))
    return tuple(sorted(axis % rank for axis in axes))


def _reduce(context, node, args) -> tuple[frozenset[int], Axes] | None:
    """The axes of x that go, and the axes that stay, in a reduction of args[0]."""
    axes = args[0].axes
    positions = reduced_positions(context, node, args, len(axes))
    if positions is None:
        return None
    reduced = frozenset(a for position in positions for a in axes[position])
    keepdims = node.attributes.get("keepdims")
    if keepdims is not None and not keepdims.as_int():
        left = tuple(axis for i, axis in enumerate(axes) if i not in positions)
    else:
        left = tuple(() if i in positions else axis for i, axis in enumerate(axes))
    return reduced, left


def _statistic(
    *, before: float = 1, after: float = 1, summed: bool = False
) -> Callable[..., Form | None]:
    """mean(x ** before) ** after, or the same with the sum."""

    def rule(context, node, args):
        if not isinstance(args[0], Form):
            return None
        frame = context.frame
        found = _reduce(context, node, args)
        raised = fm.power(frame, args[0], before)
        if found is None or raised is None:
            return None
        reduced, left = found
        result = fm.mean(raised, reduced, left)
        if result is not None and summed:
            count = frame.size(reduced)
            result = fm.multiply_by_size(result, count)
        return result and fm.power(frame, result, after)

    return rule


def _average_pool(context, node, args):
    """An average over a window is a mean over the plane if the window is the plane."""
    if not isinstance(args[0], Form):
        return None
    dims = context.shapes.of(node.inputs[0])
    kernel = node.attributes["kernel_shape"].as_ints()
    pads = node.attributes.get("pads")
    padding = node.attributes.get("auto_pad")
    if (
        dims is None
        or tuple(dims[2:]) != tuple(kernel)
        or (pads is not None and any(pads.as_ints()))
        or (padding is not None and padding.as_string() not in ("NOTSET", "VALID"))
    ):
        return None
    return _statistic()(context, node, args)


def _global_lp_pool(context, node, args):
    order = node.attributes["p"].as_int() if "p" in node.attributes else 2
    return _statistic(before=2, after=0.5, summed=True)(context, node, args) if order == 2 else None


def _rms_normalization(context, node, args):
    """Opset 23: x / sqrt(mean(x**2, axis...) + epsilon) * scale."""
    if not isinstance(args[0], Form):
        return None
    frame, x = context.frame, args[0]
    nu2 = _statistic(before=2)(context, node, [x])
    epsilon = node.attributes["epsilon"].as_float() if "epsilon" in node.attributes else 1e-5
    if nu2 is None:
        return None
    shifted = fm.add(nu2, fm.constant(np.asarray(epsilon), ()), nu2.axes)
    root = shifted and fm.power(frame, shifted, -0.5)
    if root is None or root.flaw is not None:
        # Over other axes it is another norm, and says so by its name.
        return None
    normal = fm.multiply(frame, x, root, x.axes)
    both = normal and pair(context, [normal, args[1]])
    return both and fm.multiply(frame, *both)


RULES: dict[str, Rule] = {
    "Abs": _unary(lambda frame, a: fm.absolute(a)),
    "Add": _add,
    "AveragePool": _average_pool,
    "Cast": _cast,
    "CastLike": _cast,
    "Clip": _clip,
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Expand": _expand,
    "Flatten": _flatten,
    "GlobalAveragePool": _statistic(),
    "GlobalLpPool": _global_lp_pool,
    "Greater": _compare(True),
    "GreaterOrEqual": _compare(True),
    "Identity": _same,
    "Less": _compare(False),
    "LessOrEqual": _compare(False),
    "Max": _maximum,
    "Mul": _multiply,
    "Neg": _unary(lambda frame, a: fm.negate(a)),
    "Pow": _power,
    "RMSNormalization": _rms_normalization,
    "Reciprocal": _unary(lambda frame, a: fm.power(frame, a, -1)),
    "ReduceL2": _statistic(before=2, after=0.5, summed=True),
    "ReduceMean": _statistic(),
    "ReduceSum": _statistic(summed=True),
    "ReduceSumSquare": _statistic(before=2, summed=True),
    "Relu": _relu,
    "Reshape": _reshape,
    "Sqrt": _unary(lambda frame, a: fm.power(frame, a, 0.5)),
    "Squeeze": _squeeze,
    "Sub": _subtract,
    "Sum": _add,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
