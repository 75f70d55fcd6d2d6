"""How far two results may be apart: the one place where that is derived.

**Rounding.** An element of a floating-point output may be off by ``relative`` times s, the largest
magnitude in the output, with

    relative = sqrt(depth) * (64 v + 8 u)  +  max(S / 128 - 64, 0) v

u is the unit roundoff of the narrowest float type that either model computes in (2**-24 for
float32), v that of the type it sums in (float32 for half types, else u). A dot product of K terms
is off by about sqrt(K) roundoffs, K is up to 1000 or so, and both results are off: 64 v. Then the
result is rounded, and networks enlarge errors a little: 8 u. Each of ``depth`` operations in a
chain adds such an error, and those are independent. S is the number of positions in a plane: a
mean of squares that is added up in one chain, as ONNX Runtime and TensorFlow do where channels are
last, loses what is smaller than the roundoff of the sum; measured for normal x, S from 2**12 to
2**22, the mean is off by S v / 64 at most, and FRN takes its root. The 64 v stand for short ones.

A constant in an output, such as the -1e9 of a mask, says nothing of how the rest was rounded. Where
the elements that differ are off by more than their own magnitude explains, s is taken of those that
move when the input does.

**What the network makes of it.** Where that is not enough, the first model is run again with its
input moved by 2 u, at random up or down, and

    relative = sqrt(depth) * 4 * (the median movement of the output, relative to s)

if that is more: what a network makes of one rounding it makes of those inside it, too. Four
medians are 2.7 standard deviations. It is the median, so that what follows does not count.

**Jumps.** Integers, booleans, text, and floats behind a decision (ArgMax, TopK, Round, a
comparison) do not move, they jump, where the decision was close. An element beyond the tolerance
is accepted only if the first model *itself* gives that value there, or jumps as far (but for
rounding), when its input moves by no more than the tolerance of rounding. Integers do not move, but
the floats that are made of them do, by Cast, DequantizeLinear or Gather, where no input is a float
and in quantised models. That is tried up to 72 times, with movements from a 32nd of it to all of
it, until every such element is explained. A movement by which most elements leave their tolerance
explains nothing. Where the first model never jumps, nothing may differ.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

_FLOAT32_ROUNDOFF = 2.0**-24
_SUM_ROUNDOFFS, _RESULT_ROUNDOFFS, _POSITIONS_PER_ROUNDOFF = 64, 8, 128
_MEDIANS = 4
# Of the tolerance of rounding; twelve rounds of them.
_MOVEMENTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1) * 12
# After one round of movements a close decision has been turned over with a probability of 63/64:
# if more elements than half are as they were, they are not close.
_FIRST_ROUND, _FEW = 6, 8


def rounding(depth: int, roundoff: float, arrays: Sequence[np.ndarray]) -> float:
    """The tolerance of rounding, relative to the largest magnitude.

    Args:
        depth: the longest chain of operations in either model.
        roundoff: unit roundoff of the narrowest type.
        arrays: inputs and outputs, which tell how large a plane is.
    """
    summing = min(roundoff, _FLOAT32_ROUNDOFF)
    step = _SUM_ROUNDOFFS * summing + _RESULT_ROUNDOFFS * roundoff
    positions = max((_positions(array.shape) for array in arrays), default=0)
    long = max(positions / _POSITIONS_PER_ROUNDOFF - _SUM_ROUNDOFFS, 0)
    return depth**0.5 * step + long * summing


def _positions(shape: tuple[int, ...]) -> float:
    """In a plane of (N, C, H, W) or (N, H, W, C), where the channels are taken for the fewest."""
    inner = [size for size in shape[1:] if size]
    return float(np.prod(inner) / min(inner)) if len(inner) > 1 else 0.0


def movements(relative: float, roundoff: float) -> list[float]:
    """How far the input is moved to see the first model jump, relative to its elements."""
    return [max(part * relative, 2 * roundoff) for part in _MOVEMENTS]


def moved(x: np.ndarray, by: float, rng: np.random.Generator) -> np.ndarray:
    """Floats moved up or down at random; whatever else stays."""
    if not is_float(x.dtype):
        return x
    return np.asarray(x * (1 + rng.choice([-by, by], x.shape))).astype(x.dtype)


def unit_roundoff(dtypes: Iterable[npt.DTypeLike]) -> float:
    """Of the narrowest float type among those that a model computes in; of float32 without any."""
    floats = (dtype for dtype in (np.dtype(each) for each in dtypes) if is_float(dtype))
    return max(
        (float(ml_dtypes.finfo(dtype).eps) / 2 for dtype in floats), default=_FLOAT32_ROUNDOFF
    )


def is_float(dtype: np.dtype) -> bool:
    # NumPy does not count bfloat16 among its floating-point types.
    return dtype.kind == "f" or dtype == ml_dtypes.bfloat16


class Judgement:
    """One output in one sample: what differs, and what of it the first model explains.

    Args:
        a, b: the two results.
        relative: the tolerance of rounding, which floats alone have.
        fixed: (rtol, atol) in its place, by which everything is measured; nothing is explained.

    Attributes:
        error: |a - b| of each element.
        allowed: how large it may be.
        scale: the largest finite magnitude in a; 0 for what is no float.
        problem: why the two cannot be compared, or "".
        random: a model gave something else on the same input.
        undecided: the first model gave another shape when its input moved by rounding: this
            sample says nothing.
    """

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        relative: float,
        fixed: tuple[float, float] | None = None,
    ) -> None:
        self.a, self.b = a, b
        self.problem = ""
        self.random = self.undecided = False
        self.continuous = is_float(a.dtype) and is_float(b.dtype)
        if a.shape != b.shape:
            self.problem = f"shape {a.shape} against {b.shape}"
            b = a
        elif is_float(a.dtype) != is_float(b.dtype):
            self.problem = f"{a.dtype} against {b.dtype}"
        self.scale = _scale(a) if self.continuous else 0.0
        self.error = _error(a, b)
        if fixed is None:
            self.allowed = np.full(a.shape, relative * self.scale)
        else:
            size = np.abs(_numbers(a))
            self.allowed = fixed[1] + fixed[0] * np.where(np.isfinite(size), size, 0.0)
        self._tolerance = relative * self.scale
        self._relative = relative
        self._fixed = fixed is not None
        self._jumped = np.zeros(a.shape, bool)
        self._differing: np.ndarray | None = None
        self._draws = 0

    @property
    def exceeding(self) -> np.ndarray:
        """Which elements are off by more than allowed."""
        return self.error > self.allowed

    @property
    def differing(self) -> int:
        """How many elements are off by more than rounding explains."""
        found = self.exceeding if self._differing is None else self._differing
        return int(found.sum())

    @property
    def jumping(self) -> int:
        """How many elements of the first model were seen to jump."""
        return int(self._jumped.sum())

    @property
    def blank(self) -> bool:
        """Whether it tells nothing: floats, and none of them finite."""
        return self.continuous and bool(self.a.size) and not np.isfinite(_numbers(self.a)).any()

    @property
    def hides(self) -> bool:
        """Whether what differs is allowed only for the magnitude of what does not."""
        if self._fixed or self.problem or not self.continuous:
            return False
        own = _scale(self.a[self.error > 0])
        return self.agrees and bool((self.error > self._relative * own).any())

    @property
    def agrees(self) -> bool:
        return not self.problem and not self.exceeding.any()

    @property
    def open(self) -> bool:
        """Whether another movement of the first model's input could still explain something."""
        if self.agrees or self.random or self.undecided or self._fixed:
            return False
        if self.problem:
            return self._draws < _FIRST_ROUND
        left = int(self.exceeding.sum())
        return self._draws < _FIRST_ROUND or left <= max(self.differing / 2, _FEW)

    def repeat(self, a: np.ndarray, b: np.ndarray) -> None:
        """Takes what the models give on the same input again."""
        for before, again in ((self.a, a), (self.b, b)):
            same = before.shape == again.shape
            if not same or (
                before.shape == self.allowed.shape and (_error(before, again) > self.allowed).any()
            ):
                self.random = True
                self.problem = (
                    "it differs from run to run on the same input, by random numbers that cannot "
                    "be made the same in both models"
                )

    def leave_out_constants(self, moved: np.ndarray) -> None:
        """Takes the output for an input that was moved, and no constant for a magnitude."""
        if not self.hides or moved.shape != self.a.shape:
            return
        still = _error(self.a, moved) <= 0
        if still.all():
            return
        self.scale = _scale(self.a[~still])
        self._tolerance = self._relative * self.scale
        own = np.where(still, np.abs(_numbers(self.a)), 0.0)
        self.allowed = self._relative * np.maximum(own, self.scale)

    def calibrate(self, moved: np.ndarray, depth: int) -> None:
        """Takes the output for an input that was moved by one roundoff."""
        if moved.shape == self.a.shape and self.continuous:
            movement = float(np.median(_error(self.a, moved))) if moved.size else 0.0
            if np.isfinite(movement):
                self._tolerance = max(self._tolerance, depth**0.5 * _MEDIANS * movement)
                self.allowed = np.maximum(self.allowed, self._tolerance)
        self._differing = self.exceeding

    def explain(self, moved: np.ndarray) -> None:
        """Takes the output for an input that was moved by no more than the tolerance."""
        self._draws += 1
        if moved.shape != self.a.shape:
            self.undecided = True
        if self.problem or self.undecided:
            return
        movement = _error(self.a, moved)
        if moved.size and np.median(movement) > self._tolerance:
            return
        jumped = movement > self._tolerance
        self._jumped |= jumped
        given = _error(self.b, moved) <= 0
        if self.continuous:
            # Both jumps carry the rounding of what does not jump.
            far = self.error <= movement + self._tolerance
            given |= np.isfinite(movement) & jumped & far
        self.allowed = np.where(given, np.maximum(self.allowed, self.error), self.allowed)


def number(element: Any) -> float | None:
    """For a report; None for text."""
    return None if isinstance(element, str | bytes) else float(element)


def _numbers(array: np.ndarray) -> np.ndarray:
    """As float64; text has no magnitude."""
    return np.zeros(array.shape) if array.dtype.kind in "OSU" else array.astype(np.float64)


def _error(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|, 0 where both are the same infinity or NaN; 1 at least for integers that differ."""
    same = np.asarray(a == b)
    if a.dtype.kind in "OSU" or b.dtype.kind in "OSU":
        return np.where(same, 0.0, 1.0)
    x, y = _numbers(a), _numbers(b)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(x - y)
    error = np.where(np.isnan(error), np.inf, error)
    if not (is_float(a.dtype) and is_float(b.dtype)):
        error = np.maximum(error, 1.0)  # float64 does not tell large integers apart
    return np.where(same | (np.isnan(x) & np.isnan(y)), 0.0, error)


def _scale(y: np.ndarray) -> float:
    """The largest finite magnitude."""
    values = np.abs(y.astype(np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))
