"""What each op needs to do the same to tensors whose axes have another order.

A rule is told the order that one input or output of a node is to have. It says in which order the
others are then, and what becomes of the node's attributes and constants; it changes nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.perms import Perm, compose, transpose_perm
from frn_onnx.graph.sites import axes_of


@dataclass(frozen=True)
class Move:
    """How a node works in another order of axes.

    Attributes:
        inputs, outputs: perms by position; what is not in here stays as it is.
        attributes: those that change.
        constants: the inputs, by position, that become other constants.
    """

    inputs: Mapping[int, Perm] = field(default_factory=dict)
    outputs: Mapping[int, Perm] = field(default_factory=dict)
    attributes: Mapping[str, ir.Attr] = field(default_factory=dict)
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What is known of the values in a graph.

    Attributes:
        perms: of the values that are to move.
    """

    constants: Constants
    shapes: Shapes
    opset: int
    perms: Mapping[ir.Value, Perm]

    def array(self, value: ir.Value | None) -> np.ndarray | None:
        """The value of a constant."""
        return self.constants.get(value)

    def rank(self, value: ir.Value) -> int | None:
        if value in self.perms:
            return len(self.perms[value])
        shape = self.shapes.of(value)
        return None if shape is None else len(shape)

    def is_scalar(self, value: ir.Value) -> bool:
        """Whether a value has one element, of no more axes than it takes to be sure."""
        shape = self.shapes.of(value)
        return shape is not None and len(shape) <= 1 and all(size == 1 for size in shape)


Rule = Callable[[ir.Node, ir.Value, Perm, Facts], Move | None]


def transposed(array: np.ndarray, perm: Perm) -> np.ndarray | None:
    """A constant that broadcasts against a tensor, for the tensor in another order of axes."""
    if array.size == 1 and array.ndim <= len(perm):
        return array
    if array.ndim > len(perm):
        return None
    wide = array.reshape((1,) * (len(perm) - array.ndim) + array.shape)
    return np.ascontiguousarray(wide.transpose(perm))


def broadcast(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """Element by element, operands broadcast as NumPy does it."""
    inputs: dict[int, Perm] = {}
    constants: dict[int, np.ndarray] = {}
    for index, value in enumerate(node.inputs):
        if value is None:
            continue
        array = facts.array(value)
        if array is not None:
            moved = transposed(array, perm)
            if moved is None:
                return None
            if moved is not array:
                constants[index] = moved
        elif value is known or facts.rank(value) == len(perm):
            inputs[index] = perm
        elif not facts.is_scalar(value):
            return None
    return Move(inputs, dict.fromkeys(range(len(node.outputs)), perm), constants=constants)


def quantised(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """QuantizeLinear and its inverse: scale and zero point are scalars, or lie along an axis."""
    scale = node.inputs[1]
    if scale is None or node.attributes.get_int("block_size", False):
        return None
    attributes = {}
    if not facts.is_scalar(scale):
        if facts.rank(scale) != 1:
            return None
        axis = perm.index(node.attributes.get_int("axis", 1) % len(perm))
        attributes["axis"] = ir.AttrInt64("axis", axis)
    if facts.array(node.inputs[0]) is not None:
        return None
    return Move({0: perm}, {0: perm}, attributes)


def frn(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """The spatial axes are stated, and the parameters have their shape to say where C is."""
    if "axes" not in node.attributes:
        return None
    axes = axes_of(node.attributes)
    if len(axes) + 2 != len(perm) or perm[0] != 0:
        return None
    moved = tuple(sorted(perm.index(axis) for axis in axes))
    constants, activations = {}, op.first_parameter(node.op_type)
    if any(facts.array(value) is not None for value in node.inputs[:activations]):
        return None
    for index, value in enumerate(node.inputs[activations:], start=activations):
        if value is None:
            continue
        array = facts.array(value)
        if array is None:
            return None
        constants[index] = array.reshape(op.param_shape(moved, array.size))
    attributes = {"axes": ir.AttrInt64s("axes", moved)}
    return Move(dict.fromkeys(range(activations), perm), {0: perm}, attributes, constants)


def transpose(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """A Transpose gives back any order that is asked for."""
    own = transpose_perm(node, len(perm))
    if own is None or known is not node.outputs[0]:
        return None
    return Move({}, {0: perm}, {"perm": ir.AttrInt64s("perm", compose(own, perm))})
