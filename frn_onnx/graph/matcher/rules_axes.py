"""Rules: what moves, merges, adds or drops axes, and casts."""

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher import axes as ax
from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Axes, Size
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.shapes import FLOATS, cast_to
from frn_onnx.graph.matcher.values import (
    Context,
    Known,
    Rule,
    Sizes,
    argument,
    as_form,
    axes_argument,
)
from frn_onnx.graph.perms import transpose_perm

# What tf2onnx writes for the end of a slice that is left open. Others write larger numbers.
_OPEN_END = 10**9


def _same(context, node, args):
    return args[0]


def _cast(context, node, args):
    # A cast between float types is a rounding, none of the function. Cast to an integer is.
    if not isinstance(args[0], Form):
        return None
    stated = context.shapes.dtype(node.outputs[0])
    target = cast_to(node) if node.op_type == "Cast" else stated
    return args[0] if target in FLOATS else None


def _transpose(context, node, args):
    form = args[0]
    perm = transpose_perm(node, len(form.axes))
    return form.but(axes=tuple(form.axes[axis] for axis in perm))


def _unsqueeze(context, node, args):
    return args[0].but(axes=ax.unsqueezed(args[0].axes, axes_argument(node, args)))


def _squeeze(context, node, args):
    axes = axes_argument(node, args)
    return _with_axes(args[0], ax.squeezed(context.frame, args[0].axes, axes))


def _flatten(context, node, args):
    split = node.attributes.get_int("axis", 1)
    return args[0].but(axes=ax.flattened(args[0].axes, split))


def _gather(context, node, args):
    """An axis of size 1 taken away by its only index; of the batch axis, a near miss."""
    form, index = args
    if index.item() not in (0, -1):
        return None
    position = node.attributes.get_int("axis", 0)
    position = ax.from_front(position, len(form.axes))
    taken = context.frame.solid(form.axes[position])
    if taken and (taken != (0,) or not (form.is_statistic or form.over)):
        return None
    axes = form.axes[:position] + ((),) * index.ndim + form.axes[position + 1 :]
    return form.but(axes=axes, flaw=form.flaw or (fm.ONE_SAMPLE if taken else None))


def _reshape(context, node, args):
    form, shape = args
    frame = context.frame
    target = _shape_argument(context, shape)
    if target is not None and not node.attributes.get_int("allowzero", 0):
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


def _slice(context, node, args):
    """One that cuts nothing off: tf2onnx writes one beside the new axes of r[:, None, None, :]."""
    form = args[0]
    starts, ends, axes, steps = (
        argument(node, args, place, name, ir.Attr.as_ints)
        for place, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
    )
    if np.any(starts) or (steps is not None and np.any(steps != 1)):
        return None
    positions = range(len(starts)) if axes is None else axes
    for position, end in zip(positions, _shape_argument(context, ends), strict=True):
        size = context.frame.size(form.axes[position])
        least = _OPEN_END if size.number is None else size.number
        if end != size and (end.number is None or end.number < least):
            return None
    return form


def _tile(context, node, args):
    source, repeats = args
    if isinstance(source, Form):
        sizes = [context.frame.size(axis) for axis in source.axes]
    else:
        sizes = [Size(size) for size in source.shape]
    counts = _shape_argument(context, repeats)
    return _spread(context, source, [a * b for a, b in zip(sizes, counts, strict=True)])


def _expand(context, node, args):
    source, shape = args
    target = _shape_argument(context, shape) or context.stated_shape(node.outputs[0])
    return _spread(context, source, target)


def _spread(context, source, target):
    """A tensor repeated along axes of size 1, to a shape that its own broadcasts with."""
    form = source if isinstance(source, Form) else None
    known = () if form is None else form.axes
    rank = max(len(target), len(known))
    target = [Size()] * (rank - len(target)) + target
    known = ((),) * (rank - len(known)) + known
    axes = []
    for position, size in enumerate(target):
        axis = known[position]
        if context.frame.solid(known[position]):
            # Asked for another size, an axis that happens to be 1 long would grow.
            if size not in (Size(), context.frame.size(known[position])):
                return None
        else:
            hint = known[position] or (position + context.frame.rank - rank,)
            axis = context.frame.axis_of_size(size, [a for a in hint if a >= 0])
        if axis is None:
            return None
        axes.append(axis)
    if form is None:
        form = as_form(context.frame, source, tuple(axes))
    elif not context.frame.same(known, tuple(axes)):
        form = fm.settled(context.frame, form)
        if form.x_power:
            # x repeated along an axis is not x.
            return None
    return form and _with_axes(form, context.frame.once(tuple(axes)))


def _constant_of_shape(context, node, args):
    """A tensor of one value in a shape made of sizes of x."""
    rank = len(args[0].entries)
    axes = [
        context.frame.axis_of_size(size, [position] if rank == context.frame.rank else [])
        for position, size in enumerate(args[0].entries)
    ]
    value = node.attributes["value"].as_tensor().numpy() if "value" in node.attributes else 0
    if None in axes or context.frame.once(tuple(axes)) is None:
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


MOVES: dict[str, Rule] = {
    "Cast": _cast,
    "CastLike": _cast,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _same,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
