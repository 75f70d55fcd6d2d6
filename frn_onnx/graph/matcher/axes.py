"""Where the axes of x are in a tensor computed from x.

Everything between x and y is x's shape with axes moved, merged, dropped or set to 1. So a
tensor's shape is written as one tuple per axis, holding the axes of x that lie in it:

    x (N, C, H, W)                       ((0,), (1,), (2,), (3,))
    mean over H, W, dimensions kept      ((0,), (1,), (), ())
    the same, dimensions dropped         ((0,), (1,))
    x reshaped to (N, C, H * W)          ((0,), (1,), (2, 3))
    x transposed to (N, H, W, C)         ((0,), (2,), (3,), (1,))

An axis of x whose size is known to be 1 may be present or absent: both are the same shape.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

Axes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Size:
    """A number known up to the sizes of x's axes: factor * product(size[axis] ** power)."""

    factor: float = 1.0
    powers: tuple[tuple[int, float], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether it is a whole number whatever the sizes are."""
        return float(self.factor).is_integer() and all(power >= 0 for _, power in self.powers)

    @property
    def number(self) -> float | None:
        return None if self.powers else self.factor

    def __mul__(self, other: "Size") -> "Size":
        powers = dict(self.powers)
        for axis, power in other.powers:
            powers[axis] = powers.get(axis, 0) + power
        kept = tuple(sorted((axis, power) for axis, power in powers.items() if power))
        return Size(self.factor * other.factor, kept)

    def __pow__(self, power: float) -> "Size":
        return Size(self.factor**power, tuple((axis, p * power) for axis, p in self.powers))


@dataclass(frozen=True)
class Frame:
    """The input x of a normalisation that may be FRN: the sizes of its axes, and their roles.

    Attributes:
        dims: size of each axis: a number, a name for a symbolic size, or None.
        channel: the channel axis; None while it is not known.
    """

    dims: tuple[int | str | None, ...]
    channel: int | None = None

    @property
    def rank(self) -> int:
        return len(self.dims)

    @cached_property
    def unit(self) -> frozenset[int]:
        """The axes whose size is known to be 1."""
        return frozenset(axis for axis, dim in enumerate(self.dims) if dim == 1)

    @cached_property
    def spatial(self) -> frozenset[int]:
        """The axes that FRN averages over, without those of size 1."""
        return frozenset(range(1, self.rank)) - {self.channel} - self.unit

    @property
    def channels(self) -> int | None:
        """The number of channels, where it is known."""
        size = None if self.channel is None else self.dims[self.channel]
        return size if isinstance(size, int) else None

    def with_channels(self, count: int) -> "Frame":
        """The same with this number of channels."""
        dims = list(self.dims)
        dims[self.channel] = count
        return Frame(tuple(dims), self.channel)

    @property
    def full(self) -> Axes:
        return tuple((axis,) for axis in range(self.rank))

    def size(self, axes: Iterable[int]) -> Size:
        """The product of the sizes of these axes of x."""
        result = Size()
        for axis in axes:
            dim = self.dims[axis]
            result *= Size(dim) if isinstance(dim, int) else Size(1, ((axis, 1),))
        return result

    def solid(self, axis: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of x in one axis of a tensor, without those of size 1."""
        return tuple(a for a in axis if a not in self.unit) if self.unit else axis

    def same(self, a: Axes, b: Axes) -> bool:
        return len(a) == len(b) and all(
            self.solid(i) == self.solid(j) for i, j in zip(a, b, strict=True)
        )

    def broadcast(self, a: Axes, b: Axes) -> Axes | None:
        """The axes of the two tensors combined; None if they meet on different axes of x.

        They do not meet at all where an axis of x stands at one position in ``a`` and at another in
        ``b``: the result would pair every element of that axis with every other, as the outer
        product x_i * x_j does.
        """
        rank = max(len(a), len(b))
        a = ((),) * (rank - len(a)) + a
        b = ((),) * (rank - len(b)) + b
        result = []
        for i, j in zip(a, b, strict=True):
            if self.solid(i) and self.solid(j) and self.solid(i) != self.solid(j):
                return None
            result.append(max(i, j, key=lambda axis: (len(self.solid(axis)), len(axis))))
        return self.once(tuple(result))

    def once(self, axes: Axes) -> Axes | None:
        """The axes; None if they hold an axis of x twice."""
        held = [axis for group in axes for axis in self.solid(group)]
        return axes if len(set(held)) == len(held) else None

    def axis_of_size(self, size: Size | None, hint: Sequence[int]) -> tuple[int, ...] | None:
        """The axis of x that has this size, preferably one of ``hint``; () for size 1.

        It may be several axes in a row that were merged.
        """
        if size is None:
            return None
        if size.number == 1:
            return ()
        single = ((axis,) for axis in (*hint, *range(self.rank)))
        merged = (
            tuple(range(first, last))
            for first in range(self.rank)
            for last in range(first + 2, self.rank + 1)
        )
        return next((axes for axes in (*single, *merged) if self.size(axes) == size), None)

    def reshape(self, axes: Axes, target: Sequence[Size | None]) -> Axes | None:
        """The axes after a reshape to ``target``, in which one size may be unknown (None).

        Returns None unless the reshape is proved only to merge, split off or move axes of x
        in their order.
        """
        order = [axis for group in axes for axis in group]
        if sum(size is None for size in target) > 1:
            return None
        front: list[tuple[int, ...]] = []
        back: list[tuple[int, ...]] = []
        unknown = next((i for i, size in enumerate(target) if size is None), len(target))
        for size in target[:unknown]:
            if (taken := self._take(order, size)) is None:
                return None
            front.append(taken)
            order = order[len(taken) :]
        for size in reversed(target[unknown + 1 :]):
            if (taken := self._take(order[::-1], size)) is None:
                return None
            back.insert(0, taken[::-1])
            order = order[: len(order) - len(taken)]
        if unknown < len(target):
            front.append(tuple(order))
        elif any(axis not in self.unit for axis in order):
            return None
        return tuple(front + back)

    def _take(self, order: Sequence[int], size: Size) -> tuple[int, ...] | None:
        """The fewest leading axes of ``order`` whose product is ``size``."""
        for count in range(len(order) + 1):
            if self.size(order[:count]) == size:
                return tuple(order[:count])
        return None

    def per_channel(self, array: np.ndarray, axes: Axes) -> np.ndarray | None:
        """A constant beside a tensor with ``axes``, as one value, (), or one per channel, (C,).

        Returns None if it varies along another axis than the channel axis.
        """
        axes = ((),) * (array.ndim - len(axes)) + axes[max(len(axes) - array.ndim, 0) :]
        channels = 1
        for position, axis in enumerate(axes):
            solid = self.solid(axis)
            if array.shape[position] == 1:
                continue
            if solid == (self.channel,):
                channels = array.shape[position]
                continue
            first = array.take([0], position)
            if self.size(solid) != Size(array.shape[position]):
                # It may be this constant that gives the axis its size.
                return None
            if not np.array_equal(array, np.broadcast_to(first, array.shape)):
                return None
            array = first
        return array.reshape(()) if channels == 1 else array.reshape(channels)


def from_front(axis: int, rank: int) -> int:
    """An axis counted from the front.

    Raises:
        ValueError: a tensor of this rank has no such axis.
    """
    if not -rank <= axis < rank:
        raise ValueError(f"there is no axis {axis} in a tensor of rank {rank}")
    return axis % rank


def squeezed(frame: Frame, axes: Axes, positions: Sequence[int] | None) -> Axes | None:
    """Axes without those at ``positions`` (None: without all of size 1)."""
    if positions is None:
        kept = tuple(axis for axis in axes if frame.solid(axis))
        # An axis of a size that is not known might be 1, too, and go.
        return kept if all(frame.size(axis).number is not None for axis in kept) else None
    gone = {from_front(position, len(axes)) for position in positions}
    if any(frame.solid(axes[position]) for position in gone):
        return None
    return tuple(axis for position, axis in enumerate(axes) if position not in gone)


def unsqueezed(axes: Axes, positions: Sequence[int]) -> Axes:
    """Axes with new ones of size 1 at ``positions`` of the result."""
    rank = len(axes) + len(positions)
    new = {from_front(position, rank) for position in positions}
    if len(new) < len(positions):
        raise ValueError(f"axes {list(positions)} name one axis twice")
    rest = iter(axes)
    return tuple(() if position in new else next(rest) for position in range(rank))


def flattened(axes: Axes, split: int) -> Axes:
    """Two axes: everything before axis ``split``, which may be behind the last, and the rest."""
    split = split if split == len(axes) else from_front(split, len(axes))
    return (
        tuple(axis for group in axes[:split] for axis in group),
        tuple(axis for group in axes[split:] for axis in group),
    )
