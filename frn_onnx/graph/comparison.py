"""Whether two models compute the same: both run on the same inputs, errors measured per output."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import noise, tolerance
from frn_onnx.graph import samples as make
from frn_onnx.graph.report import OutputReport, Report
from frn_onnx.graph.runners import Runner, runner
from frn_onnx.graph.tolerance import Judgement


def verify(
    a: Any,
    b: Any,
    *,
    inputs: make.Inputs | None = None,
    samples: int = 3,
    seed: int = 0,
    rtol: float | None = None,
    atol: float | None = None,
) -> Report:
    """Runs two models on the same inputs and compares what comes out.

    By default an element may be off by what rounding explains, and integers, booleans and text
    only where the first model itself gives another value when its input moves by rounding;
    :mod:`frn_onnx.graph.tolerance` derives both. NaN and infinities must be the same. Random
    nodes are made to draw the same numbers in both models; an output that differs from run to run
    all the same cannot be compared, and the report is not ``ok``.

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
    for name, given in (("rtol", rtol), ("atol", atol)):
        if given is not None and not 0 <= given < math.inf:
            raise ArgumentError(f"{name} must be a number of at least 0, received {given}")
    if seed < 0:
        raise ArgumentError(f"seed must be at least 0, received {seed}")
    models = _Models(*_drawing_alike(runner(a), runner(b)))
    fixed = None if rtol is None and atol is None else (rtol or 0.0, atol or 0.0)
    comparisons = [_Comparison(name) for name in models.first.outputs]
    used = []
    rng = np.random.default_rng(seed)
    for sample in range(samples if inputs is None else 1):
        if inputs is None:
            arrays, left = models.run_random(sample, rng)
        else:
            arrays = make.given(models.inputs, inputs)
            left = models.run_first(arrays)
        used.append({s.name: x.shape for (s, _), x in zip(models.inputs, arrays, strict=True)})
        judged = _judged(models, arrays, left, fixed, rng)
        for comparison, judgement in zip(comparisons, judged, strict=True):
            comparison.add(sample, judgement)
    labels = models.first.label, models.second.label
    return Report(*labels, used, [comparison.result() for comparison in comparisons])


def _drawing_alike(first: Runner, second: Runner) -> tuple[Runner, Runner]:
    """The models with the same random numbers in both, where their random nodes are the same."""
    seeds = noise.seeds(first.random_nodes, second.random_nodes)
    if not first.seeded or not second.seeded or not seeds:
        return first, second
    return first.seeded(seeds[0]), second.seeded(seeds[1])


class _Models:
    """Two models whose inputs and outputs belong together."""

    def __init__(self, first: Runner, second: Runner) -> None:
        self.first, self.second = first, second
        self.inputs = make.match_inputs(first, second)
        order = make.match_names(first.outputs, second.outputs)
        if order is None:
            raise ModelError(
                f"the models have different outputs: {', '.join(first.outputs)} in "
                f"{first.label}, {', '.join(second.outputs)} in {second.label}"
            )
        self._order = order
        self.depth = max(first.depth, second.depth, 1)
        self.roundoff = max(first.roundoff, second.roundoff)

    def run_first(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return _run(self.first, arrays)

    def run_second(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """On the inputs of the first, with its outputs in the order of the first's."""
        by_name = {s.name: array for (_, s), array in zip(self.inputs, arrays, strict=True)}
        own = [by_name[s.name].astype(s.dtype, copy=False) for s in self.second.inputs]
        results = _run(self.second, own)
        return [results[i] for i in self._order]

    def run_random(
        self, sample: int, rng: np.random.Generator
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Random inputs that the first model takes, and its outputs."""
        failure: ModelError | None = None
        for arrays in make.candidates(self.inputs, sample, rng):
            try:
                return arrays, self.run_first(arrays)
            except _NoArrayError:
                raise
            except ModelError as error:
                failure = failure or error
        raise ModelError(
            f"no made-up input suits {self.first.label}; pass input that does with --inputs "
            f"FILE.npz (inputs in Python). {failure}"
        )


class _NoArrayError(ModelError):
    """An output is no array, whatever the input."""


def _run(model: Runner, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    try:
        results = model.run(arrays)
    except Exception as error:  # each runtime has errors of its own, without a common base
        shapes = ", ".join(
            f"{spec.name} {array.shape}" for spec, array in zip(model.inputs, arrays, strict=True)
        )
        raise ModelError(f"{model.label} does not run on {shapes}: {error}") from error
    try:
        return list(map(np.asarray, results))
    except ValueError as error:
        raise _NoArrayError(
            f"an output of {model.label} ({', '.join(model.outputs)}) is a sequence of tensors of "
            "several shapes; only tensors, and sequences of tensors of one shape, can be compared"
        ) from error


def _judged(
    models: _Models,
    arrays: Sequence[np.ndarray],
    left: Sequence[np.ndarray],
    fixed: tuple[float, float] | None,
    rng: np.random.Generator,
) -> list[Judgement]:
    """What differs in one sample; the first model is asked again only where something does."""
    relative = tolerance.rounding(models.depth, models.roundoff, [*arrays, *left])
    right = models.run_second(arrays)
    judged = [Judgement(y, z, relative, fixed) for y, z in zip(left, right, strict=True)]

    def move(by: float) -> list[np.ndarray]:
        first = models.first
        if first.moved is not None:
            first = first.moved(by, int(rng.integers(2**20)))
        return _run(first, [tolerance.moved(x, by, rng) for x in arrays])

    if any(j.hides for j in judged):
        for judgement, y in zip(judged, move(max(relative, 2 * models.roundoff)), strict=True):
            judgement.leave_out_constants(y)
    if all(j.agrees for j in judged):
        return judged
    again = zip(models.run_first(arrays), models.run_second(arrays), strict=True)
    for judgement, (y, z) in zip(judged, again, strict=True):
        judgement.repeat(y, z)
    if any(j.open for j in judged):
        for judgement, y in zip(judged, move(2 * models.roundoff), strict=True):
            judgement.calibrate(y, models.depth)
    for by in tolerance.movements(relative, models.roundoff):
        if not any(j.open for j in judged):
            break
        for judgement, y in zip(judged, move(by), strict=True):
            judgement.explain(y)
    return judged


class _Comparison:
    """Collects the judgements of one output over all samples."""

    def __init__(self, name: str) -> None:
        self._report = OutputReport(name)
        self._excess = -1.0
        self._decided = False
        self._blank = True

    def result(self) -> OutputReport:
        """The report on all samples so far."""
        if not self._decided:
            problem = "its shape changes when the input moves by rounding, in every sample"
        elif self._blank and not self._report.exceeding:
            problem = "it is NaN or infinite throughout, in every sample, which shows nothing"
        else:
            problem = ""
        if not problem or self._report.problem:
            return self._report
        return dataclasses.replace(self._report, problem=problem, comparable=False, sample=None)

    def add(self, sample: int, judgement: Judgement) -> None:
        """Takes in one more sample."""
        old = self._report
        if old.problem or judgement.undecided:
            return
        self._decided = True
        self._blank = self._blank and judgement.blank
        if judgement.problem:
            self._report = dataclasses.replace(
                old,
                sample=sample,
                problem=judgement.problem,
                comparable=not judgement.random,
            )
            return
        error, scale = judgement.error, judgement.scale
        largest = float(error.max(initial=0.0))
        relative = largest / scale if scale else float(largest > 0) * np.inf
        self._report = dataclasses.replace(
            old,
            max_abs=max(old.max_abs, largest),
            max_rel=max(old.max_rel, relative) if largest else old.max_rel,
            exceeding=old.exceeding + int(judgement.exceeding.sum()),
            elements=old.elements + error.size,
            differing=old.differing + judgement.differing,
            jumping=old.jumping + judgement.jumping,
        )
        if error.size:
            self._locate(sample, judgement)

    def _locate(self, sample: int, judgement: Judgement) -> None:
        """Notes the worst element, if it is worse than those of the samples before."""
        error, allowed = judgement.error, judgement.allowed
        excess = np.divide(error, allowed, out=np.where(error > 0, np.inf, 0.0), where=allowed > 0)
        worst = np.unravel_index(int(np.argmax(excess)), error.shape)
        if excess[worst] > self._excess:
            self._excess = float(excess[worst])
            self._report = dataclasses.replace(
                self._report,
                sample=sample,
                index=tuple(int(i) for i in worst),
                a=tolerance.number(judgement.a[worst]),
                b=tolerance.number(judgement.b[worst]),
                allowed=float(allowed[worst]),
                shape=error.shape,
            )
