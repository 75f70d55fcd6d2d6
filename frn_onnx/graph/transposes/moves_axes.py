"""The moves of ops that name axes: concatenations, reductions, slices, pads, and the like."""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.perms import Perm, is_identity, kept_order
from frn_onnx.graph.transposes.moves import Facts, Move


def _along(node: ir.Node, perm: Perm, default: int = 0) -> dict[str, ir.Attr]:
    axis = node.attributes.get_int("axis", default) % len(perm)
    return {"axis": ir.AttrInt64("axis", perm.index(axis))}


def _axes(node: ir.Node, rank: int, index: int, facts: Facts) -> tuple[int, ...] | None:
    """The axes that an attribute or an input names, counted from the front; () where none does.

    None: they are computed.
    """
    if "axes" in node.attributes:
        axes = list(node.attributes["axes"].as_ints())
    elif len(node.inputs) <= index or node.inputs[index] is None:
        return ()
    elif (array := facts.array(node.inputs[index])) is None:
        return None
    else:
        axes = list(array.reshape(-1))
    return tuple(int(axis) % rank for axis in axes)


def _with_axes(
    node: ir.Node,
    axes: Iterable[int],
    perm: Perm,
    inputs: dict[int, Perm],
    outputs: dict[int, Perm],
) -> Move:
    """A move of a node whose axes are in an attribute or in its second input."""
    moved = sorted(perm.index(axis) for axis in axes)
    if "axes" in node.attributes:
        return Move(inputs, outputs, {"axes": ir.AttrInt64s("axes", moved)})
    return Move(inputs, outputs, constants={1: np.array(moved, np.int64)})


def softmax(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    # Up to opset 12 it is taken over all axes from the one that is named to the last.
    if facts.opset < 13:
        return None
    return Move({0: perm}, {0: perm}, _along(node, perm, -1))


def concat(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    inputs, constants = {}, {}
    for index, value in enumerate(node.inputs):
        if value is None:
            return None
        array = facts.array(value)
        if array is None:
            inputs[index] = perm
        elif array.ndim != len(perm):
            return None
        else:
            constants[index] = np.ascontiguousarray(array.transpose(perm))
    return Move(inputs, {0: perm}, _along(node, perm), constants)


def split(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    outputs = dict.fromkeys(range(len(node.outputs)), perm)
    return Move({0: perm}, outputs, _along(node, perm))


def cumulated(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    axis = facts.array(node.inputs[1])
    if axis is None or axis.size != 1:
        return None
    moved = np.full_like(axis, perm.index(int(axis.reshape(())) % len(perm)))
    return Move({0: perm}, {0: perm}, constants={1: moved})


def reduction(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    axes = _axes(node, len(perm), 1, facts)
    keeps = node.attributes.get_int("keepdims", 1)
    if axes is None or (not keeps and known is not node.inputs[0]):
        return None
    if not axes:
        if node.attributes.get_int("noop_with_empty_axes", 0):
            return Move({0: perm}, {0: perm})
        return Move({0: perm}, {0: perm} if keeps else {})
    left = perm if keeps else kept_order(perm, axes)
    return _with_axes(node, axes, perm, {0: perm}, {0: left})


def place_of_extreme(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """ArgMax and ArgMin."""
    keeps = node.attributes.get_int("keepdims", 1)
    if not keeps and known is not node.inputs[0]:
        return None
    axis = node.attributes.get_int("axis", 0) % len(perm)
    return Move({0: perm}, {0: perm if keeps else kept_order(perm, [axis])}, _along(node, perm))


def gather(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """One place of an axis, or several in a row."""
    indices = facts.array(node.inputs[1])
    if indices is None or indices.ndim > 1 or (not indices.ndim and known is not node.inputs[0]):
        return None
    axis = node.attributes.get_int("axis", 0) % len(perm)
    left = perm if indices.ndim else kept_order(perm, [axis])
    return Move({0: perm}, {0: left}, _along(node, perm))


def squeeze(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    if known is not node.inputs[0]:
        return None
    if not (axes := _axes(node, len(perm), 1, facts)):
        return None
    return _with_axes(node, axes, perm, {0: perm}, {0: kept_order(perm, axes)})


def unsqueeze(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    if known is not node.outputs[0]:
        return None
    if not (axes := _axes(node, len(perm), 1, facts)):
        return None
    return _with_axes(node, axes, perm, {0: kept_order(perm, axes)}, {0: perm})


def reshape(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """To a shape whose axes of more than one place keep their order: the same, said otherwise."""
    shape = facts.array(node.inputs[1]) if len(node.inputs) == 2 else None
    if known is not node.outputs[0] or shape is None or node.attributes.get_int("allowzero", False):
        return None
    sizes = shape.reshape(-1)
    if sizes.size != len(perm) or any(sizes[a] == 0 and perm[a] != a for a in range(len(perm))):
        return None
    if not is_identity(kept_order(perm, np.flatnonzero(sizes == 1))):
        return None
    return Move({}, {0: perm}, constants={1: sizes[list(perm)]})


def pad(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    pads = facts.array(node.inputs[1]) if len(node.inputs) > 1 else None
    axes = _axes(node, len(perm), 3, facts)
    if pads is None or axes is None:
        return None
    axes = axes or tuple(range(len(perm)))
    if pads.size != 2 * len(axes):
        return None
    whole = np.zeros((2, len(perm)), np.int64)
    whole[:, list(axes)] = pads.reshape(2, -1)
    constants = {1: whole[:, list(perm)].reshape(-1)}
    if len(node.inputs) > 3 and node.inputs[3] is not None:
        constants[3] = np.arange(len(perm))
    return Move({0: perm}, {0: perm}, constants=constants)


def slice_(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    axes = _axes(node, len(perm), 3, facts)
    if len(node.inputs) < 3 or axes is None:
        return None
    if not axes:
        starts = facts.array(node.inputs[1])
        if starts is None:
            return None
        axes = tuple(range(starts.size))
    # Starts, ends and axes have one type.
    dtype = facts.shapes.dtype(node.inputs[1])
    if dtype is None:
        return None
    moved = np.array([perm.index(axis) for axis in axes], dtype.numpy())
    return Move({0: perm}, {0: perm}, constants={3: moved})


def expand(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    """To a shape of no more axes than the tensor has."""
    sizes = facts.array(node.inputs[1])
    if sizes is None or sizes.size > len(perm):
        return None
    if known is not node.inputs[0] and facts.rank(node.inputs[0]) != len(perm):
        return None
    wide = np.concatenate([np.ones(len(perm) - sizes.size, np.int64), sizes])
    return Move({0: perm}, {0: perm}, constants={1: wide[list(perm)]})


def tile(node: ir.Node, known: ir.Value, perm: Perm, facts: Facts) -> Move | None:
    repeats = facts.array(node.inputs[1])
    if repeats is None or repeats.size != len(perm):
        return None
    return Move({0: perm}, {0: perm}, constants={1: repeats[list(perm)]})
