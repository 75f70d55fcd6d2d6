"""``frn_onnx.export``: the way from a trained model to an ONNX file."""

import inspect
import logging
import os
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar

import onnx

import frn_onnx
from frn_onnx.errors import ArgumentError, FrnWarning
from frn_onnx.export import conversion, open_sizes, verification
from frn_onnx.export.source import load
from frn_onnx.export.trace import Source
from frn_onnx.graph import guard, model_io
from frn_onnx.graph.forms import Form, check_form, form_of, set_form
from frn_onnx.graph.fusion import fuse_in_place
from frn_onnx.graph.half import Conversion, convert_in_place
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.protos import from_proto, graph_protos, to_proto
from frn_onnx.graph.report import Report
from frn_onnx.graph.results import Skipped, reasons
from frn_onnx.graph.samples import Inputs
from frn_onnx.graph.transposes import LAYOUTS, Layout

_LOGGER = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class ExportResult:
    """An exported model, with what became of its FRN layers.

    Attributes:
        model: in ONNX.
        frn_layers: path of each FRN layer of the Keras model, as often as it is used; None
            where layers are not known, as in a SavedModel.
        fused: how many FRN were found in the graph.
        skipped: what looks like FRN and was left in standard ops, with the reasons.
        shortfall: None, or a text that says that not every FRN layer became a node.
        nodes: how many nodes of each op the model has.
        report: how far the outputs are from the original's; None if that was not verified.
    """

    model: onnx.ModelProto
    frn_layers: Sequence[str] | None
    fused: int
    skipped: Sequence[Skipped]
    shortfall: str | None
    nodes: Counter
    report: Report | None

    def __str__(self) -> str:
        # Layers that write FRN out themselves are not known by their class.
        known = f" of {len(self.frn_layers)} FRN layers" if self.frn_layers else ""
        lines = [
            f"{self.fused} FRN nodes{known}; {self.nodes.total()} nodes, "
            f"{self.nodes['Transpose']} of them Transposes"
        ]
        lines += [f"not fused: {s.nodes[-1]}: {s.reason}" for s in self.skipped]
        lines.append("not verified" if self.report is None else str(self.report))
        return "\n".join(lines)


def _export(
    model,
    path: str | os.PathLike | None = None,
    *,
    form: Form = "portable",
    layout: Layout = "auto",
    opset: int = 18,
    dtype: Literal["float16"] | None = None,
    signature=None,
    verify: bool = True,
    inputs: Inputs | None = None,
) -> ExportResult:
    check_form(form)
    if layout not in LAYOUTS:
        raise ArgumentError(f"layout must be one of {', '.join(LAYOUTS)}, received {layout!r}")
    if dtype not in (None, "float16"):
        raise ArgumentError(
            f"dtype must be None or 'float16', received {dtype!r}. ONNX has bfloat16 convolutions "
            f"from opset 22 on, and tf2onnx writes opset {conversion.NEWEST_OPSET} at most: "
            "convert the exported model with onnx.version_converter, then with "
            "frn_onnx.graph.convert"
        )
    opset = conversion.checked_opset(opset)
    if path is not None:
        model_io.check_output(path, model)
    inputs = guard.read_inputs(inputs, verify, verification.OFF)
    if verify:
        verification.check_available()

    source = load(model, signature)
    model = from_proto(conversion.to_onnx(source, opset))
    fused, skipped = fuse_in_place(model, layout)
    open_sizes.name(model, source)
    if dtype is not None:
        convert_in_place(model, Conversion(dtype))
    set_form(model, form)
    result = to_proto(model)
    report = _verified(source, result, inputs) if verify else None
    result.producer_name, result.producer_version = "frn_onnx", frn_onnx.__version__
    if path is not None:
        model_io.save(result, path)
    return ExportResult(
        model=result,
        frn_layers=source.frn_layers,
        fused=len(fused),
        skipped=skipped,
        shortfall=_shortfall(source, len(fused), skipped),
        nodes=Counter(node.op_type for graph in graph_protos(result) for node in graph.node),
        report=report,
    )


def _with_arguments_of(
    function: Callable[P, object],
) -> Callable[[Callable[..., T]], Callable[P, T]]:
    """For what hands all its arguments on to ``function``, to people and to type checkers."""

    def decorate(other: Callable[..., T]) -> Callable[P, T]:
        result = inspect.signature(other).return_annotation
        signature = inspect.signature(function).replace(return_annotation=result)
        vars(other)["__signature__"] = signature
        return other

    return decorate


@_with_arguments_of(_export)
def export(*args, **options) -> onnx.ModelProto:
    """Exports a Keras model to ONNX, each FRN (+TLU) in it as one node.

        y = max(gamma * x / sqrt(mean(x**2) + epsilon) + beta, tau)

    FRN is recognised by what it computes, not by the class of its layer. Names of inputs and
    outputs are kept; so are unknown sizes. What became of the layers, and how well the result
    agrees with the original, is logged under ``frn_onnx.export`` (level INFO);
    :func:`frn_onnx.export.export_model` returns it.

    Args:
        model: a Keras 3 model, the path of a ``.keras`` or ``.h5`` file or of a SavedModel
            folder, or a ``tf.function``.
        path: of the ONNX file to write; None writes none. It is replaced only when all has
            gone well.
        form: ``"portable"`` (runs with and without the plugin), ``"custom"`` (only with it) or
            ``"primitives"`` (standard ops only).
        layout: of the FRN nodes. ``"auto"``: the one with the fewest Transposes; ``"NCHW"``;
            ``"NHWC"``, for runtimes that have their convolutions in this layout, too.
        opset: version of the ONNX operators, from 13 to the newest that tf2onnx writes.
        dtype: ``"float16"`` for a file that computes in it, but for the statistics of FRN;
            None leaves the types as they are.
        signature: for a SavedModel with several signatures, the name of one; for other
            models, where their inputs are unknown or to be changed, a ``tf.TensorSpec`` for
            each.
        verify: whether to run both models and to fail if they differ.
        inputs: arrays by input name, or the path of an .npz file, to compare on; None makes
            random ones.

    Returns:
        The ONNX model.

    Raises:
        ModelError: the model cannot be read, or ``path`` cannot be written.
        ArgumentError: an argument has a value that is not allowed.
        ExportError: TensorFlow or tf2onnx cannot convert the model.
        VerificationError: the exported model computes something else, or that cannot be told.
        DependencyError: verification needs ONNX Runtime, which is not installed.

    Warns:
        FrnWarning: an FRN layer did not become an FRN node.

    Example:
        >>> frn_onnx.export("digits.keras", "digits.onnx")
    """
    result = _export(*args, **options)
    if result.shortfall:
        warnings.warn(result.shortfall, FrnWarning, stacklevel=2)
    _LOGGER.info("%s", result)
    return result.model


@_with_arguments_of(_export)
def export_model(*args, **options) -> ExportResult:
    """:func:`export` with a report; same arguments, same errors."""
    result = _export(*args, **options)
    if result.shortfall:
        warnings.warn(result.shortfall, FrnWarning, stacklevel=2)
    return result


def _verified(source: Source, model: onnx.ModelProto, inputs: Inputs | None) -> Report:
    """Compares the file that is written, or, where only the plugin runs that, its portable twin."""
    if form_of(model) == "custom":
        model = lower(model, "portable")
    return verification.compare(source, model, inputs)


def _shortfall(source: Source, found: int, skipped: Sequence[Skipped]) -> str | None:
    layers = source.frn_layers
    if layers and found < len(layers):
        text = (
            f"export: {source.name!r} has {len(layers)} FRN layers, but {found} FRN were found in "
            f"its graph; the others stay standard ops. The layers: {', '.join(layers)}."
        )
    elif not found:
        text = f"export: no FRN was found in {source.name!r}; the model holds standard ops only."
    else:
        return None
    return text + reasons(skipped)
