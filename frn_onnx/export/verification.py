"""Does the ONNX model compute what the original computes? Both are run on random input."""

import importlib.util

import ml_dtypes
import numpy as np
import onnx

from frn_onnx.errors import ModelError, VerificationError, missing_dependency
from frn_onnx.export.trace import Source
from frn_onnx.graph.comparison import Report, verify
from frn_onnx.graph.runners import Runner, Spec

_INSTEAD = "pass verify=False (--no-verify) to export it all the same"


def check_available() -> None:
    """Raises DependencyError where there is no ONNX Runtime to run the exported model."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise missing_dependency("onnxruntime", "cpu", "the verification of an export")


def compare(source: Source, model: onnx.ModelProto) -> Report:
    """Runs the original and the ONNX model on random input.

    Args:
        source: the original.
        model: in a form that runs without the plugin.

    Raises:
        VerificationError: an output differs by more than rounding explains, or one of the two
            cannot be run on random input.
    """
    try:
        report = verify(_runner(source), model)
    except ModelError as error:
        raise VerificationError(
            f"export: {source.name!r} cannot be verified: {error}; nothing was written, {_INSTEAD}"
        ) from error
    if not report.ok:
        raise VerificationError(
            f"export: the ONNX model computes something else than {source.name!r}; nothing was "
            f"written, {_INSTEAD}.\n{report}"
        )
    return report


def _runner(source: Source) -> Runner:
    for name, spec in zip(source.input_names, source.specs, strict=True):
        if spec.shape.rank is None:
            raise ModelError(f"the rank of the input {name!r} is unknown; pass a signature with it")
    inputs = [
        Spec(name, np.dtype(spec.dtype.as_numpy_dtype), tuple(spec.shape))
        for name, spec in zip(source.input_names, source.specs, strict=True)
    ]
    return Runner(
        label=f"the original {source.name!r}",
        inputs=inputs,
        outputs=source.output_names,
        run=source.run,
        # The graph's depth is that of the ONNX model, which is known.
        depth=1,
        roundoff=_roundoff(source),
    )


def _roundoff(source: Source) -> float:
    """Of the narrowest floating-point type that the original computes in."""
    tensors = (t for operation in source.function.graph.get_operations() for t in operation.outputs)
    types = {t.dtype.as_numpy_dtype for t in tensors if t.dtype.is_floating}
    return max((float(ml_dtypes.finfo(t).eps) / 2 for t in types), default=2.0**-24)
