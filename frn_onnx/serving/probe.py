"""Warm-up, and the proof that a model's samples do not touch each other.

A file says that axis 0 has any length, and not what it means: it may be time, or the model may
normalise over the batch. Requests are put together only for a model that gave, for two samples
at once, what it gives for each alone.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from frn_onnx.errors import ModelError
from frn_onnx.serving import datatypes
from frn_onnx.serving.errors import RecordingError
from frn_onnx.serving.model import Model

# Lengths tried for axes that may have any: small, and the customary size of an image.
_LENGTHS = (32, 224, 1)
# Labels alone are equal by chance, and two samples show little: so many are tried.
_LABELLED_SAMPLES = 16
# What one run may differ from another by rounding, as a part of the largest output. Samples
# that touch each other differ by something of the order of 1.
_ROUNDING = {"FP16": 2e-2, "BF16": 1e-1}
_ROUNDING_DEFAULT = 1e-3


@dataclass(frozen=True)
class Probe:
    """What the first runs showed.

    Attributes:
        stacks: whether requests may be put together along axis 0.
        reason: why, or why not.
        sample: one sample that the model took: input name -> array; empty if it took none.
        seconds: samples in a run -> how long the last such run took.
    """

    stacks: bool
    reason: str
    sample: Mapping[str, np.ndarray] = field(default_factory=dict)
    seconds: Mapping[int, float] = field(default_factory=dict)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Input name -> shape of one sample that the model took; empty if it took none."""
        return {name: array.shape for name, array in self.sample.items()}


def probe(model: Model) -> Probe:
    """Runs a model on random samples, alone and all at once."""
    rng = np.random.default_rng(0)
    outputs = model.signature.outputs
    labels = not any(datatypes.kind(spec.datatype) == "f" for spec in outputs.values())
    count = _LABELLED_SAMPLES if labels and model.signature.has_batch_axis else 2
    failure: Exception | None = None
    for length in _LENGTHS:
        samples = [_sample(model, rng, length) for _ in range(count)]
        try:
            alone = [model.run(feeds, list(outputs)) for feeds in samples]
        except RecordingError:
            raise
        except Exception as error:
            failure = failure or error
            continue
        if not model.signature.has_batch_axis:
            stacks, reason = False, "axis 0 of an input or output has a fixed length"
        else:
            obstacle = _obstacle(model, samples, alone, labels)
            stacks = obstacle is None
            reason = obstacle or f"{count} samples at once give what each gives alone"
        return Probe(stacks, reason, samples[0], {1: _seconds(model, samples[0])})
    return Probe(False, f"it fails on a random sample, so nothing is known: {failure}")


def probe_largest(model: Model, sample: Mapping[str, np.ndarray], samples: int) -> float:
    """Runs as many samples as requests may be put together: too many for a small GPU fail now.

    Returns: the seconds it took.

    Raises: ModelError if it fails.
    """
    feeds = {name: np.repeat(array, samples, axis=0) for name, array in sample.items()}
    try:
        return _seconds(model, feeds)
    except Exception as error:
        raise ModelError(
            f"{model.signature.name!r} runs one sample, and fails on {samples} at once, which "
            f"--max-batch allows; pass a smaller one: {error}"
        ) from error


def _seconds(model: Model, feeds: Mapping[str, np.ndarray]) -> float:
    """How long a run takes once the shape is warm."""
    for _ in range(model.runs_to_warm_up):
        start = time.perf_counter()
        model.run(feeds, list(model.signature.outputs))
    return time.perf_counter() - start


def _obstacle(model: Model, samples: list[dict], alone: list[dict], labels: bool) -> str | None:
    """What forbids to run samples at once; None if nothing does."""
    several = {name: np.concatenate([feeds[name] for feeds in samples]) for name in samples[0]}
    try:
        together = model.run(several, list(model.signature.outputs))
    except RecordingError:
        raise
    except Exception as error:
        return f"it fails on {len(samples)} samples at once: {error}"
    for name, spec in model.signature.outputs.items():
        apart = np.concatenate([outputs[name] for outputs in alone])
        if together[name].shape != apart.shape or not _same(together[name], apart, spec.datatype):
            return f"{len(samples)} samples at once change each other's output {name!r}"
    first = alone[0]
    if labels and all(np.array_equal(one[name], first[name]) for one in alone for name in first):
        return f"{len(samples)} samples have one and the same output, which shows nothing"
    return None


def _sample(model: Model, rng: np.random.Generator, length: int) -> dict[str, np.ndarray]:
    """One random sample; integers are 0 or 1, which most models that look something up take."""
    feeds = {}
    for name, spec in model.signature.inputs.items():
        lengths = [length if dim == -1 else dim for dim in spec.shape]
        if model.signature.has_batch_axis:
            lengths[0] = 1
        kind = datatypes.kind(spec.datatype)
        values = rng.normal(size=lengths) if kind == "f" else rng.integers(0, 2, size=lengths)
        if spec.datatype == "BF16":
            values = datatypes.bfloat16_bits(values)
        elif kind == "O":
            values = np.where(values, "a", "b").astype(object)
        feeds[name] = values.astype(datatypes.NUMPY[spec.datatype])
    return feeds


def _same(a: np.ndarray, b: np.ndarray, datatype: str) -> bool:
    if datatypes.kind(datatype) != "f":
        return bool((a == b).all())
    if datatype == "BF16":
        a, b = datatypes.bfloat16_values(a), datatypes.bfloat16_values(b)
    a, b = a.astype(np.float64), b.astype(np.float64)
    largest = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    allowed = _ROUNDING.get(datatype, _ROUNDING_DEFAULT) * largest
    return bool(np.isclose(a, b, rtol=0, atol=allowed, equal_nan=True).all())
