"""Half precision: float16 and bfloat16 files whose FRN statistics stay in float32.

The conversion itself is ONNX Runtime's float16 tool, which knows what each standard op takes.
What it does not know is done here: FRN (its parameters stay float32, and FRN written in standard
ops is fused first, since the square of a float16 overflows from 256), functions (inlined first),
Constant nodes that hold a plain number, and bfloat16.
"""

import os
import warnings
from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto

from frn_onnx.errors import ArgumentError, FrnWarning, ModelError, missing_dependency
from frn_onnx.graph import (
    bfloat16,
    functions,
    half_parameters,
    infer,
    model_io,
    protos,
    sites,
    tensors,
    weight_files,
)
from frn_onnx.graph.batch import set_batch
from frn_onnx.graph.conv_transpose import fix_conv_transpose
from frn_onnx.graph.edit import FreeNames, raise_ir_version, sort, take_over
from frn_onnx.graph.forms import set_form
from frn_onnx.graph.fusion import fuse_in_place

HalfType = Literal["float16", "bfloat16"]
Provider = Literal["cuda"]

# Where an initializer need not be an input of the model.
_IR_VERSION = 4
# From here on, scales of quantisation may be of half precision.
_HALF_SCALES_OPSET = 19
# ONNX Runtime draws these in float32 and float64 alone on the CPU.
_DRAWING = ("RandomNormal", "RandomUniform")
_CHUNK = 1 << 18
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class Conversion:
    """What a model becomes: the arguments that :func:`convert` has beside the model.

    Attributes:
        to: ``"float16"`` or ``"bfloat16"``.
        keep_io_types: True leaves the types of inputs and outputs as they are, False makes
            float32 ones half as well; names leave only those inputs and outputs.
        provider: ``"cuda"`` for a file that ONNX Runtime's CUDA execution provider runs as a whole:
            one-sided pads are taken out of every ConvTranspose.
        batch: the size of the first axis of every input, which is open otherwise; CUDA graphs
            need one.

    Raises:
        ArgumentError: there is no such type or provider.
    """

    to: HalfType
    _: KW_ONLY
    keep_io_types: bool | Collection[str] = True
    provider: Provider | None = None
    batch: int | None = None

    def __post_init__(self) -> None:
        if self.to not in get_args(HalfType):
            expected = ", ".join(get_args(HalfType))
            raise ArgumentError(f"to must be one of {expected}, received {self.to!r}")
        if self.provider not in (None, *get_args(Provider)):
            raise ArgumentError(f"provider must be 'cuda' or None, received {self.provider!r}")


def convert(
    model: model_io.Source,
    to: HalfType = "float16",
    *,
    keep_io_types: bool | Collection[str] = True,
    provider: Provider | None = None,
    batch: int | None = None,
) -> onnx.ModelProto:
    """A portable file that computes in half precision, but for the statistics of FRN.

    Args:
        model: path of an ONNX file, ``onnx.ModelProto`` or ``onnx_ir.Model`` in float32, in any
            form; FRN in standard ops is fused first. Left as it is.
        to, keep_io_types, provider, batch: as :class:`Conversion` has them.

    Returns:
        A new model. gamma, beta, tau and per-channel epsilons are float32, all other float32
        weights half, except where an op does not take them. Model-local functions are inlined.

    Raises:
        ArgumentError: there is no such type or provider, no input or output of a name given, or
            an input whose first axis has another size than ``batch``.
        ModelError: the model cannot be read or is invalid, or an op does not take bfloat16.
        DependencyError: ONNX Runtime, which brings the converter, is not installed.

    Example:
        >>> onnx.save(frn_onnx.graph.convert("model.onnx", "float16"), "half.onnx")
    """
    conversion = Conversion(to, keep_io_types=keep_io_types, provider=provider, batch=batch)
    return protos.to_proto(convert_loaded(model_io.load(model), conversion))


def convert_file(
    source: str | os.PathLike,
    path: str | os.PathLike,
    to: HalfType = "float16",
    **options: Any,
) -> None:
    """:func:`convert`, with its options, from file to file, which need not fit into memory.

    Raises:
        ModelError: also where ``path`` cannot be written.
    """
    conversion = Conversion(to, **options)
    model_io.check_output(path, source)
    graph = model_io.load(source)
    external_data = weight_files.are_in(graph)
    model_io.save(convert_loaded(graph, conversion), path, external_data=external_data)


def convert_loaded(model: ir.Model, conversion: Conversion) -> ir.Model:
    """:func:`convert` for a model that it changes; weights are converted when they are written."""
    to = conversion.to
    kept = _kept(model, conversion.keep_io_types)
    if model.functions:
        set_form(model, "custom")
        functions.inline(model)
    if conversion.batch is not None:
        set_batch(model, conversion.batch)
    fuse_in_place(model)
    set_form(model, "custom")  # states the types behind FRN nodes
    raise_ir_version(model, _IR_VERSION)
    types = _types(model)
    if ir.DataType.DOUBLE in types and ir.DataType.FLOAT not in types:
        raise ModelError(
            "the model computes in float64, and nothing in it is float32, which is what becomes "
            f"{to}; make it float32 first"
        )
    if to == "bfloat16" and ir.DataType.FLOAT16 in types:
        raise ModelError(
            "the model is in float16 in part, whose rounding bfloat16 cannot take back; convert "
            "the float32 model"
        )
    _spell_out_constants(model)
    half_parameters.set_aside(model)
    _make_constant_outputs(model)
    outputs = [value.name for value in model.graph.outputs]
    # One that is an input, or another output, is so again in the end.
    apart = dict.fromkeys(value for value in model.graph.outputs if not value.is_graph_input())
    model.graph.outputs[:] = apart
    proto = _float16().convert_float_to_float16(
        _with_types(model),
        keep_io_types=kept,
        disable_shape_infer=True,
        op_block_list=_blocked(sites.opset(model)),
    )
    converted = ir.from_proto(proto)
    for value in sites.values(converted):
        if isinstance(value.type, ir.OptionalType):  # which the converter leaves
            value.type = bfloat16.retyped(value.type, ir.DataType.FLOAT, ir.DataType.FLOAT16)
    by_name = {v.name: v for v in (*converted.graph.inputs, *converted.graph.outputs)}
    converted.graph.outputs[:] = [by_name[name] for name in outputs]
    converted.graph.meta.update(model.graph.meta)
    _fill(converted, model, to)
    if to == "bfloat16":
        bfloat16.take_place(converted, model)
    half_parameters.give_back(converted)
    converted.graph.sort()
    if to == "bfloat16":
        bfloat16.check(converted)
    if conversion.provider == "cuda":
        fix_conv_transpose(converted)
    set_form(converted, "portable")
    return converted


def _kept(model: ir.Model, keep: bool | Collection[str]) -> bool | list[str]:
    """What the converter takes as keep_io_types."""
    if isinstance(keep, bool):
        return keep
    names = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    unknown = sorted(set([keep] if isinstance(keep, str) else keep) - names)
    if unknown:
        raise ArgumentError(
            f"keep_io_types: the model has no input or output called {', '.join(unknown)}; "
            f"expected some of {', '.join(sorted(names))}"
        )
    return [keep] if isinstance(keep, str) else list(keep)


def _float16() -> Any:
    try:
        from onnxruntime.transformers import float16
    except ImportError as error:
        raise missing_dependency("onnxruntime", "cpu", "Converting to half precision") from error
    return float16


def _blocked(opset: int) -> list[str]:
    """Ops that stay float32, by what the converter knows and by their own specification."""
    quantising = ["QuantizeLinear", "DequantizeLinear"] if opset < _HALF_SCALES_OPSET else []
    return [*_float16().DEFAULT_OP_BLOCK_LIST, "DynamicQuantizeLinear", *_DRAWING, *quantising]


def _with_types(model: ir.Model) -> onnx.ModelProto:
    """The model without large weights, with the types of all values, which the converter needs."""
    inferred = infer.inferred(protos.light_proto(model))
    # An initializer's type is its own; stated twice, the converter would change it twice.
    constants = {tensor.name for tensor in inferred.graph.initializer}
    stated = [v for v in inferred.graph.value_info if v.name not in constants]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend(stated)
    # The converter asks for the shape of a weight's values.
    for graph in protos.graph_protos(inferred):
        for tensor in graph.initializer:
            if tensor.data_location == TensorProto.EXTERNAL:
                tensor.ClearField("data_location")
                tensor.dims[:] = [0]
    return inferred


def _types(model: ir.Model) -> set[ir.DataType | None]:
    values = {value.dtype for value in sites.values(model)}
    return values | {tensor.dtype for tensor in sites.tensors(model)}


def _spell_out_constants(model: ir.Model) -> None:
    """Writes Constant nodes that hold a number or a list of them as tensors, in place."""
    for node in model.graph.all_nodes():
        if node.op_type == "Constant" and node.domain == "":
            for name in ("value_float", "value_floats"):
                if name in node.attributes:
                    values = np.asarray(node.attributes.pop(name).value, np.float32)
                    node.attributes.add(ir.AttrTensor("value", ir.Tensor(values)))


def _make_constant_outputs(model: ir.Model) -> None:
    """Has a node make each output that is an initializer: the converter casts what nodes make."""
    names = FreeNames(model)
    for value in model.graph.outputs:
        if value.is_initializer() and not value.is_graph_input():
            constant = ir.Value(name=names.free(f"{value.name}/value"), type=value.type)
            constant.const_value = tensors.twin(value.const_value)
            same = ir.node("Identity", [constant], name=names.free(f"{value.name}/Identity"))
            del model.graph.initializers[value.name]
            value.const_value = None
            take_over(value, same.outputs[0])
            model.graph.register_initializer(constant)
            model.graph.append(same)
    sort(model)


def _fill(converted: ir.Model, original: ir.Model, to: HalfType) -> None:
    """Gives initializers, whose data the converter did not see, those that they had."""
    for scope, twin in zip(sites.scopes(original), sites.scopes(converted), strict=True):
        for name, value in twin.graph.initializers.items():
            tensor = scope.graph.initializers[name].const_value
            if value.const_value.dtype == ir.DataType.FLOAT16 != tensor.dtype:
                tensor = _half(tensor, to)
            value.const_value, value.type = tensor, ir.TensorType(tensor.dtype)
            value.shape = ir.Shape(tensor.shape.numpy())
            for user in value.consumers():
                if user.op_type == "Cast":
                    user.outputs[0].shape = value.shape


def _half(tensor: ir.TensorProtocol, to: HalfType) -> ir.LazyTensor:
    """A float32 tensor in half precision, computed when it is written."""
    from onnxruntime.transformers.float16 import convert_np_to_float16

    dtype = ir.DataType[to.upper()]

    def convert_values() -> ir.Tensor:
        values = tensors.read(tensor).numpy().ravel()
        half = np.empty(values.size, dtype.numpy())
        largest = 0.0
        for start in range(0, values.size, _CHUNK):
            chunk = values[start : start + _CHUNK]
            if to == "float16":
                largest = max(largest, float(np.abs(chunk[np.isfinite(chunk)]).max(initial=0)))
                chunk = convert_np_to_float16(chunk)
            half[start : start + _CHUNK] = chunk.astype(half.dtype)
        if largest > _LARGEST_HALF:
            warnings.warn(
                f"convert: {tensor.name!r} holds {largest:g}, and {_LARGEST_HALF:g} is the largest "
                "number of float16, which stands for it; bfloat16 holds it",
                FrnWarning,
                stacklevel=2,
            )
        return ir.Tensor(half.reshape(tensor.shape.numpy()), dtype)

    lazy = tensors.lazy(tensor, convert_values, dtype)
    lazy.meta[half_parameters.ORIGINAL] = tensor
    return lazy
