"""The algebra in which a graph is proved to compute FRN.

Every tensor between x and y is written as one Form,

    max(scale * x**x_power * (nu2 + epsilon)**nu_power + offset, threshold)

in which scale, epsilon, offset and threshold are constants, one for all channels, shape (),
or one per channel, shape (C,), in float64. The algebra is closed under exactly those steps that
keep this shape; each returns None when the result is something else. However products,
quotients, roots and sums were nested, the same function ends up as the same Form, and

    x_power = 1, nu_power = -1/2, epsilon given, no factor left over

*is* FRN with gamma = scale, beta = offset, tau = threshold.

A Form can carry a ``flaw``: the reason why it is not FRN although it goes on to look like it
(a mean over H only, epsilon outside the root ...). Flaws are inherited, never lost, so a near
miss is recognised where it ends and told with its reason.
"""

from dataclasses import dataclass, field

import numpy as np

from frn_onnx.graph.matcher.axes import Axes, Frame, Size

# A factor this close to 1 is 1 written in float32 arithmetic, for example 49 * float32(1/49).
_ONE_FLOAT32 = 2.0**-23

FLOOR = "epsilon is a floor under the mean square, max(nu2, epsilon), not added"
OUTSIDE = "epsilon is added outside the root: x / (sqrt(nu2) + epsilon)"
MAGNITUDE = "it normalises |x|, not x"
UNKNOWN_COUNT = "epsilon is added to the sum of squares, and how many squares it sums is not known"
ONE_SAMPLE = "it normalises all samples by the mean of one"
NOT_CONSTANT = "what is added to the mean square is not a constant"


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b if a is None or b is None else bool(np.all(a == b))


@dataclass(frozen=True, eq=False)
class Form:
    """One tensor computed from x; see the head of this file.

    Attributes:
        axes: where the axes of x are in the tensor.
        scale, offset: (), or (C,).
        magnitude: it holds |x| in place of x.
        epsilon: (), or (C,); None: nothing was added to nu2.
        threshold: (), or (C,); None: none.
        over: the axes over which the monomial was averaged so far; (scale * mean(x**2))
            becomes scale * nu2 when these are all spatial axes.
        sizes: a further factor, the product of sizes of x's axes.
        channels: the number of channels it was taken for granted that x has; None: none.
        flaw: why this can only be a near miss; None while it can be FRN.
    """

    axes: Axes
    scale: np.ndarray
    x_power: float = 0
    magnitude: bool = False
    nu_power: float = 0
    epsilon: np.ndarray | None = None
    offset: np.ndarray = field(default_factory=lambda: np.zeros(()))
    threshold: np.ndarray | None = None
    over: frozenset[int] = frozenset()
    sizes: Size = Size()  # noqa: RUF009 - immutable
    channels: int | None = None
    flaw: str | None = None

    def same(self, other: "Form") -> bool:
        """Whether both are the same function of x."""
        arrays = ("scale", "epsilon", "offset", "threshold")
        return self.kind == other.kind and all(
            _equal(getattr(self, name), getattr(other, name)) for name in arrays
        )

    @property
    def kind(self) -> tuple:
        """What it is but for its constants; with another flaw it is another function, too."""
        return self.x_power, self.magnitude, self.nu_power, self.over, self.sizes, self.flaw

    @property
    def is_constant(self) -> bool:
        return not (self.x_power or self.nu_power or self.sizes.powers)

    @property
    def is_statistic(self) -> bool:
        """It holds x**2, nu2 or a power of it, and not x itself."""
        return self.x_power == 2 or bool(self.nu_power and not self.x_power)

    @property
    def is_x(self) -> bool:
        """It is x itself, perhaps with its axes moved."""
        return (
            self.x_power == 1
            and not (self.magnitude or self.nu_power or self.sizes.powers or self.over)
            and self.threshold is None
            and bool(np.all(self.scale == 1) and np.all(self.offset == 0))
        )

    @property
    def looks_like_frn(self) -> bool:
        """It is FRN, or would be without its flaw or with an epsilon."""
        exact = self.flaw is None and self.epsilon is not None
        count_left = bool(self.sizes.powers) and exact
        return self.x_power == 1 and self.nu_power == -0.5 and not count_left

    def floor(self) -> np.ndarray:
        """The least value that a statistic can take: x**2 and nu2 are never negative."""
        least = self.offset
        if self.x_power == 0 and self.nu_power == 1 and self.epsilon is not None:
            least = least + self.scale * self.epsilon
        return np.where(self.scale >= 0, least, -np.inf)

    def but(self, **changes) -> "Form":
        return Form(**{**self.__dict__, **changes})


def constant(value: np.ndarray, axes: Axes) -> Form:
    return Form(axes=axes, scale=np.asarray(value, dtype=np.float64))


def settled(frame: Frame, form: Form) -> Form:
    """The form with a finished mean written as nu2, and nu2 + offset as nu2 + epsilon."""
    if form.over:
        flaw = form.flaw or statistic_flaw(frame, form)
        form = form.but(x_power=0, magnitude=False, nu_power=1, over=frozenset(), flaw=flaw)
    if not np.any(form.offset) or form.x_power or form.nu_power != 1 or not np.all(form.scale):
        return form
    if form.threshold is not None or form.sizes.powers:
        return form
    added = form.offset / form.scale
    epsilon = added if form.epsilon is None else form.epsilon + added
    flaw = form.flaw
    if flaw is None and np.any(epsilon < 0):
        flaw = f"the epsilon in the root is negative ({float(np.min(epsilon)):g})"
    return form.but(epsilon=epsilon, offset=np.zeros(()), flaw=flaw)


def statistic_flaw(frame: Frame, form: Form) -> str | None:
    """Why the mean that ``form`` holds is not the mean of x**2 over the spatial axes."""
    over = form.over - frame.unit
    if form.x_power != 2:
        base = "|x|" if form.magnitude else "x"
        return f"it normalises by the mean of {base}, not of x**2"
    if over == frame.spatial and frame.channel is not None:
        return None
    named = tuple(sorted(form.over))
    if 0 in over:
        return f"its mean runs over the batch axis (axes {named} of x)"
    if over >= frozenset(range(1, frame.rank)) - frame.unit:
        return f"its mean runs over the channels too (axes {named} of x)"
    return (
        f"its mean runs over axes {named} of x only; "
        "that of FRN runs over every axis but batch and channel"
    )


def multiply(frame: Frame, a: Form, b: Form, axes: Axes) -> Form | None:
    """a * b, for tensors that broadcast to ``axes``."""
    if a.is_constant and not b.is_constant:
        a, b = b, a
    if b.is_constant:
        value = b.scale
        if a.threshold is not None and np.any(value < 0):
            return None
        scale = a.scale * value
        if a.is_statistic and scale.ndim == 0 and abs(scale - 1) <= _ONE_FLOAT32:
            scale = np.ones(())
        threshold = None if a.threshold is None else a.threshold * value
        return _finite(a.but(axes=axes, scale=scale, offset=a.offset * value, threshold=threshold))
    a, b = settled(frame, a), settled(frame, b)
    if np.any(a.offset) or np.any(b.offset) or a.threshold is not None or b.threshold is not None:
        return None
    if a.nu_power and b.nu_power and not _equal(a.epsilon, b.epsilon):
        return None
    if a.channels and b.channels and a.channels != b.channels:
        return None
    if a.x_power and b.x_power and a.magnitude != b.magnitude:
        return None
    x_power = a.x_power + b.x_power
    product = Form(
        axes=axes,
        scale=a.scale * b.scale,
        x_power=x_power,
        magnitude=x_power == 1 and (a.magnitude or b.magnitude),
        nu_power=a.nu_power + b.nu_power,
        epsilon=a.epsilon if a.nu_power else b.epsilon,
        sizes=a.sizes * b.sizes,
        channels=a.channels or b.channels,
        flaw=a.flaw or b.flaw,
    )
    return product if x_power in (0, 1, 2) else None


def power(frame: Frame, a: Form, exponent: float) -> Form | None:
    """a ** exponent."""
    if exponent == 1:
        return a
    a = settled(frame, a)
    if a.threshold is not None:
        if not a.is_statistic:
            return None
        a = settled(frame, a.but(threshold=None, flaw=a.flaw or FLOOR))
    if np.any(a.offset):
        if not a.is_statistic or a.x_power or (a.nu_power != 1 and exponent > 0):
            return None
        a = a.but(
            offset=np.zeros(()), flaw=a.flaw or (UNKNOWN_COUNT if a.nu_power == 1 else OUTSIDE)
        )
    x_power = a.x_power * exponent
    # 1/x is no part of FRN; sqrt(x**2) is |x|.
    if x_power not in (0, 1, 2) or (a.x_power == 2 and x_power != 1):
        return None
    if not float(exponent).is_integer() and np.any(a.scale <= 0):
        return None
    with np.errstate(divide="ignore"):
        scale = a.scale**exponent
    return _finite(
        a.but(
            scale=scale,
            x_power=x_power,
            magnitude=x_power == 1,
            nu_power=a.nu_power * exponent,
            sizes=a.sizes**exponent,
        )
    )


def add(a: Form, b: Form, axes: Axes) -> Form | None:
    """a + b, for tensors that broadcast to ``axes``."""
    if a.is_constant and not b.is_constant:
        a, b = b, a
    if a.is_constant:
        return constant(a.scale + b.scale, axes)
    if b.is_constant:
        offset = a.offset + b.scale
        threshold = None if a.threshold is None else a.threshold + b.scale
        epsilon = a.epsilon
        if a.is_statistic and epsilon is None and not np.any(offset):
            # An epsilon that is 0, as 1e-16 is in float16, was added all the same.
            epsilon = np.zeros(())
        return _finite(a.but(axes=axes, offset=offset, threshold=threshold, epsilon=epsilon))
    if a.kind != b.kind or a.channels != b.channels:
        return None
    if a.threshold is not None or b.threshold is not None:
        return None
    if a.nu_power and not _equal(a.epsilon, b.epsilon):
        return None
    return a.but(axes=axes, scale=a.scale + b.scale, offset=a.offset + b.offset)


def negate(a: Form) -> Form | None:
    if a.threshold is not None:
        return None
    return a.but(scale=-a.scale, offset=-a.offset)


def maximum(a: Form, b: Form, axes: Axes) -> Form | None:
    """max(a, b), one of them constant."""
    if a.is_constant and not b.is_constant:
        a, b = b, a
    if not b.is_constant or a.is_constant or not np.all(b.scale < np.inf):
        return None
    bound = b.scale
    if a.is_statistic and np.all(bound <= a.floor()):
        return a.but(axes=axes)
    threshold = bound if a.threshold is None else np.maximum(a.threshold, bound)
    return a.but(axes=axes, threshold=threshold)


def absolute(frame: Frame, a: Form) -> Form | None:
    """abs(a), where that is a itself, |x|, or a near miss all the same."""
    if a.is_statistic and np.all(a.floor() >= 0):
        return a
    if a.x_power == 1 and not (a.nu_power or a.over or np.any(a.offset) or a.threshold is not None):
        return a.but(scale=np.abs(a.scale), magnitude=True)
    a = settled(frame, a)
    return a if a.is_statistic and a.flaw else None


def mean(a: Form, reduced: frozenset[int], axes: Axes) -> Form | None:
    """The mean over these axes of x."""
    if a.threshold is not None or a.nu_power or a.x_power not in (1, 2):
        return None
    return a.but(axes=axes, over=a.over | reduced)


def multiply_by_size(a: Form, size: Size) -> Form | None:
    """A mean times the number of its terms: the sum."""
    if size.powers and np.any(a.offset):
        return None
    product = a.sizes * Size(1.0, size.powers)
    return a.but(scale=a.scale * size.factor, offset=a.offset * size.factor, sizes=product)


def _finite(form: Form) -> Form | None:
    values = (form.scale, form.offset, form.epsilon, form.threshold)
    return form if all(v is None or np.isfinite(v).all() for v in values) else None
