"""Rules: the means and sums of squares, in all the ways that ONNX has for them."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Axes
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.values import Context, Known, Rule, axes_argument, is_given, pair


def reduced_positions(
    context: Context, node: ir.Node, args: list[Known | None], rank: int
) -> tuple[int, ...] | None:
    """The axes of its input that a reduction runs over; None if they are not known."""
    if node.op_type in ("GlobalAveragePool", "AveragePool", "GlobalLpPool"):
        return tuple(range(2, rank))
    if node.op_type == "RMSNormalization":
        first = node.attributes["axis"].as_int() if "axis" in node.attributes else -1
        return tuple(range(first % rank, rank))
    axes = axes_argument(node, args)
    if axes is None and is_given(node, 1, "axes"):
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
    keepdims = node.attributes["keepdims"].as_int() if "keepdims" in node.attributes else 1
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
    scale = args[1]
    if isinstance(scale, np.ndarray) and np.all(scale == scale.flat[0]):
        # One value for the whole plane, to which the op does not let it be larger.
        scale = np.asarray(scale.flat[0])
    both = normal and pair(context, [normal, scale])
    return both and fm.multiply(frame, *both)


STATISTICS: dict[str, Rule] = {
    "AveragePool": _average_pool,
    "GlobalAveragePool": _statistic(),
    "GlobalLpPool": _global_lp_pool,
    "RMSNormalization": _rms_normalization,
    "ReduceL2": _statistic(before=2, after=0.5, summed=True),
    "ReduceMean": _statistic(),
    "ReduceSum": _statistic(summed=True),
    "ReduceSumSquare": _statistic(before=2, summed=True),
}
