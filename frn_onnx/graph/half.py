"""Half precision: float16 and bfloat16 files whose FRN statistics stay in float32.

The conversion itself is ONNX Runtime's float16 tool, which knows what each standard op takes.
What it does not know is done here: FRN (its parameters stay float32, and FRN written in standard
ops is fused first, since the square of a float16 overflows from 256), functions (inlined first),
Constant nodes that hold a plain number, and bfloat16.
"""

from collections.abc import Collection
from typing import Any, Literal, get_args

import ml_dtypes
import numpy as np
import onnx
import onnx.inliner
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from frn_onnx.errors import ArgumentError, ModelError, missing_dependency
from frn_onnx.graph import model_io, scopes, structure
from frn_onnx.graph.forms import lower_nodes
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.inputs import remove_unused
from frn_onnx.graph.names import Names

_TAG = "frn_onnx.convert"

HalfType = Literal["float16", "bfloat16"]


def convert(
    model: model_io.Source,
    to: HalfType = "float16",
    *,
    keep_io_types: bool | Collection[str] = True,
) -> onnx.ModelProto:
    """A portable file that computes in half precision, but for the statistics of FRN.

    Args:
        model: path of an ONNX file, ``onnx.ModelProto`` or ``onnx_ir.Model`` in float32, in any
            form; FRN in standard ops is fused first. Left as it is.
        to: ``"float16"`` or ``"bfloat16"``.
        keep_io_types: True leaves the types of inputs and outputs as they are, False makes
            float32 ones half as well; names leave only those inputs and outputs.

    Returns:
        A new model. gamma, beta, tau and per-channel epsilons are float32, all other float32
        weights half, except where an op does not take them. Model-local functions are inlined.

    Raises:
        ArgumentError: there is no such type, or no input or output of a name given.
        ModelError: the model cannot be read or is invalid, or an op does not take bfloat16.
        DependencyError: ONNX Runtime, which brings the converter, is not installed.

    Example:
        >>> onnx.save(frn_onnx.graph.convert("model.onnx", "float16"), "half.onnx")
    """
    if to not in get_args(HalfType):
        raise ArgumentError(f"to must be one of {', '.join(get_args(HalfType))}, received {to!r}")
    proto = fuse(model, form="custom").model
    kept = _kept(proto, keep_io_types)
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
        lower_nodes(proto, "custom")  # states the types of what was in functions
    _spell_out_constants(proto)
    parameters = _detach_parameters(proto)
    original = _tensors(proto)
    if to == "bfloat16":
        _refuse_float16(proto)
    proto = _with_types(proto)
    proto = _converter()(proto, keep_io_types=kept, disable_shape_infer=True)
    if to == "bfloat16":
        _to_bfloat16(proto, original)
    _attach_parameters(proto, parameters, original)
    for graph in [scope.body for scope in scopes.scopes(proto)][::-1]:
        structure.sort(graph)
    if to == "bfloat16":
        _check_types(proto)
    lower_nodes(proto, "portable")
    return proto


def _kept(model: onnx.ModelProto, keep: bool | Collection[str]) -> bool | list[str]:
    """What the converter takes as keep_io_types."""
    if isinstance(keep, bool):
        return keep
    names = {value.name for value in (*model.graph.input, *model.graph.output)}
    unknown = sorted(set([keep] if isinstance(keep, str) else keep) - names)
    if unknown:
        raise ArgumentError(
            f"keep_io_types: the model has no input or output called {', '.join(unknown)}; "
            f"expected some of {', '.join(sorted(names))}"
        )
    return [keep] if isinstance(keep, str) else list(keep)


def _converter() -> Any:
    try:
        from onnxruntime.transformers import float16
    except ImportError as error:
        raise missing_dependency("onnxruntime", "cpu", "Converting to half precision") from error
    return float16.convert_float_to_float16


def _spell_out_constants(model: onnx.ModelProto) -> None:
    """Writes Constant nodes that hold a number or a list of them as tensors, in place."""
    for scope in scopes.scopes(model):
        for node in scope.body.node:
            for attribute in node.attribute if node.op_type == "Constant" else ():
                if attribute.name in ("value_float", "value_floats"):
                    value = np.asarray(helper.get_attribute_value(attribute), np.float32)
                    tensor = numpy_helper.from_array(value)
                    attribute.CopyFrom(helper.make_attribute("value", tensor))


def _tensors(model: onnx.ModelProto) -> dict[str, TensorProto]:
    """A copy of every float32 tensor: by name, or by its node's output and its attribute."""
    found = {}
    for scope in scopes.scopes(model):
        if isinstance(scope.body, onnx.GraphProto):
            found.update({t.name: t for t in scope.body.initializer})
        found.update(_attribute_tensors(scope))
    copies = {}
    for key, tensor in found.items():
        if tensor.data_type == TensorProto.FLOAT:
            copies[key] = onnx.TensorProto()
            copies[key].CopyFrom(tensor)
    return copies


def _attribute_tensors(scope: scopes.Scope) -> dict[str, TensorProto]:
    """By the name of the node's output; that is the name of a constant, too."""
    return {
        node.output[0]: attribute.t
        for node in scope.body.node
        for attribute in node.attribute
        if attribute.type == AttributeProto.TENSOR
    }


def _detach_parameters(model: onnx.ModelProto) -> list[list[str]]:
    """Takes gamma, beta, tau and epsilon from all FRN nodes, which get a number instead."""
    parameters: list[list[str]] = []
    for site in scopes.frn_sites(model):
        site.node.metadata_props.add(key=_TAG, value=str(len(parameters)))
        parameters.append(list(site.node.input[1:]))
        del site.node.input[1:]
    return parameters


def _attach_parameters(
    model: onnx.ModelProto, parameters: list[list[str]], original: dict[str, TensorProto]
) -> None:
    """Gives FRN nodes their parameters back, as float32."""
    names = Names(model)
    initializers = model.graph.initializer
    float32 = {t.name: t.name for t in initializers if t.data_type == TensorProto.FLOAT}
    cast: dict[tuple[scopes.Scope, str], str] = {}
    for site in scopes.frn_sites(model):
        tag = next(entry for entry in site.node.metadata_props if entry.key == _TAG)
        site.node.metadata_props.remove(tag)
        for name in parameters[int(tag.value)]:
            given = float32.get(name, name)
            if name in original and name not in float32:
                given = float32[name] = names.free(f"{name}_float32")
                tensor = initializers.add()
                tensor.CopyFrom(original[name])
                tensor.name = given
            elif name and site.scope.constant(name) is None:
                key = (site.scope, name)
                if key not in cast:
                    cast[key] = names.free(f"{name}_float32")
                    node = helper.make_node("Cast", [name], [cast[key]], to=TensorProto.FLOAT)
                    site.scope.body.node.append(node)
                given = cast[key]
            site.node.input.append(given)
    remove_unused(model, {name for inputs in parameters for name in inputs})


def _with_types(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with inferred types of all values, which the converter depends on."""
    light, emptied = model_io.without_weights(model)
    inferred = onnx.shape_inference.infer_shapes(light)
    # An initializer's type is its own; stated twice, the converter would change it twice.
    constants = {tensor.name for tensor in inferred.graph.initializer}
    stated = [v for v in inferred.graph.value_info if v.name not in constants]
    del inferred.graph.value_info[:]
    inferred.graph.value_info.extend(stated)
    weights = {tensor.name: tensor for _, tensor in emptied}
    for tensor in inferred.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(weights[tensor.name])
    return inferred


def _refuse_float16(model: onnx.ModelProto) -> None:
    values = (*model.graph.input, *model.graph.output, *model.graph.value_info)
    types = [value.type.tensor_type.elem_type for value in values]
    types += [tensor.data_type for tensor in scopes.tensors(model)]
    if TensorProto.FLOAT16 in types:
        raise ModelError(
            "the model is in float16 in part, whose rounding bfloat16 cannot take back; convert "
            "the float32 model"
        )


def _to_bfloat16(model: onnx.ModelProto, original: dict[str, TensorProto]) -> None:
    """Makes what the converter made float16 bfloat16, in place, from the values it began with."""
    half = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    for scope in scopes.scopes(model):
        body = scope.body
        tensors = _attribute_tensors(scope)
        tensors.update({t.name: t for t in body.initializer})
        for key, tensor in tensors.items():
            if tensor.data_type == half[0]:
                values = numpy_helper.to_array(original.get(key, tensor)).astype(ml_dtypes.bfloat16)
                tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
        for value in (*body.input, *body.output, *body.value_info):
            for type_ in (value.type, value.type.sequence_type.elem_type):
                if type_.tensor_type.elem_type == half[0]:
                    type_.tensor_type.elem_type = half[1]
        for node in body.node:
            for attribute in node.attribute:
                if attribute.name in ("to", "dtype") and attribute.i == half[0]:
                    attribute.i = half[1]


def _check_types(model: onnx.ModelProto) -> None:
    """Which ops take bfloat16 depends on the opset."""
    try:
        light, _ = model_io.without_weights(model)
        onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"an op of the model does not take bfloat16 at opset {scopes.opset(model)}: {error}; "
            "many take it from opset 22 on: convert the model with onnx.version_converter first"
        ) from error
