"""The FRN op for ONNX's own tools: its checker, its shape inference, its documentation."""

import threading

import onnx
from onnx import TensorProto, helper
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext, InferenceError

from frn_onnx import op
from frn_onnx.errors import ShapeError

_PARAMETERS = {
    "gamma": "Scale: one value per channel, shaped to broadcast along the channel axis only.",
    "beta": "Offset; shape as gamma.",
    "tau": "Threshold of the TLU; shape as gamma. Absent: no threshold.",
}
_SINGLE = OpSchema.FormalParameterOption.Single
_OPTIONAL = OpSchema.FormalParameterOption.Optional
_LOCK = threading.Lock()


def register_onnx_schema() -> None:
    """Makes ``onnx.checker`` and ``onnx.shape_inference`` know the FRN op, in this process.

    They then check FRN nodes as they do standard ones, and infer shapes through them in files
    of the form ``custom``; portable files say both themselves. Calling it again does nothing.

    Example:
        >>> frn_onnx.register_onnx_schema()
        >>> onnx.checker.check_model("custom.onnx", full_check=True)
    """
    with _LOCK:
        if not onnx.defs.has(op.OP_TYPE, op.DOMAIN):
            onnx.defs.register_schema(_schema())


def _schema() -> OpSchema:
    parameters = [
        OpSchema.FormalParameter(
            name, "P", text, param_option=_OPTIONAL if i >= op.REQUIRED_INPUTS else _SINGLE
        )
        for i, (name, text) in enumerate(_PARAMETERS.items(), start=1)
    ]
    types = [_type_name(t) for t in op.DTYPES]
    schema = OpSchema(
        op.OP_TYPE,
        op.DOMAIN,
        op.VERSION,
        "Filter Response Normalization and TLU, arXiv 1911.09737: "
        "Y = max(gamma * X / sqrt(mean(X**2) + epsilon) + beta, tau), the mean taken over axes.",
        inputs=[
            OpSchema.FormalParameter("X", "T", "Rank 3, 4 or 5; axis 0 is the batch."),
            *parameters,
            OpSchema.FormalParameter(
                "epsilon",
                "tensor(float)",
                "Epsilon per channel; shape as gamma. Overrides the attribute.",
                param_option=_OPTIONAL,
            ),
        ],
        outputs=[OpSchema.FormalParameter("Y", "T", "Shape and type of X.")],
        type_constraints=[
            ("T", types, "Activations."),
            ("P", types, "Parameters: the type of X, or float."),
        ],
        attributes=[
            OpSchema.Attribute(
                "axes",
                OpSchema.AttrType.INTS,
                "The spatial axes; the one axis left beside 0 is the channel axis.",
            ),
            OpSchema.Attribute(
                "epsilon", helper.make_attribute("epsilon", op.DEFAULT_EPSILON), "Not negative."
            ),
        ],
    )
    schema.set_type_and_shape_inference_function(_infer)
    return schema


def _type_name(elem_type: int) -> str:
    return f"tensor({TensorProto.DataType.Name(elem_type).lower()})"


def _infer(context: InferenceContext) -> None:
    """Y is as X; axes, rank and channels must fit each other."""
    x = context.get_input_type(0)
    if x is None:
        return
    context.set_output_type(0, x)
    axes = context.get_attribute("axes")
    if axes is None or not x.tensor_type.HasField("shape"):
        return
    try:
        spatial = op.normalize_axes(axes.ints, len(x.tensor_type.shape.dim))
    except ShapeError as error:
        raise InferenceError(str(error)) from error
    for position in range(1, context.get_num_inputs()):
        value = context.get_input_type(position)
        if value is not None:
            _check_parameter(op.INPUTS[position], value.tensor_type, x.tensor_type, spatial)


def _check_parameter(
    name: str, value: onnx.TypeProto.Tensor, x: onnx.TypeProto.Tensor, axes: tuple[int, ...]
) -> None:
    if value.elem_type not in (x.elem_type, TensorProto.FLOAT):
        raise InferenceError(
            f"FRN: {name} must be of the type of X, {_type_name(x.elem_type)}, or tensor(float), "
            f"received {_type_name(value.elem_type)}"
        )
    if not value.HasField("shape"):
        return
    channels = x.shape.dim[op.channel_axis(axes)].dim_value
    expected = op.param_shape(axes, channels)
    sizes = tuple(dim.dim_value for dim in value.shape.dim)
    if len(sizes) != len(expected) or (channels and sizes[0] not in (0, channels)):
        raise InferenceError(
            f"FRN: {name} must have shape {expected} for X of shape "
            f"{tuple(dim.dim_value or dim.dim_param for dim in x.shape.dim)} and axes {axes}, "
            f"received {sizes}"
        )
