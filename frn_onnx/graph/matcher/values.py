"""What a rule sees: the known tensors, and what it may look up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.axes import Axes, Frame, Size
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.shapes import Shapes


@dataclass(frozen=True)
class Sizes:
    """A scalar (rank 0) or a list (rank 1) of sizes of x's axes; None: a number not known."""

    entries: tuple[Size | None, ...]
    rank: int

    @property
    def one(self) -> Size | None:
        """The only entry."""
        return self.entries[0] if len(self.entries) == 1 else None


@dataclass(frozen=True)
class Comparison:
    """form > bound, or form < bound (or equal), which a Where turns into a threshold."""

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
    # Shape arithmetic that was followed already, by its result.
    sizes: dict[ir.Value, Sizes | np.ndarray | None] = field(default_factory=dict)

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


# A rule gets a node and its inputs, None where one is left out. It returns what the output is,
# or None where that is outside the algebra.
Rule = Callable[[Context, ir.Node, list[Known | None]], Known | None]
# What a rule runs into that cannot do its work with what it got.
UNFIT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def apply(rule: Rule, context: Context, node: ir.Node, args: list[Known | None]) -> Known | None:
    """What a rule gives; None where it cannot do its work with what it got.

    A rule takes each input for what it is made for, a form or a number, and need not ask: another
    one lacks what it reads. Nor does it ask whether a node keeps to its specification. A perm of
    another rank, an index out of range, a division by zero, an attribute that was of another type
    in another opset: whether the model is valid at all is not the matcher's to say.
    """
    try:
        return rule(context, node, args)
    except UNFIT:
        return None


def pair(context: Context, args: list[Known | None]) -> tuple[Form, Form, Axes] | None:
    """Two inputs as forms, and the axes of the result. One of them is a Form already."""
    like = next((arg for arg in args if isinstance(arg, Form)), None)
    forms = [None if like is None else as_form(context.frame, arg, like.axes) for arg in args]
    if len(forms) != 2 or forms[0] is None or forms[1] is None:
        return None
    axes = context.frame.broadcast(forms[0].axes, forms[1].axes)
    return None if axes is None else (forms[0], forms[1], axes)


def combine(
    context: Context,
    args: Sequence[Known | None],
    operate: Callable[[Form, Form, Axes], Form | None],
) -> Known | None:
    """Inputs put together from the first to the last; None where two of them cannot be."""
    result = args[0]
    for arg in args[1:]:
        both = pair(context, [result, arg])
        result = both and operate(*both)
    return result


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


def is_given(node: ir.Node, position: int, name: str) -> bool:
    if name in node.attributes:
        return True
    return len(node.inputs) > position and node.inputs[position] is not None


def argument(
    node: ir.Node,
    args: list[Known | None],
    position: int,
    name: str,
    read: Callable[[ir.Attr], Any],
) -> Known | None:
    """What older opsets have as an attribute, and newer ones as an input; None: none, or unknown.

    Args:
        read: takes the attribute's value; it raises TypeError for another type.
    """
    if name in node.attributes:
        return np.asarray(read(node.attributes[name]))
    return args[position] if len(args) > position else None


def axes_argument(node: ir.Node, args: list[Known | None]) -> list[int] | None:
    """The axes of a node, from its attribute or its second input; None: not given.

    Raises:
        ValueError, LookupError: they are given, and not known.
    """
    axes = node.attributes.get("axes")
    if axes is not None and axes.type == ir.AttributeType.INTS:
        return list(axes.as_ints())
    if not is_given(node, 1, "axes"):
        return None
    given = args[1]
    if not isinstance(given, np.ndarray):
        raise ValueError(f"the axes of a {node.op_type} are not known")
    return [int(axis) for axis in given.reshape(-1)]
