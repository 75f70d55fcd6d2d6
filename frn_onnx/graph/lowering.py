"""lower: a model with FRN in another form."""

import os
import warnings

import onnx
import onnx_ir as ir

from frn_onnx.errors import FrnWarning
from frn_onnx.graph import model_io, protos
from frn_onnx.graph.forms import Form, Target, check_form, check_target, set_form
from frn_onnx.graph.fusion import fuse_loaded
from frn_onnx.graph.results import reasons
from frn_onnx.graph.sites import frn_sites


def lower(model: model_io.Source, form: Form, *, target: Target = "onnxruntime") -> onnx.ModelProto:
    """The model in another form; only its FRN nodes change, and what says how to compute them.

    A model without FRN nodes is in the form ``primitives``: it is given back as it is when that
    is the form asked for; otherwise its FRN layers are found with :func:`frn_onnx.fuse` first. One
    without any FRN is the same in every form.

    Args:
        model: path of an ONNX file, ``onnx.ModelProto`` or ``onnx_ir.Model``; left as it is.
        form: ``"portable"``, ``"custom"`` or ``"primitives"``.
        target: the runtime that primitives are to be fastest in, ``"onnxruntime"`` or
            ``"openvino"``, in which the mean of squares is the square of a ReduceL2. FRN that is
            written in standard ops already stays as it is: ``fuse`` the model first.

    Returns:
        A new model that shares nothing with the one given.

    Raises:
        ArgumentError: there is no such form or target, or no such form for the target.
        ModelError: the model cannot be read or is invalid; its opset is older than 8 and the form
            needs the body in standard ops.

    Warns:
        FrnWarning: another form than primitives is asked for, and no FRN is found; it says what
            looks like FRN, and why it is not.

    Example:
        >>> plain = frn_onnx.lower("model.onnx", "primitives", target="openvino")
        >>> onnx.save(plain, "for_openvino.onnx")
    """
    check_form(form)
    check_target(target, form)
    graph = model_io.load(model)
    lower_in_place(graph, form, target)
    return protos.to_proto(graph)


def lower_file(
    source: str | os.PathLike,
    path: str | os.PathLike,
    form: Form,
    *,
    target: Target = "onnxruntime",
) -> None:
    """:func:`lower` from file to file, which need not fit into memory.

    Raises:
        ModelError: also where ``path`` cannot be written.
    """
    check_form(form)
    check_target(target, form)
    with model_io.rewriting(source, path) as model:
        lower_in_place(model, form, target)


def lower_in_place(model: ir.Model, form: Form, target: Target = "onnxruntime") -> None:
    """:func:`lower` for a model that it changes."""
    if form != "primitives" and not frn_sites(model):
        result = fuse_loaded(model, form)
        if not result.fused:
            text = "lower: no FRN was found; the model is left as it is, which is its form"
            warnings.warn(f"{text} {form!r}, too.{reasons(result.skipped)}", FrnWarning, 3)
    else:
        set_form(model, form, target=target)
