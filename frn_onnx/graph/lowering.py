"""lower: a model with FRN in another form."""

import onnx

from frn_onnx import op
from frn_onnx.errors import ModelError
from frn_onnx.graph import model_io, scopes
from frn_onnx.graph.forms import Form, check_form, lower_nodes
from frn_onnx.graph.fusion import fuse


def lower(model: model_io.Source, form: Form) -> onnx.ModelProto:
    """The model in another form; only its FRN nodes change, and what says how to compute them.

    A model without FRN nodes is in the form ``primitives``: it is given back as it is when that
    is the form asked for; otherwise its FRN layers are found with :func:`frn_onnx.fuse` first.

    Args:
        model: path of an ONNX file, ``onnx.ModelProto`` or ``onnx_ir.Model``; left as it is.
        form: ``"portable"``, ``"custom"`` or ``"primitives"``.

    Returns:
        A new model that shares nothing with the one given.

    Raises:
        ArgumentError: there is no such form.
        ModelError: the model cannot be read or is invalid; it holds no FRN at all and another
            form than primitives is asked for; its opset is older than 8 and the form needs
            the body in standard ops.

    Example:
        >>> onnx.save(frn_onnx.lower("model.onnx", "primitives"), "for_openvino.onnx")
    """
    check_form(form)
    proto = model_io.load(model)
    if form == "primitives" or scopes.frn_sites(proto):
        lower_nodes(proto, form)
        return proto

    result = fuse(proto, form=form)
    if not result.fused:
        raise ModelError(
            f"the model holds no {op.DOMAIN}::{op.OP_TYPE} node, and no FRN written in standard "
            f"ops, so there is nothing to bring into the form {form!r}; fuse(model).skipped "
            "tells what looks like FRN and why it is not"
        )
    return result.model
