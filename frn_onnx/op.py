"""The contract of the two ONNX ops of the domain ``frn_onnx``, version 1.

``FilterResponseNormalization``:

    nu2 = mean(X**2) over the spatial axes, per sample and channel
    Y   = max(gamma * X / sqrt(nu2 + epsilon) + beta, tau)

``ResidualFilterResponseNormalization``, for the end of a residual block, has one input more:

    Y   = max(gamma * X / sqrt(nu2 + epsilon) + beta + residual, tau)

========== ================ ==============================================================
input      X                rank 3, 4 or 5, axis 0 is the batch; type T
input      residual         only of the second op: type and shape of X, nothing broadcast
input      gamma, beta      one value per channel, shaped to broadcast along the channel
                            axis only: (C, 1, 1) for NCHW, (C,) for NHWC; type T or float
input      tau              optional, as gamma; absent: no threshold
input      epsilon          optional, as gamma, type float; overrides the attribute
attribute  axes             ints: the spatial axes. The one axis left beside 0 is the
                            channel axis, so axes carries the layout, and the rank
attribute  epsilon          float, 1e-6: not negative, with a learned epsilon folded in
output     Y                shape and type of X
========== ================ ==============================================================

T is float, float16, bfloat16 or double. The mean is taken in float32 (double for double),
and X is cast before it is squared: the square of a float16 overflows from 256. The sum with
the residual is taken before Y is rounded to T.

They are two ops because the body of a function, which makes a file portable, cannot ask
whether an input is there.

This module is the source; the C++ side (``custom_ops/op_types.h``) mirrors it, and a test
compares the two.
"""

import operator
from collections.abc import Sequence
from typing import Protocol

import onnx
from onnx import AttributeProto, TensorProto, helper

from frn_onnx.errors import ArgumentError, ShapeError

DOMAIN = "frn_onnx"
# Of nodes that a session puts into its own copy of a model (runtime/blocked).
INTERNAL_DOMAIN = "frn_onnx.internal"
OP_TYPE = "FilterResponseNormalization"
RESIDUAL_OP_TYPE = "ResidualFilterResponseNormalization"
VERSION = 1
DEFAULT_EPSILON = 1e-6
INPUTS = ("X", "gamma", "beta", "tau", "epsilon")
RESIDUAL_INPUTS = ("X", "residual", "gamma", "beta", "tau", "epsilon")
SIGNATURES = {OP_TYPE: INPUTS, RESIDUAL_OP_TYPE: RESIDUAL_INPUTS}
ATTRIBUTES = {"axes": AttributeProto.INTS, "epsilon": AttributeProto.FLOAT}
RANKS = (3, 4, 5)
DTYPES = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)

# Model-local functions came with this version of the file format.
FUNCTION_IR_VERSION = 8


class Node(Protocol):
    """A node of a graph, as onnx and onnx_ir both have it."""

    @property
    def domain(self) -> str: ...
    @property
    def op_type(self) -> str: ...


def is_frn(node: Node) -> bool:
    """Whether a node is one of the two ops."""
    return node.domain == DOMAIN and node.op_type in SIGNATURES


def first_parameter(op_type: str) -> int:
    """The place of gamma; in front of it are activations: X and, where there is one, residual."""
    return SIGNATURES[op_type].index("gamma")


def required_inputs(op_type: str) -> int:
    """How many inputs a node has at least: all up to beta."""
    return SIGNATURES[op_type].index("beta") + 1


def default_axes(rank: int) -> tuple[int, ...]:
    """The spatial axes of a channels-last tensor: every axis but the first and the last."""
    return normalize_axes(range(1, rank - 1), rank)


def normalize_axes(axes: Sequence[int], rank: int | None = None) -> tuple[int, ...]:
    """Spatial axes, sorted and counted from the front.

    Args:
        axes: the spatial axes in any order; negative ones count from the back.
        rank: the rank of X; None means what the op demands, len(axes) + 2.

    Raises:
        ArgumentError: the axes are no sequence of integers.
        ShapeError: an axis is the batch axis, twice there or out of range, or the axes do
            not leave exactly one channel axis.
    """
    try:
        axes = [operator.index(axis) for axis in axes]
    except TypeError:
        raise ArgumentError(
            "FRN: axes must be a sequence of integers, the spatial axes: for example [2, 3] for "
            f"NCHW and [1, 2] for NHWC. Received axes={axes!r}."
        ) from None
    if rank is None:
        rank = len(axes) + 2
    normal = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if (
        not axes
        or len(axes) != rank - 2
        or len(set(normal)) != len(normal)
        or normal[0] < 1
        or normal[-1] >= rank
    ):
        raise ShapeError(
            f"FRN: axes must name the spatial axes of an input of rank {rank}: {max(rank - 2, 1)} "
            f"distinct axes within 1..{rank - 1}, leaving one channel axis beside the batch "
            f"axis 0; received axes={axes}. Use for example axes=[2, 3] for NCHW and "
            "axes=[1, 2] for NHWC."
        )
    return tuple(normal)


def channel_axis(axes: Sequence[int]) -> int:
    """The one axis that is neither the batch axis 0 nor in ``axes`` (normalised)."""
    return next(axis for axis in range(1, len(axes) + 2) if axis not in axes)


def layout(axes: Sequence[int]) -> str:
    """The layout that ``axes`` (normalised) carry, in letters: "NCHW", "NHWC", "NCW" ..."""
    letters = list("N" + {1: "W", 2: "HW", 3: "DHW"}[len(axes)])
    letters.insert(channel_axis(axes), "C")
    return "".join(letters)


def param_shape(axes: Sequence[int], channels: int) -> tuple[int, ...]:
    """The shape that gamma, beta, tau and epsilon have: (C,) and a 1 for each axis behind."""
    return (channels,) + (1,) * (len(axes) + 1 - channel_axis(axes))


def check_param(
    name: str, shape: Sequence[int], x_shape: Sequence[int], axes: Sequence[int]
) -> None:
    """Refuses a parameter that does not hold one value per channel of an array.

    Args:
        name: of the parameter, for the message.
        shape: its shape: (C,), or what :func:`param_shape` says.
        x_shape: the shape of x.
        axes: the spatial axes, normalised.

    Raises:
        ShapeError: the shape is another.
    """
    channel = channel_axis(axes)
    channels = x_shape[channel]
    if tuple(shape) not in ((channels,), param_shape(axes, channels)):
        raise ShapeError(
            f"FRN: {name} must have shape (C,)=({channels},), received {tuple(shape)}. Channels "
            f"are read from axis {channel} of x, which has shape {tuple(x_shape)}; pass axes= if "
            "the layout is another."
        )


def check_residual(shape: Sequence[int], x_shape: Sequence[int]) -> None:
    """Refuses a residual that has not the shape of x.

    Raises:
        ShapeError: it is another.
    """
    if tuple(shape) != tuple(x_shape):
        raise ShapeError(
            f"FRN: residual must have the shape of x, {tuple(x_shape)}, received {tuple(shape)}; "
            "it is not broadcast: use numpy.broadcast_to first."
        )


def node(
    inputs: Sequence[str],
    output: str,
    *,
    axes: Sequence[int],
    epsilon: float = DEFAULT_EPSILON,
    name: str = "",
    op_type: str = OP_TYPE,
) -> onnx.NodeProto:
    """An FRN node; ``inputs`` are the names for those of the op, the last ones optional."""
    return helper.make_node(
        op_type,
        list(inputs),
        [output],
        name=name,
        domain=DOMAIN,
        axes=list(axes),
        epsilon=float(epsilon),
    )
