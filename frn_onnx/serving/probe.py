"""Warm-up, and the proof that a model's samples do not touch each other.

A file says that axis 0 has any length, and not what it means: it may be time, or the model may
normalise over the batch. Requests are put together only for a model that gave, for many samples
at once, what it gives for each alone; and only as many as were tried, since a model may look back
along axis 0 by any number of rows.
"""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from frn_onnx.errors import ModelError
from frn_onnx.serving import datatypes
from frn_onnx.serving.errors import RecordingError
from frn_onnx.serving.model import Model
from frn_onnx.serving.signature import TensorSpec

# Lengths tried for axes that may have any: small, and the customary size of an image.
_LENGTHS = (32, 224, 1)
# So many of the samples that run at once run alone as well: the first and the last, which have
# others at every distance, and some between. Labels are equal by chance, and take more.
_ALONE = 6
_ALONE_LABELS = 16
# For who waits for it; fewer samples are tried, and put together, if need be.
PATIENCE_SECONDS = 5.0
# What one run may differ from another by rounding, as a part of an element's largest value in any
# sample, and of the largest of the whole output: an element may be what is left of larger ones.
# Samples that touch each other differ by something of the order of an element's variation.
_ROUNDING = {"FP16": 2e-2, "BF16": 1e-1}
_ROUNDING_DEFAULT = 2e-3
_REST = {"FP16": 5e-3, "BF16": 3e-2}
_REST_DEFAULT = 2e-6
# An output that varies less than so many times what rounding may do shows nothing.
_VARIATION = 4
# Elements of each sample that are compared at one go.
_PART = 2**16
# The widest inputs are those of images, which a model may cut off below a threshold.
_WIDE = 255
_WIDE_INTEGERS = {"UINT8": 256, "INT8": 128}


class _FailedError(Exception):
    """The model failed on a run."""


class _ObstacleError(Exception):
    """What forbids to run samples at once."""


@dataclass(frozen=True)
class Probe:
    """What the first runs showed.

    Attributes:
        rows: most samples that may be put together along axis 0; 1 where none may.
        reason: why, or why not.
        sample: one sample that the model took: input name -> array; empty if it took none.
        seconds: samples in a run -> how long the last such run took.
    """

    rows: int
    reason: str
    sample: Mapping[str, np.ndarray] = field(default_factory=dict)
    seconds: Mapping[int, float] = field(default_factory=dict)

    @property
    def stacks(self) -> bool:
        """Whether requests may be put together."""
        return self.rows > 1

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Input name -> shape of one sample that the model took; empty if it took none."""
        return {name: array.shape for name, array in self.sample.items()}


def probe(
    model: Model, most: int = 32, most_bytes: int = 2**62, most_seconds: float = math.inf
) -> Probe:
    """Runs a model on random samples, alone and at once.

    Args:
        model: what is run.
        most: so many samples would be put together, if they may be; two are tried at least.
        most_bytes: the same for the bytes of their inputs.
        most_seconds: about how long all of it may take on a CPU.

    Raises: ModelError if it runs two samples at once, and fails on so many as would be.
    """
    rng = np.random.default_rng(0)
    failure: Exception | None = None
    for length in _LENGTHS:
        sample = _draw(model, rng, length, 1)
        try:
            model.learn_ranks(_run(model, sample))
            seconds, _ = _timed(model, sample)
        except _FailedError as error:
            failure = failure or error
            continue
        if not model.signature.has_batch_axis:
            reason = "axis 0 of an input or output has a fixed length"
            return Probe(1, reason, sample, {1: seconds})
        rows = min(most, most_bytes // max(sum(array.nbytes for array in sample.values()), 1))
        is_label = not any(map(_is_float, model.signature.outputs.values()))
        alone = _ALONE_LABELS if is_label else _ALONE
        if model.on_cpu:  # two kinds of samples: alone, two, and all
            rows = int(min(rows, most_seconds / 2 / max(seconds, 1e-6) - alone - 2))
        rows = max(rows, 2)
        kinds = (_draw(model, rng, length, rows, wide=wide) for wide in (False, True))
        try:
            together = _try(model, kinds, rows, alone)
        except _ObstacleError as obstacle:
            return Probe(1, str(obstacle), sample, {1: seconds})
        reason = f"{rows} samples at once give what each gives alone"
        return Probe(rows, reason, sample, {1: seconds, rows: together})
    return Probe(1, f"it fails on a random sample, so nothing is known: {failure}")


def _run(model: Model, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    try:
        return model.run(feeds, list(model.signature.outputs))
    except RecordingError:  # no fault of the sample
        raise
    except Exception as error:
        raise _FailedError(str(error)) from error


def _timed(model: Model, feeds: Mapping[str, np.ndarray]) -> tuple[float, dict[str, np.ndarray]]:
    """How long a run takes once the shape is warm, and what it gives."""
    for _ in range(model.runs_to_warm_up):
        start = time.perf_counter()
        outputs = _run(model, feeds)
    return time.perf_counter() - start, outputs


def _try(model: Model, kinds: Iterator[dict[str, np.ndarray]], rows: int, count: int) -> float:
    """How long a run of so many samples takes; raises _ObstacleError where there may be none."""
    alone = sorted({0, 1, *np.linspace(0, rows - 1, count).round().astype(int).tolist()})
    vary: set[str] = set()
    for is_wide, feeds in enumerate(kinds):
        try:
            apart = [_run(model, _slice(feeds, i, i + 1)) for i in alone]
        except _FailedError as error:
            if is_wide:  # what does not suit the model shows nothing
                break
            raise _ObstacleError(f"it fails on a random sample: {error}") from error
        several = {}
        for size in dict.fromkeys((2, rows)):
            try:
                seconds, several[size] = _timed(model, _slice(feeds, 0, size))
            except _FailedError as error:
                if size == 2:
                    raise _ObstacleError(f"it fails on 2 samples at once: {error}") from error
                raise ModelError(
                    f"{model.signature.name!r} runs 2 samples at once, and fails on {rows}, which "
                    f"--max-batch allows; pass a smaller one: {error}"
                ) from error
        for name, spec in model.signature.outputs.items():
            own = _Alone([outputs[name] for outputs in apart], alone, spec.datatype)
            for size, outputs in several.items():
                if not own.agrees(outputs[name], size):
                    raise _ObstacleError(
                        f"{size} samples at once change each other's output {name!r}"
                    )
            if own.varies():
                vary.add(name)
    _check_seen(model, vary)
    return seconds


def _check_seen(model: Model, vary: set[str]) -> None:
    """Raises _ObstacleError for an output that was the same whatever the sample: it shows nothing.

    Each of floats must vary. Labels and counts need not where another output does.
    """
    outputs = model.signature.outputs
    floats = [name for name, spec in outputs.items() if _is_float(spec)]
    for name in floats or ([] if vary else outputs):
        if name not in vary:
            raise _ObstacleError(
                f"random samples have one and the same output {name!r}, which shows nothing"
            )


def _is_float(spec: TensorSpec) -> bool:
    return datatypes.kind(spec.datatype) == "f"


def _slice(feeds: Mapping[str, np.ndarray], start: int, end: int) -> dict[str, np.ndarray]:
    return {name: array[start:end] for name, array in feeds.items()}


def _draw(
    model: Model, rng: np.random.Generator, length: int, rows: int, *, wide: bool = False
) -> dict[str, np.ndarray]:
    """Random samples, each around a mean of its own: what averages them must differ as well.

    Integers are 0 or 1, which most models that look something up take. ``wide`` ones are those of
    images, 0 to 255, where the type leaves it open.
    """
    feeds = {}
    for name, spec in model.signature.inputs.items():
        lengths = [length if dim == -1 else dim for dim in spec.shape]
        if model.signature.has_batch_axis:
            lengths[0] = rows
        kind = datatypes.kind(spec.datatype)
        if kind == "f":
            own = rng.normal(size=[*lengths[:1], *(1 for _ in lengths[1:])])
            values: np.ndarray = rng.normal(size=lengths) + own
            if wide:
                values = _WIDE * rng.uniform(size=lengths) / (1 + np.abs(own))
        else:
            top = _WIDE_INTEGERS.get(spec.datatype, 2) if wide else 2
            values = rng.integers(0, top, size=lengths)
        if spec.datatype == "BF16":
            values = datatypes.bfloat16_bits(values)
        elif kind == "O":
            values = np.where(values, "a", "b").astype(object)
        feeds[name] = np.asarray(values, datatypes.NUMPY[spec.datatype])
    return feeds


class _Alone:
    """One output of samples that were run alone.

    Args:
        outputs: of each sample.
        indices: the places of these samples among those that run at once; ascending.
        datatype: of the output.
    """

    def __init__(self, outputs: list[np.ndarray], indices: list[int], datatype: str) -> None:
        self._outputs = outputs
        self._indices = indices
        self._datatype = datatype
        self._is_float = datatypes.kind(datatype) == "f"
        self._rounding = _ROUNDING.get(datatype, _ROUNDING_DEFAULT)
        largest = max((self._sizes(part).max(initial=0.0) for _, part in self._parts()), default=0)
        self._rest = _REST.get(datatype, _REST_DEFAULT) * largest

    def agrees(self, together: np.ndarray, rows: int) -> bool:
        """Whether so many samples gave the same at once, but for rounding."""
        expected = {output.shape for output in self._outputs}
        if expected != {(1, *together.shape[1:])} or len(together) != rows:
            return False
        seen = [i for i in self._indices if i < rows]
        flat = together.reshape(rows, -1)
        return all(
            self._near(self._values(flat[seen, place]), part[: len(seen)], part)
            for place, part in self._parts()
        )

    def varies(self) -> bool:
        """Whether the samples' outputs differ by more than rounding, in one element at least."""
        return any(map(self._spreads, (part for _, part in self._parts())))

    def _parts(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Some elements of all samples at a time, (samples, elements): outputs may be large."""
        flat = [output.reshape(-1) for output in self._outputs]
        if len({output.size for output in flat}) == 1:
            for start in range(0, flat[0].size, _PART):
                place = slice(start, start + _PART)
                yield place, self._values(np.stack([output[place] for output in flat]))

    def _values(self, array: np.ndarray) -> np.ndarray:
        if self._datatype == "BF16":
            array = datatypes.bfloat16_values(array)
        return array.astype(np.float64) if self._is_float else array

    def _near(self, a: np.ndarray, b: np.ndarray, part: np.ndarray) -> bool:
        if not self._is_float:
            return bool((a == b).all())
        with np.errstate(invalid="ignore"):
            near = np.abs(a - b) <= self._tolerance(part)
        # What overflows alone may just not do so at once: it shows nothing.
        return bool((near | ~np.isfinite(b)).all())

    def _spreads(self, part: np.ndarray) -> bool:
        if not self._is_float:
            return bool((part != part[:1]).any())
        finite = np.isfinite(part)
        top = np.max(part, 0, initial=-np.inf, where=finite)
        bottom = np.min(part, 0, initial=np.inf, where=finite)
        return bool((top - bottom > _VARIATION * self._tolerance(part)).any())

    def _tolerance(self, part: np.ndarray) -> np.ndarray:
        """What each element of a sample's output may differ by from one run to another."""
        return self._rounding * self._sizes(part).max(0) + self._rest

    def _sizes(self, part: np.ndarray) -> np.ndarray:
        return np.abs(np.where(np.isfinite(part), part, 0.0)) if self._is_float else np.zeros(1)
