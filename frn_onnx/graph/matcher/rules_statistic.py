"""Rules: the means and sums of squares, in all the ways that ONNX has for them."""

import string
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Axes, from_front
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.values import Context, Known, Rule, axes_argument, combine


def reduced_positions(
    context: Context, node: ir.Node, args: list[Known | None], rank: int
) -> tuple[int, ...] | None:
    """The axes of its input that a reduction runs over; None where it runs over none, or one twice.

    Raises:
        ValueError, LookupError: they are not known.
    """
    if node.op_type.endswith("Pool"):
        return tuple(range(2, rank))
    if node.op_type == "LpNormalization":
        return (from_front(node.attributes.get_int("axis", -1), rank),)
    if node.op_type == "RMSNormalization":
        first = node.attributes.get_int("axis", -1)
        return tuple(range(from_front(first, rank), rank))
    if node.op_type in ("Einsum", "MatMul"):
        labels = contraction(node, [rank, rank])
        return tuple(i for i, label in enumerate(labels[0]) if label not in labels[-1])
    axes = axes_argument(node, args)
    if not axes:
        noop = node.attributes.get_int("noop_with_empty_axes", 0)
        return None if noop else tuple(range(rank))
    positions = {from_front(axis, rank) for axis in axes}
    return tuple(sorted(positions)) if len(positions) == len(axes) else None


def _reduce(context, node, args) -> tuple[frozenset[int], Axes] | None:
    """The axes of x that go, and the axes that stay, in a reduction of args[0]."""
    axes = args[0].axes
    positions = reduced_positions(context, node, args, len(axes))
    if positions is None:
        return None
    reduced = frozenset(a for position in positions for a in axes[position])
    keepdims = node.attributes.get_int("keepdims", 1)
    if keepdims == 1:
        return reduced, tuple(() if i in positions else axis for i, axis in enumerate(axes))
    if keepdims == 0:
        return reduced, tuple(axis for i, axis in enumerate(axes) if i not in positions)
    return None


def _statistic(
    *, before: float = 1, after: float = 1, summed: bool = False
) -> Callable[..., Form | None]:
    """mean(x ** before) ** after, or the same with the sum."""

    def rule(context, node, args):
        frame = context.frame
        found = _reduce(context, node, args)
        raised = fm.power(frame, args[0], before)
        if found is None or raised is None:
            return None
        reduced, left = found
        result = fm.mean(raised, reduced, left)
        if result is not None and summed:
            result = fm.multiply_by_size(result, frame.size(reduced))
        return result and fm.power(frame, result, after)

    return rule


_l2 = _statistic(before=2, after=0.5, summed=True)


def _l1(context, node, args):
    """Of squares, which have no sign, it is the sum."""
    return _statistic(summed=True)(context, node, [fm.absolute(context.frame, args[0]), *args[1:]])


def _lp(context, node, args):
    rule = {1: _l1, 2: _l2}[node.attributes.get_int("p", 2)]
    return rule(context, node, args)


def _windowed(rule: Rule) -> Rule:
    """What is taken over a window is taken over the plane if the window is the plane."""

    def windowed(context, node, args):
        dims = context.shapes.of(node.inputs[0])
        kernel = node.attributes["kernel_shape"].as_ints()
        padding = node.attributes.get_string("auto_pad", "NOTSET")
        if (
            dims is None
            or tuple(dims[2:]) != tuple(kernel)
            or any(node.attributes.get_ints("pads", ()))
            or padding not in ("NOTSET", "VALID")
        ):
            return None
        return rule(context, node, args)

    return windowed


def _lp_normalization(context, node, args):
    """x / sqrt(sum(x**2)) along an axis, which may hold the plane."""
    x, order = args[0], node.attributes.get_int("p", 2)
    root = fm.power(context.frame, _l2(context, node, [x]), -1) if order == 2 else None
    # Over other axes it is another norm, and says so by its name.
    return None if root is None or root.flaw else fm.multiply(context.frame, x, root, x.axes)


def _rms_normalization(context, node, args):
    """Opset 23: x / sqrt(mean(x**2, axis...) + epsilon) * scale."""
    frame, x = context.frame, args[0]
    nu2 = _statistic(before=2)(context, node, [x])
    epsilon = node.attributes.get_float("epsilon", 1e-5)
    if nu2 is None:
        return None
    shifted = fm.add(nu2, fm.constant(np.asarray(epsilon), ()), nu2.axes)
    root = shifted and fm.power(frame, shifted, -0.5)
    if root is None or root.flaw is not None:
        return None  # another norm, as above
    normal = fm.multiply(frame, x, root, x.axes)
    scale = args[1]
    dims = context.shapes.of(node.inputs[0])
    if isinstance(scale, np.ndarray) and scale.size and dims is not None:
        # One value for the whole plane, to which the op does not let it be larger.
        sizes = zip(reversed(scale.shape), reversed(dims), strict=False)
        larger = any(isinstance(dim, int) and size not in (1, dim) for size, dim in sizes)
        if np.all(scale == scale.flat[0]) and not larger:
            scale = np.asarray(scale.flat[0])
    return combine(context, [normal, scale], partial(fm.multiply, frame))


def contraction(node: ir.Node, ranks: Sequence[int]) -> list[str]:
    """The labels of the axes of each input of an Einsum or MatMul, and of the output.

    Raises:
        ValueError: they are not written out, or one is there twice, or a tensor is no matrix.
    """
    if node.op_type == "Einsum":
        equation = node.attributes["equation"].as_string().replace(" ", "")
        inputs, arrow, output = equation.partition("->")
        labels = [*inputs.split(","), output]
        plain = arrow and all(part.isalpha() or not part for part in labels)
        if not plain or any(len(set(part)) < len(part) for part in labels):
            raise ValueError(f"not each axis has a label of its own: {equation}")
        return labels
    if min(ranks) < 2:
        raise ValueError(f"no matrices: tensors of ranks {ranks}")
    batch = string.ascii_lowercase[: max(ranks) - 2]
    a, b = (batch[len(batch) + 2 - rank :] for rank in ranks)
    return [a + "XY", b + "YZ", batch + "XZ"]


def _contract(context, node, args):
    """A product of two tensors whose axes are matched by name, summed over those that end there."""
    ranks = [arg.ndim if isinstance(arg, np.ndarray) else len(arg.axes) for arg in args]
    labels = contraction(node, ranks)
    if [len(part) for part in labels[:-1]] != ranks:
        return None
    *inputs, output = labels
    # Those to be summed come last.
    everything = output + "".join(
        dict.fromkeys(c for part in inputs for c in part if c not in output)
    )
    aligned = [_aligned(arg, own, everything) for arg, own in zip(args, inputs, strict=True)]
    result = combine(context, aligned, partial(fm.multiply, context.frame))
    ended = {axis for group in result.axes[len(output) :] for axis in group}
    if not ended:
        return result.but(axes=result.axes[: len(output)])
    summed = fm.mean(result, frozenset(ended), result.axes[: len(output)])
    return summed and fm.multiply_by_size(summed, context.frame.size(ended))


def _aligned(arg: Form | np.ndarray, labels: str, everything: str) -> Form | np.ndarray:
    """A tensor with one axis for each label, of size 1 where it has none."""
    order = [labels.index(label) for label in everything if label in labels]
    if isinstance(arg, Form):
        axes = [arg.axes[labels.index(c)] if c in labels else () for c in everything]
        return arg.but(axes=tuple(axes))
    sizes = [arg.shape[labels.index(c)] if c in labels else 1 for c in everything]
    return arg.transpose(order).reshape(sizes)


STATISTICS: dict[str, Rule] = {
    "AveragePool": _windowed(_statistic()),
    "Einsum": _contract,
    "GlobalAveragePool": _statistic(),
    "GlobalLpPool": _lp,
    "LpNormalization": _lp_normalization,
    "LpPool": _windowed(_lp),
    "MatMul": _contract,
    "RMSNormalization": _rms_normalization,
    "ReduceL1": _l1,
    "ReduceL2": _l2,
    "ReduceMean": _statistic(),
    "ReduceSum": _statistic(summed=True),
    "ReduceSumSquare": _statistic(before=2, summed=True),
}
