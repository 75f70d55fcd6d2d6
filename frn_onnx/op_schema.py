"""The FRN ops for ONNX's own tools: its checker, its shape inference, its documentation."""

import functools
import threading
from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper
from onnx.defs import OpSchema
from onnx.shape_inference import InferenceContext, InferenceError

from frn_onnx import op
from frn_onnx.errors import ShapeError

_INPUTS = {
    "X": "Rank 3, 4 or 5; axis 0 is the batch.",
    "residual": "What is added; type and shape of X, nothing is broadcast.",
    "gamma": "Scale: one value per channel, shaped to broadcast along the channel axis only.",
    "beta": "Offset; shape as gamma.",
    "tau": "Threshold of the TLU; shape as gamma. Absent: no threshold.",
    "epsilon": "Epsilon per channel; shape as gamma. Overrides the attribute.",
}
_FORMULAS = {
    op.OP_TYPE: "Y = max(gamma * X / sqrt(mean(X**2) + epsilon) + beta, tau)",
    op.RESIDUAL_OP_TYPE: "Y = max(gamma * X / sqrt(mean(X**2) + epsilon) + beta + residual, tau)",
}
_TYPES = {"X": "T", "residual": "T", "epsilon": "tensor(float)"}
_SINGLE = OpSchema.FormalParameterOption.Single
_OPTIONAL = OpSchema.FormalParameterOption.Optional
_LOCK = threading.Lock()


def register_onnx_schema() -> None:
    """Makes ``onnx.checker`` and ``onnx.shape_inference`` know the FRN ops, in this process.

    They then check FRN nodes as they do standard ones, and infer shapes through them in files
    of the form ``custom``; portable files say both themselves. Calling it again does nothing.

    Example:
        >>> frn_onnx.register_onnx_schema()
        >>> onnx.checker.check_model("custom.onnx", full_check=True)
    """
    with _LOCK:
        for op_type in op.SIGNATURES:
            if not onnx.defs.has(op_type, op.DOMAIN):
                onnx.defs.register_schema(_schema(op_type))


def _schema(op_type: str) -> OpSchema:
    required = op.required_inputs(op_type)
    inputs = [
        OpSchema.FormalParameter(
            name,
            _TYPES.get(name, "P"),
            _INPUTS[name],
            param_option=_SINGLE if position < required else _OPTIONAL,
        )
        for position, name in enumerate(op.SIGNATURES[op_type])
    ]
    types = [_type_name(t) for t in op.DTYPES]
    schema = OpSchema(
        op_type,
        op.DOMAIN,
        op.VERSION,
        "Filter Response Normalization and TLU, arXiv 1911.09737: "
        f"{_FORMULAS[op_type]}, the mean taken over axes.",
        inputs=inputs,
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
    schema.set_type_and_shape_inference_function(functools.partial(_infer, op_type))
    return schema


def _type_name(elem_type: int) -> str:
    return f"tensor({TensorProto.DataType.Name(elem_type).lower()})"


def _infer(op_type: str, context: InferenceContext) -> None:
    """Y is as X, and so is the residual; axes, rank and channels must fit each other."""
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
        name, value = op.SIGNATURES[op_type][position], context.get_input_type(position)
        if value is None:
            continue
        if name == "residual":
            _check_residual(value.tensor_type, x.tensor_type)
        else:
            _check_parameter(name, value.tensor_type, x.tensor_type, spatial)


def _check_residual(value: onnx.TypeProto.Tensor, x: onnx.TypeProto.Tensor) -> None:
    sizes = [[dim.dim_value for dim in tensor.shape.dim] for tensor in (x, value)]
    known = value.HasField("shape")
    if value.elem_type != x.elem_type or (known and not _may_be_equal(*sizes)):
        raise InferenceError(
            f"FRN: residual must be as X, {_type_name(x.elem_type)} of shape {sizes[0]}, received "
            f"{_type_name(value.elem_type)} of shape {sizes[1]} (0: open)"
        )


def _may_be_equal(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two shapes can be the same one; sizes that are open are 0."""
    return len(a) == len(b) and all(m == n or 0 in (m, n) for m, n in zip(a, b, strict=True))


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
