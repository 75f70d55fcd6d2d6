"""Whether two models compute the same: both run on the same inputs, errors measured per output."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import samples as make
from frn_onnx.graph.runners import Runner, Spec, runner

# How far one operation may drive two results apart, in units of roundoff. A dot product of K terms
# is off by about sqrt(K) of them, K is up to 1000 or so, and both results are off; half types are
# summed in float32. Then the result is rounded, and networks pass errors on a little enlarged.
_SUM_ROUNDOFFS, _RESULT_ROUNDOFFS = 64, 8
_FLOAT32_ROUNDOFF = 2.0**-24


@dataclass(frozen=True)
class OutputReport:
    """How one output of the two models differs.

    Attributes:
        name: in the first model.
        max_abs: the largest |a - b|.
        max_rel: the largest |a - b| relative to the largest |a| in the same array.
        sample, index: where the error is largest against what is allowed; None where the
            arrays cannot be compared.
        a, b, allowed: the two values there, and the error allowed there.
        shape: of the output in that sample.
        exceeding, elements: how many elements are off by more than allowed, and of how many.
        problem: why the arrays cannot be compared, or "".
    """

    name: str
    max_abs: float = 0.0
    max_rel: float = 0.0
    sample: int | None = None
    index: tuple[int, ...] | None = None
    a: float | None = None
    b: float | None = None
    allowed: float | None = None
    shape: tuple[int, ...] | None = None
    exceeding: int = 0
    elements: int = 0
    problem: str = ""

    @property
    def ok(self) -> bool:
        return not self.exceeding and not self.problem


@dataclass(frozen=True)
class Report:
    """The comparison of two models.

    Attributes:
        a, b: what the models are called.
        samples: for each sample the shapes of the inputs by name.
        outputs: one entry for each output.
    """

    a: str
    b: str
    samples: Sequence[Mapping[str, tuple[int, ...]]]
    outputs: Sequence[OutputReport]

    @property
    def ok(self) -> bool:
        """Whether every element of every output is within its tolerance."""
        return all(output.ok for output in self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON."""
        outputs = [{**dataclasses.asdict(output), "ok": output.ok} for output in self.outputs]
        samples = [{name: list(shape) for name, shape in s.items()} for s in self.samples]
        return {"ok": self.ok, "a": self.a, "b": self.b, "samples": samples, "outputs": outputs}

    def __str__(self) -> str:
        verdict = "equal within tolerance" if self.ok else "DIFFERENT"
        lines = [f"{self.a} and {self.b}: {verdict}"]
        for sample in self.samples:
            lines.append("  on " + ", ".join(f"{name} {shape}" for name, shape in sample.items()))
        lines += [f"  {_sentence(output)}" for output in self.outputs]
        return "\n".join(lines)


def verify(
    a: Any,
    b: Any,
    *,
    inputs: Mapping[str, np.ndarray] | str | os.PathLike | None = None,
    samples: int = 3,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
) -> Report:
    """Runs two models on the same inputs and compares what comes out.

    By default an element may be off by sqrt(depth) * max(64 * v + 8 * u, m) * s. Here depth is
    the longest chain of operations in either model, u the unit roundoff of the narrowest float
    type that either computes in (2**-24 for float32), v that of the type it sums in (float32 for
    half types, else u), and s the largest magnitude in the output: each operation adds an error
    of its own, and those are independent. m is how far the first model's output moves, relative
    to s, when its input moves by one roundoff: what a network makes of one rounding it makes of
    those inside it, too. Integers and booleans must be equal; so must NaN and infinities.

    Args:
        a, b: path of an ONNX or Keras file (.keras, .h5), ``onnx.ModelProto``,
            ``onnx_ir.Model``, Keras model, or a :class:`frn_onnx.graph.runners.Runner`. ONNX
            models run in ONNX Runtime on the CPU, with the plugin only where they need it.
        inputs: arrays by input name, or the path of an .npz file; None makes random ones,
            of several sizes where the models leave sizes open.
        samples: how many random inputs.
        seed: of the random inputs.
        rtol, atol: an element may be off by atol + rtol * |a| instead; one that is not given
            is 0.

    Raises:
        ModelError: a model cannot be read or run, or the two have different inputs.
        ArgumentError: an argument is of no known kind, or ``inputs`` do not fit the models.

    Example:
        >>> report = frn_onnx.verify("model.keras", "model.onnx")
        >>> report.ok, report.outputs[0].max_abs
        (True, 2.1e-07)
    """
    if samples < 1:
        raise ArgumentError(f"samples must be 1 or more, received {samples}")
    first, second = runner(a), runner(b)
    pairs = make.match_inputs(first, second)
    order = make.match_names(first.outputs, second.outputs)
    if order is None:
        raise ModelError(
            f"the models have different outputs: {', '.join(first.outputs)} in {first.label}, "
            f"{', '.join(second.outputs)} in {second.label}"
        )
    roundoff = max(first.roundoff, second.roundoff)
    depth = max(first.depth, second.depth, 1)
    one = _SUM_ROUNDOFFS * min(roundoff, _FLOAT32_ROUNDOFF) + _RESULT_ROUNDOFFS * roundoff
    fixed = None if rtol is None and atol is None else (rtol or 0.0, atol or 0.0)
    comparisons = [_Comparison(name) for name in first.outputs]
    used = []
    rng = np.random.default_rng(seed)
    for sample in range(samples if inputs is None else 1):
        if inputs is None:
            arrays, left = _run_random(first, pairs, sample, rng)
        else:
            arrays = make.given(pairs, inputs)
            left = _run(first, arrays)
        by_name = {spec.name: array for (_, spec), array in zip(pairs, arrays, strict=True)}
        converted = [by_name[s.name].astype(s.dtype, copy=False) for s in second.inputs]
        right = _run(second, converted)
        used.append(
            {spec.name: array.shape for (spec, _), array in zip(pairs, arrays, strict=True)}
        )
        left, right = list(map(np.asarray, left)), list(map(np.asarray, right))
        moved = left if fixed else _run(first, [_nudged(x, roundoff, rng) for x in arrays])
        for comparison, y, z, i in zip(comparisons, left, moved, order, strict=True):
            relative = depth**0.5 * max(one, _distance(y, np.asarray(z)))
            comparison.add(sample, y, right[i], fixed or (0.0, relative * _scale(y)))
    return Report(first.label, second.label, used, [c.report for c in comparisons])


def _run_random(
    model: Runner, pairs: Sequence[tuple[Spec, Spec]], sample: int, rng: np.random.Generator
) -> tuple[list[np.ndarray], Sequence[np.ndarray]]:
    """Random inputs of a size that the model takes, and its outputs."""
    failure: ModelError | None = None
    for shapes in make.shapes(pairs, sample):
        arrays = [make.random(pair, s, rng) for pair, s in zip(pairs, shapes, strict=True)]
        try:
            return arrays, _run(model, arrays)
        except ModelError as error:
            failure = failure or error
    raise ModelError(
        f"no made-up input suits {model.label}; pass inputs= (an .npz file or arrays). {failure}"
    )


def _run(model: Runner, arrays: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    try:
        return model.run(arrays)
    except Exception as error:  # each runtime has errors of its own, without a common base
        shapes = ", ".join(
            f"{spec.name} {array.shape}" for spec, array in zip(model.inputs, arrays, strict=True)
        )
        raise ModelError(f"{model.label} does not run on {shapes}: {error}") from error


def _nudged(x: np.ndarray, roundoff: float, rng: np.random.Generator) -> np.ndarray:
    """Floats moved up or down by about one roundoff, at random."""
    if not _is_float(x):
        return x
    return np.asarray(x * (1 + rng.choice([-2, 2], x.shape) * roundoff)).astype(x.dtype)


def _distance(y: np.ndarray, z: np.ndarray) -> float:
    """The largest difference, relative to the largest element."""
    scale = _scale(y)
    if not _is_float(y) or y.shape != z.shape or not scale:
        return 0.0
    with np.errstate(invalid="ignore"):
        distance = np.abs(y.astype(np.float64) - z.astype(np.float64))
    return float(distance[np.isfinite(distance)].max(initial=0.0)) / scale


def _scale(y: np.ndarray) -> float:
    """The largest finite magnitude; 0 for what is no float, which must be equal."""
    if not _is_float(y):
        return 0.0
    values = np.abs(y.astype(np.float64))
    return float(values[np.isfinite(values)].max(initial=0.0))


def _is_float(array: np.ndarray) -> bool:
    # NumPy does not count bfloat16 among its floating-point types.
    return array.dtype.kind == "f" or array.dtype == ml_dtypes.bfloat16


class _Comparison:
    """Collects the errors of one output over all samples."""

    def __init__(self, name: str) -> None:
        self.report = OutputReport(name)
        self._excess = -1.0

    def add(
        self, sample: int, a: np.ndarray, b: np.ndarray, tolerance: tuple[float, float]
    ) -> None:
        """Takes in one more sample; ``tolerance`` is relative to each element, and absolute."""
        if self.report.problem:
            return
        if a.shape != b.shape:
            problem = f"shape {a.shape} against {b.shape}"
            self.report = dataclasses.replace(self.report, sample=sample, problem=problem)
            return
        scale = _scale(a)
        if a.dtype.kind in "OSU":
            a, b = np.zeros(a.shape), np.asarray(a != b)  # text has no distance
        a, b = a.astype(np.float64), b.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.where(same, 0.0, np.abs(a - b))
        error = np.where(np.isnan(error), np.inf, error)
        allowed = tolerance[1] + tolerance[0] * np.where(np.isfinite(a), np.abs(a), 0.0)
        old = self.report
        largest = float(error.max(initial=0.0))
        relative = largest / scale if scale else float(largest > 0) * np.inf
        self.report = dataclasses.replace(
            old,
            max_abs=max(old.max_abs, largest),
            max_rel=max(old.max_rel, relative) if largest else old.max_rel,
            exceeding=old.exceeding + int((error > allowed).sum()),
            elements=old.elements + a.size,
        )
        if a.size:
            self._locate(sample, a, b, error, allowed)

    def _locate(self, sample, a, b, error, allowed) -> None:
        """Notes the worst element, if it is worse than those of the samples before."""
        excess = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
        worst = np.unravel_index(int(np.argmax(excess)), a.shape)
        if excess[worst] > self._excess:
            self._excess = float(excess[worst])
            self.report = dataclasses.replace(
                self.report,
                sample=sample,
                index=tuple(int(i) for i in worst),
                a=float(a[worst]),
                b=float(b[worst]),
                allowed=float(allowed[worst]),
                shape=a.shape,
            )


def _sentence(output: OutputReport) -> str:
    if output.problem:
        return f"{output.name}: {output.problem} in sample {output.sample}"
    text = f"{output.name}: max abs error {output.max_abs:.3g}, relative {output.max_rel:.3g}"
    if output.index is not None and output.max_abs:
        text += (
            f"; worst at {output.index} of {output.shape}: {output.a:.9g} against {output.b:.9g}, "
            f"allowed {output.allowed:.3g}"
        )
    if output.exceeding:
        text += f"; {output.exceeding} of {output.elements} elements are out of tolerance"
    return text
