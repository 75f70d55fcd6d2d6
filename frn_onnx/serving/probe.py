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
from frn_onnx.serving.model import Model

# Lengths tried for axes that may have any: small, and the customary size of an image.
_LENGTHS = (32, 224, 1)
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
    """Runs a model on random samples, alone and two at once."""
    rng = np.random.default_rng(0)
    failure: Exception | None = None
    for length in _LENGTHS:
        first, second = (_sample(model, rng, length) for _ in range(2))
        try:
            alone = [model.run(feeds, list(model.signature.outputs)) for feeds in (first, second)]
        except Exception as error:
            failure = failure or error
            continue
        if not model.signature.has_batch_axis:
            stacks, reason = False, "axis 0 of an input or output has a fixed length"
        else:
            obstacle = _obstacle(model, first, second, alone)
            stacks = obstacle is None
            reason = obstacle or "two samples at once give what each gives alone"
        return Probe(stacks, reason, first, {1: _seconds(model, first)})
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
    """How long a run takes."""
    start = time.perf_counter()
    model.run(feeds, list(model.signature.outputs))
    return time.perf_counter() - start


def _obstacle(model: Model, first: dict, second: dict, alone: list[dict]) -> str | None:
    """What forbids to run two samples at once; None if nothing does."""
    both = {name: np.concatenate([first[name], second[name]]) for name in first}
    try:
        together = model.run(both, list(model.signature.outputs))
    except Exception as error:
        return f"it fails on two samples at once: {error}"
    for name, spec in model.signature.outputs.items():
        apart = np.concatenate([outputs[name] for outputs in alone])
        if together[name].shape != apart.shape or not _same(together[name], apart, spec.datatype):
            return f"two samples at once change each other's output {name!r}"
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
