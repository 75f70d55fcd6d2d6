"""Does the ONNX model compute what the original computes? Both are run on random input."""

import importlib.util

import numpy as np
import onnx

from frn_onnx.errors import ModelError, VerificationError, missing_dependency
from frn_onnx.export.trace import Source
from frn_onnx.graph import guard
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.report import Report
from frn_onnx.graph.runners import Runner, Spec
from frn_onnx.graph.samples import Inputs
from frn_onnx.graph.tolerance import unit_roundoff

_NO_KERNEL = "Could not find an implementation"
_NO_FLOAT64 = (
    "ONNX Runtime has no float64 kernel of this operator on the CPU: convolutions and poolings are "
    "among those; build the model with the dtype policy 'float32' and give it these weights"
)
OFF = "verify=False (--no-verify)"


def check_available() -> None:
    """Raises DependencyError where there is no ONNX Runtime to run the exported model."""
    if importlib.util.find_spec("onnxruntime") is None:
        with guard.ways_out("the model", OFF):
            raise missing_dependency("onnxruntime", "cpu", "the verification of an export")


def compare(source: Source, model: onnx.ModelProto, inputs: Inputs | None = None) -> Report:
    """Runs the original and the ONNX model on the same inputs.

    Args:
        source: the original.
        model: in a form that runs without the plugin.
        inputs: as for :func:`frn_onnx.verify`.

    Raises:
        VerificationError: an output differs by more than rounding explains, or cannot be
            compared.
        ArgumentError: ``inputs`` do not fit the model.
    """
    try:
        with guard.ways_out(f"export: {source.name!r}", OFF):
            report = verify(_runner(source), model, inputs=inputs)
    except VerificationError as error:
        if _NO_KERNEL in str(error) and "float64" in _types(source):
            raise VerificationError(f"{error}. {_NO_FLOAT64}") from error
        raise
    if not report.ok:
        said = guard.verdict(report, repr(source.name))
        raise VerificationError(
            f"export: {said}; nothing was written.\n{report}\n{guard.ways(OFF)}"
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
        roundoff=unit_roundoff(_types(source).values()),
    )


def _types(source: Source) -> dict[str, type]:
    """The floating-point types that the original computes in, by name."""
    tensors = (t for operation in source.function.graph.get_operations() for t in operation.outputs)
    return {t.dtype.name: t.dtype.as_numpy_dtype for t in tensors if t.dtype.is_floating}
