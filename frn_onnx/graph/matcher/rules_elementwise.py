"""Rules: products, quotients, powers and sums, and what sets a threshold."""

from collections.abc import Callable
from functools import partial

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Axes, Frame
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.values import (
    Comparison,
    Rule,
    argument,
    as_form,
    combine,
    is_given,
    pair,
)


def _multiply(context, node, args):
    return combine(context, args, partial(fm.multiply, context.frame))


def _divide(context, node, args):
    both = pair(context, args)
    if both is None:
        return None
    inverse = fm.power(context.frame, both[1], -1)
    return inverse and fm.multiply(context.frame, both[0], inverse, both[2])


def _power(context, node, args):
    base, exponent = args
    axes = context.frame.broadcast(base.axes, ((),) * exponent.ndim)
    return fm.power(context.frame, base.but(axes=axes), float(exponent.item()))


def _subtract(context, node, args):
    both = pair(context, args)
    negative = both and fm.negate(both[1])
    return negative and fm.add(both[0], negative, both[2])


def _unary(operate: Callable[[Frame, Form], Form | None]) -> Rule:
    def rule(context, node, args):
        form = as_form(context.frame, args[0], ())
        return form and operate(context.frame, form)

    return rule


# Of a size, too, they would make a form, which forgets that integers are divided with a remainder.
def _absolute(context, node, args):
    return fm.absolute(context.frame, args[0])


def _negate(context, node, args):
    return fm.negate(args[0])


def _variadic(operate: Callable[[Form, Form, Axes], Form | None]) -> Rule:
    """A sum or a maximum of any number of tensors."""
    return lambda context, node, args: combine(context, args, operate)


_maximum = _variadic(fm.maximum)


def _relu(context, node, args):
    return _maximum(context, node, [args[0], np.zeros(())])


def _clip(context, node, args):
    lower, upper = (
        argument(node, args, place, name, ir.Attr.as_float)
        for place, name in enumerate(("min", "max"), start=1)
    )
    # An upper bound that no float is above takes nothing off.
    if is_given(node, 2, "max") and upper.item() < np.finfo(np.float32).max:
        return None
    if not is_given(node, 1, "min"):
        return args[0]
    return _maximum(context, node, [args[0], lower])


def _compare(greater: bool) -> Rule:
    def rule(context, node, args):
        both = pair(context, args)
        if both is None:
            return None
        a, b, axes = both
        first = not a.is_constant
        if not first:
            a, b = b, a
        # A bound of more axes gives them to the condition, and that to what is chosen by it.
        if not b.is_constant or not context.frame.same(axes, a.axes):
            return None
        return Comparison(a, b, greater == first)

    return rule


def _where(context, node, args):
    """where(y > t, y, t), and where(y < t, t, y).

    The first gives t for a NaN, the op NaN: a network's NaN is a fault, not a value it relies on.
    """
    condition, yes, no = args
    kept, other = (yes, no) if condition.greater else (no, yes)
    if not kept.same(condition.form):
        return None
    if not context.frame.same(kept.axes, condition.form.axes):
        return None
    both = pair(context, [kept, other])
    if both is None or not both[1].is_constant:
        return None
    if not np.all(both[1].scale == condition.bound.scale):
        return None
    return fm.maximum(*both)


ELEMENTWISE: dict[str, Rule] = {
    "Abs": _absolute,
    "Add": _variadic(fm.add),
    "Clip": _clip,
    "Div": _divide,
    "Greater": _compare(True),
    "GreaterOrEqual": _compare(True),
    "Less": _compare(False),
    "LessOrEqual": _compare(False),
    "Max": _maximum,
    "Mul": _multiply,
    "Neg": _negate,
    "Pow": _power,
    "Reciprocal": _unary(lambda frame, a: fm.power(frame, a, -1)),
    "Relu": _relu,
    "Sqrt": _unary(lambda frame, a: fm.power(frame, a, 0.5)),
    "Sub": _subtract,
    "Sum": _variadic(fm.add),
    "Where": _where,
}
