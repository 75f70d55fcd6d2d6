"""Does the ONNX model compute what the original computes? Both are run on random input."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx
import tensorflow as tf

from frn_onnx.errors import VerificationError, missing_dependency
from frn_onnx.export.trace import Source

_SEED = 0
_BATCH = 2
# Tried in turn for unknown spatial sizes: the first suits most networks that halve H and W up
# to five times, and tells H from W; others were built for one of the usual sizes.
_SIZES = ((64, 32, 32), (224, 224, 224), (128, 128, 128))
# How much of the values that are not floating point, labels for example, may differ: they come
# from comparisons of floating-point numbers, of which two can be nearly equal.
_DIFFERING_SHARE = 0.01


@dataclass(frozen=True)
class OutputAgreement:
    """How far one output is from the original's.

    Attributes:
        name: of the output.
        max_abs: the largest absolute difference; for outputs that are not floating point the
            share of elements that differ.
        max_rel: the same, relative to the largest magnitude in the original's output.
        allowed: the largest max_abs that passes.
        worst: index of the largest difference.
        expected, received: the two values there.
    """

    name: str
    max_abs: float
    max_rel: float
    allowed: float
    worst: tuple[int, ...]
    expected: float
    received: float

    @property
    def agrees(self) -> bool:
        return self.max_abs <= self.allowed

    def __str__(self) -> str:
        return (
            f"output {self.name!r}: max absolute error {self.max_abs:.3g}, relative "
            f"{self.max_rel:.3g} (allowed {self.allowed:.3g} absolute), worst at {self.worst}: "
            f"expected {self.expected:.7g}, received {self.received:.7g}"
        )


def check_available() -> None:
    """Raises DependencyError where there is no ONNX Runtime to compare with."""
    try:
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise missing_dependency("onnxruntime", "cpu", "the verification of an export") from error


def compare(source: Source, model: onnx.ModelProto) -> list[OutputAgreement]:
    """Runs the original and the ONNX model on random input.

    Two floating-point outputs agree when no difference exceeds the root of the unit roundoff
    times the largest magnitude of the output, that is, when they share half of their digits.
    Rounding in another order costs a few, a wrong parameter or axis all of them.

    Args:
        source: the original.
        model: in a form that runs without the plugin.

    Raises:
        VerificationError: an output has another shape or other values, or the original
            cannot be run on random input.
    """
    import onnxruntime

    inputs, expected = _run_original(source)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        received = session.run(
            list(source.output_names), dict(zip(source.input_names, inputs, strict=True))
        )
    except Exception as error:
        raise VerificationError(
            f"export: ONNX Runtime {onnxruntime.__version__} cannot run the exported model: {error}"
        ) from error
    precision = _unit_roundoff(source)
    outputs = [
        _agreement(name, a, b, precision)
        for name, a, b in zip(source.output_names, expected, received, strict=True)
    ]
    if not all(output.agrees for output in outputs):
        lines = "\n".join(f"  {output}" for output in outputs if not output.agrees)
        raise VerificationError(
            f"export: the ONNX model of {source.name!r} differs from the original on random input "
            f"in {sum(not o.agrees for o in outputs)} of {len(outputs)} outputs; nothing was "
            f"written.\n{lines}\nverify=False (--no-verify) exports it all the same."
        )
    return outputs


def _run_original(source: Source) -> tuple[list[np.ndarray], list[np.ndarray]]:
    reasons = []
    for inputs in _random_inputs(source.specs):
        try:
            return inputs, source.run(inputs)
        except tf.errors.OpError as error:
            reasons.append(f"  {[x.shape for x in inputs]}: {str(error).splitlines()[0]}")
    raise VerificationError(
        f"export: {source.name!r} itself cannot be run on random input; nothing was written:\n"
        + "\n".join(reasons)
        + "\nPass a signature with sizes that suit it, or verify=False (--no-verify)."
    )


def _random_inputs(specs: Sequence[tf.TensorSpec]) -> Iterator[list[np.ndarray]]:
    """Random values for every input, for one choice of the unknown sizes after another."""
    for spec in specs:
        if spec.shape.rank is None:
            raise VerificationError(
                f"export: cannot make random input of unknown rank for {spec.name!r}; pass a "
                "signature that tells it, or verify=False (--no-verify)"
            )
    known = all(d is not None for spec in specs for d in list(spec.shape)[1:])
    for sizes in _SIZES[:1] if known else _SIZES:
        rng = np.random.default_rng(_SEED)
        unknown = (_BATCH, *sizes)
        yield [
            _random(
                rng,
                spec,
                [unknown[min(i, len(sizes))] if d is None else d for i, d in enumerate(spec.shape)],
            )
            for spec in specs
        ]


def _random(rng: np.random.Generator, spec: tf.TensorSpec, shape: list[int]) -> np.ndarray:
    if spec.dtype.is_floating:
        return rng.normal(size=shape).astype(spec.dtype.as_numpy_dtype)
    if spec.dtype.is_integer or spec.dtype.is_bool:
        # 0 and 1 are in range wherever integers are indices.
        return rng.integers(0, 2, size=shape).astype(spec.dtype.as_numpy_dtype)
    raise VerificationError(
        f"export: cannot make random input of type {spec.dtype.name} for {spec.name!r}; pass "
        "verify=False (--no-verify)"
    )


def _unit_roundoff(source: Source) -> float:
    """Of the coarsest floating-point type that the original computes in."""
    tensors = (t for operation in source.function.graph.get_operations() for t in operation.outputs)
    types = {t.dtype.as_numpy_dtype for t in tensors if t.dtype.is_floating}
    return max((float(ml_dtypes.finfo(t).eps) / 2 for t in types), default=2.0**-24)


def _agreement(
    name: str, expected: np.ndarray, received: np.ndarray, precision: float
) -> OutputAgreement:
    if expected.shape != received.shape:
        raise VerificationError(
            f"export: output {name!r} has shape {received.shape}, expected {expected.shape}; "
            "nothing was written"
        )
    if not expected.size:
        return OutputAgreement(name, 0.0, 0.0, 0.0, (), 0.0, 0.0)
    if not _is_floating(expected):
        differing = expected != received
        share = float(np.mean(differing))
        worst = np.unravel_index(np.argmax(differing), expected.shape)
        scale, allowed, error = 1.0, _DIFFERING_SHARE, share
    else:
        a, b = expected.astype(np.float64), received.astype(np.float64)
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            differences = np.where(same, 0.0, np.abs(a - b))
        differences = np.where(np.isnan(differences), np.inf, differences)
        worst = np.unravel_index(np.argmax(differences), a.shape)
        scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=0.0))
        error, allowed = float(differences[worst]), math.sqrt(precision) * scale
    return OutputAgreement(
        name,
        max_abs=error,
        max_rel=error / scale if scale else error,
        allowed=allowed,
        worst=tuple(map(int, worst)),
        expected=float(expected[worst]),
        received=float(received[worst]),
    )


def _is_floating(array: np.ndarray) -> bool:
    # NumPy does not count bfloat16 among its floating-point types.
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"
