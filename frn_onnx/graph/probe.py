"""Each match, tried on numbers before anything is replaced: a second line behind the algebra.

The nodes between x and y run in ONNX's own reference evaluator, and FRN in NumPy, on the same small
random x. Whoever calls fuse gets this, without ONNX Runtime. It costs about as much as the search.

Both run in float64, whatever the types of the graph: the algebra claims that the functions are the
same, not their roundings. So one narrow tolerance serves all types, and nothing overflows.
"""

import functools
import itertools
import logging
import math
from collections.abc import Collection, Iterable, Iterator, Mapping

import numpy as np
import onnx_ir as ir

from frn_onnx import op, reference
from frn_onnx.graph.cut import Cut, cut
from frn_onnx.graph.evaluator import Evaluator, in_float64, numbered, wide
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.match import Match, Miss
from frn_onnx.graph.matcher.shapes import Dims, Shapes
from frn_onnx.graph.perms import Perm, compose, transpose_perm
from frn_onnx.graph.sites import name_of

logger = logging.getLogger("frn_onnx.graph")

# The matcher takes a factor within a roundoff of float32 of 1 for 1, and RMSNormalization may be
# told to take its mean in float32; a wrong formula is off by far more.
_ALLOWED = 1e-5
# Elements of x: as stated up to the first, and at all up to the second.
_SMALL = 1 << 16
_LARGEST = 1 << 22
# Elements of a plane whose sizes are open: one that sticks out comes up to 8 after normalisation,
# beyond the upper bounds that activations have.
_PLANE = 64


# How large the values of a plane are: such that epsilon is all that matters, that it matters, that
# it does not, and with two that stick out, of either sign.
_LEVELS = 4

Sizes = tuple[int, ...]


class _NotTriedError(Exception):
    """The evaluator cannot run the nodes."""


class Prober:
    """Tries matches of one model.

    Args:
        constants, shapes, order: as the matcher has them.
        opset: of the model.
    """

    def __init__(
        self, constants: Constants, shapes: Shapes, order: dict[ir.Node, int], opset: int
    ) -> None:
        self._constants = constants
        self._shapes = shapes
        self._order = order
        self._opset = opset
        # Layers of one kind are the same nodes with other constants.
        self._evaluators: dict[tuple, Evaluator] = {}
        self._noise = functools.lru_cache(maxsize=1)(_noise)

    def tried(self, match: Match) -> Match | Miss:
        """The match where it holds or cannot be tried, else a miss with the reason."""
        try:
            difference = self._first_difference(match)
        except _NotTriedError as error:
            logger.debug("%r was not tried on numbers: %s", name_of(match.cone[-1]), error)
            return match
        if difference is None:
            return match
        logger.error(
            "a fault of the matcher, please report it: what ends at %r was taken for FRN, but %s. "
            "It is left as it is",
            name_of(match.cone[-1]),
            difference,
        )
        reason = f"it was taken for FRN, but {difference}: a fault of the matcher, please report it"
        return Miss(match.cone, reason)

    def _first_difference(self, match: Match) -> str | None:
        """How y differs from FRN; None if it does not.

        A graph whose nodes cannot be run at sizes that the algebra allows is different, too.
        """
        part = cut(match.y, match.root, set(match.cone), self._constants, self._order)
        evaluator = self._evaluator(match, part)
        difference = None
        for sizes in _sizes(match, part):
            try:
                difference = self._difference(match, part, evaluator, sizes)
            except Exception as error:  # the evaluator's errors share no base class
                cause = error.__cause__ or error
                if not isinstance(cause, ArithmeticError | LookupError | ValueError):
                    raise _NotTriedError(f"{type(error).__name__}: {error}") from error
                difference = f"it does not run on x of shape {sizes}: {cause}"
                continue
            if difference is None or _suit(sizes, match.dims):
                return difference
        if difference is None or not _suit(sizes, match.dims):
            raise _NotTriedError(f"x of shape {match.dims} is too large")
        return difference

    def _evaluator(self, match: Match, part: Cut) -> Evaluator:
        inputs = (*part.inputs, *part.constants)
        names = numbered(part.nodes, inputs)
        key = (names[match.x], *(_structure(node, names) for node in part.nodes))
        if key not in self._evaluators:
            try:
                outputs = (match.x, match.y)
                self._evaluators[key] = in_float64(part.nodes, inputs, outputs, self._opset)
            except Exception as error:
                raise _NotTriedError(f"{type(error).__name__}: {error}") from error
        return self._evaluators[key]

    def _difference(
        self, match: Match, part: Cut, evaluator: Evaluator, sizes: Sizes
    ) -> str | None:
        """How y differs from FRN of x, for a root of these sizes."""
        named = dict(zip(match.dims, sizes, strict=True))
        others = [np.zeros(self._shape(value, named)) for value in part.inputs[1:]]
        fixed = [wide(array) for array in (*others, *part.constants.values())]
        for root in self._samples(match, sizes):
            x, y = map(np.asarray, evaluator.run([root, *fixed]))
            with np.errstate(all="ignore"):
                magnitude, expected = _frn(match, x)
            if y.shape != expected.shape:
                return f"for x of shape {sizes} it has the shape {y.shape}"
            off, allowed = np.abs(y - expected), _ALLOWED * magnitude
            if not np.all(off <= allowed):
                worst = np.unravel_index(np.argmax(off - allowed), off.shape)
                return (
                    f"on random x of shape {sizes} it gives {y[worst]:.6g} where FRN gives "
                    f"{expected[worst]:.6g}"
                )
        return None

    def _samples(self, match: Match, sizes: Sizes) -> Iterator[np.ndarray]:
        """Values for the root: signed, off centre, each plane as large as one of the levels."""
        samples, channels = sizes[0], sizes[match.channel]
        plane = [size for axis, size in enumerate(sizes) if axis not in (0, match.channel)]
        epsilon = np.where(match.epsilon > 0, match.epsilon, 1e-6)
        numbers = np.add.outer(np.arange(samples), np.arange(channels))
        rounds = math.ceil(_LEVELS / max(numbers.size, 1))
        noise = self._noise((rounds, samples, channels, math.prod(plane)))
        for first in range(rounds):
            level = (numbers + first) % _LEVELS
            size = np.choose(level, [0.1 * np.sqrt(epsilon), np.sqrt(epsilon), 1, 1])
            x = noise[first] * size[..., np.newaxis]
            x[level == 3, :1], x[level == 3, -1:] = 1000, -700
            yield np.moveaxis(x.reshape(samples, channels, *plane), 1, match.channel)

    def _shape(self, value: ir.Value, named: dict[int | str | None, int]) -> Sizes:
        """The shape of a tensor that has sizes in common with x."""
        dims = self._shapes.of(value)
        return tuple(dim if isinstance(dim, int) else named.get(dim, 1) for dim in dims)


def _frn(match: Match, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The magnitude of the terms of y, and y, with the axes that y has in the graph."""
    scaled = reference.frn(
        x, match.gamma, np.zeros_like(match.beta), epsilon=match.epsilon, axes=match.axes
    )
    shape = op.param_shape(match.axes, match.beta.size)
    beta = match.beta.reshape(shape)
    y = scaled + beta
    if match.tau is not None:
        y = np.maximum(y, match.tau.reshape(shape))
    return (np.abs(scaled) + np.abs(beta)).transpose(match.perm), y.transpose(match.perm)


def _suit(sizes: Sizes, dims: Dims) -> bool:
    """Whether x may have these sizes."""
    return all(
        dim in (size, None) or isinstance(dim, str) for size, dim in zip(sizes, dims, strict=True)
    )


def _sizes(match: Match, part: Cut) -> Iterator[Sizes]:
    """Sizes of the root to try, until one shows that y is FRN, or that it is not, being allowed."""
    return (sizes for sizes in _candidates(match, part) if math.prod(sizes) <= _LARGEST)


def _candidates(match: Match, part: Cut) -> Iterator[Sizes]:
    """The same, however large.

    Small ones that all differ come first. What is stated to be large is tried small: where no
    constant of the graph depends on it, that is as good; else y is not FRN there, which says
    nothing of what it is at its own size.
    """
    dims = match.dims
    open_axes = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    stated = _distinct(dims, match.channel, open_axes)
    if math.prod(stated) > _SMALL:
        yield _distinct(dims, match.channel, [a for a in range(len(dims)) if a != match.channel])
        yield _distinct(dims, match.channel, [0, *open_axes])
    yield stated
    if open_axes:
        # Sizes that the graph forces without saying so: those of a constant, or to be equal.
        for order in _orders(part.nodes, len(dims)):
            forced = list(stated)
            for array in part.constants.values():
                for axis, size in zip(order[::-1], array.shape[::-1], strict=False):
                    if axis in open_axes and size > 1:
                        forced[axis] = size
            yield tuple(forced)
        yield tuple(dim if isinstance(dim, int) else match.gamma.size for dim in dims)


def _orders(nodes: Iterable[ir.Node], rank: int) -> list[Perm]:
    """Orders that the axes of the root may have on the way: as it is, and behind Transposes."""
    orders = [tuple(range(rank))]
    for node in nodes:
        if perm := transpose_perm(node, rank):
            orders += [compose(order, perm) for order in orders]
            orders = list(dict.fromkeys(orders))
    return orders


def _distinct(dims: Dims, channel: int, axes: Collection[int]) -> Sizes:
    """The sizes of the root with new ones, all different, for these axes."""
    taken = {dim for axis, dim in enumerate(dims) if axis not in axes}
    plane = [axis for axis in axes if axis not in (0, channel)]
    least = math.ceil(_PLANE ** (1 / max(len(plane), 1)))
    named: dict[int | str | None, int] = {}
    sizes: list[int] = []
    for axis, dim in enumerate(dims):
        if isinstance(dim, int) and axis not in axes:
            sizes.append(dim)
            continue
        start = least if axis in plane else 3
        size = named.get(dim) or next(n for n in itertools.count(start) if n not in taken)
        taken.add(size)
        if isinstance(dim, str):
            named[dim] = size
        sizes.append(size)
    return tuple(sizes)


def _noise(shape: Sizes) -> np.ndarray:
    return np.random.default_rng(0).normal(0.3, 1, shape)


def _structure(node: ir.Node, names: Mapping[ir.Value | None, str]) -> tuple:
    """What two nodes must have in common to be run by one evaluator."""
    attributes = sorted((name, str(value.value)) for name, value in node.attributes.items())
    return (node.op_type, *(names[value] for value in node.inputs), *attributes)
