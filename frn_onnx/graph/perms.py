"""Orders of axes, written as the perm of the Transpose that leads there from the order of today."""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.standard import is_standard

Perm = tuple[int, ...]


def inverse(perm: Perm) -> Perm:
    return tuple(int(axis) for axis in np.argsort(perm))


def compose(first: Perm, second: Perm) -> Perm:
    """The perm of one Transpose that does what two in a row do."""
    return tuple(first[axis] for axis in second)


def is_identity(perm: Perm) -> bool:
    return perm == tuple(range(len(perm)))


def transpose_perm(node: ir.Node | None, rank: int) -> Perm | None:
    """The perm of a Transpose of a tensor of that rank; None for another node."""
    if not is_standard(node, "Transpose"):
        return None
    perm = tuple(node.attributes.get_ints("perm", range(rank)[::-1]))
    return perm if len(perm) == rank else None


def kept_order(perm: Perm, lost: Iterable[int]) -> Perm:
    """The order of the axes that are left where some go, counted without those."""
    before = [axis for axis in range(len(perm)) if axis not in set(lost)]
    return tuple(before.index(axis) for axis in perm if axis in before)
