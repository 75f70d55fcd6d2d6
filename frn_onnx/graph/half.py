"""Half precision: float16 and bfloat16 files whose FRN statistics stay in float32.

FRN in standard ops is fused, functions are inlined, constants become initializers; then what ops
take in half precision becomes so (narrowing.py), but for the parameters of FRN and for what other
norms make of squares (precision.py).
"""

import os
from collections.abc import Callable, Collection
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, get_args

import onnx
import onnx_ir as ir

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import functions, model_io, protos, sites, tensors
from frn_onnx.graph.batch import set_batch
from frn_onnx.graph.conv_transpose import fix_conv_transpose
from frn_onnx.graph.edit import (
    FreeNames,
    add_initializer,
    constant,
    raise_ir_version,
    sort,
    take_over,
)
from frn_onnx.graph.forms import set_form
from frn_onnx.graph.fusion import fuse_in_place
from frn_onnx.graph.narrowing import narrow
from frn_onnx.graph.standard import INITIALIZERS_ALONE

HalfType = Literal["float16", "bfloat16"]
Provider = Literal["cuda"]


@dataclass(frozen=True)
class Conversion:
    """What a model becomes: the arguments that :func:`convert` has beside the model.

    Attributes:
        to: ``"float16"`` or ``"bfloat16"``.
        keep_io_types: True leaves the types of inputs and outputs as they are, False makes
            float32 ones half as well; names leave only those inputs and outputs. Sequences and
            optional tensors are left in any case.
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
        weights half, except where an op does not take them, and where another norm than FRN
        computes with squares. What casts put into the other half type stays in it. Model-local
        functions are inlined.

    Raises:
        ArgumentError: there is no such type or provider, no input or output of a name given, or
            an input whose first axis has another size than ``batch``.
        ModelError: the model cannot be read or is invalid, or an op does not take bfloat16.

    Example:
        >>> onnx.save(frn_onnx.graph.convert("model.onnx", "float16"), "half.onnx")
    """
    conversion = Conversion(to, keep_io_types=keep_io_types, provider=provider, batch=batch)
    graph = model_io.load(model)
    convert_in_place(graph, conversion)
    return protos.to_proto(graph)


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
    with model_io.rewriting(source, path) as model:
        convert_in_place(model, conversion)


def convert_in_place(model: ir.Model, conversion: Conversion) -> None:
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
    raise_ir_version(model, INITIALIZERS_ALONE)
    types, given = _types(model), _given(model)
    if ir.DataType.DOUBLE in types and ir.DataType.FLOAT not in types:
        raise ModelError(
            "the model computes in float64, and nothing in it is float32, which is what becomes "
            f"{to}; make it float32 first"
        )
    for other in set(get_args(HalfType)) - {to}:
        if ir.DataType[other.upper()] in given:
            raise ModelError(
                f"the model is in {other} in part, whose rounding {to} cannot take back; convert "
                "the float32 model"
            )
    _store_constants(model)
    _make_constant_outputs(model)
    kind = ir.DataType[to.upper()]
    narrow(model, kind, keep=kept)
    if kind == ir.DataType.BFLOAT16:
        _check_bfloat16(model)
    if conversion.provider == "cuda":
        fix_conv_transpose(model)
    set_form(model, "portable")


def _kept(model: ir.Model, keep: bool | Collection[str]) -> Callable[[str], bool]:
    """Whether an input or output of a name stays float32."""
    if isinstance(keep, bool):
        return lambda _: keep
    if not isinstance(keep, Collection):
        raise ArgumentError(
            f"keep_io_types must be True, False, or names of inputs and outputs, received {keep!r}"
        )
    names = {value.name for value in (*model.graph.inputs, *model.graph.outputs)}
    wanted = {keep} if isinstance(keep, str) else set(keep)
    if unknown := sorted(wanted - names):
        raise ArgumentError(
            f"keep_io_types: the model has no input or output called {', '.join(unknown)}; "
            f"expected some of {', '.join(sorted(names))}"
        )
    return lambda name: name in wanted


def _types(model: ir.Model) -> set[ir.DataType | None]:
    values = {value.dtype for value in sites.values(model)}
    return values | {tensor.dtype for tensor in sites.tensors(model)}


def _given(model: ir.Model) -> set[ir.DataType | None]:
    """The types of what a model does not make by itself."""
    return {v.dtype for v in model.graph.inputs} | {t.dtype for t in sites.tensors(model)}


def _store_constants(model: ir.Model) -> None:
    """Makes initializers of Constant nodes that hold a number, a list of them, or a tensor."""
    for scope in list(sites.scopes(model)):
        for node in list(scope.graph):
            tensor = constant(node.outputs[0]) if node.op_type == "Constant" else None
            if tensor is None or tensor.dtype != ir.DataType.FLOAT:
                continue
            old = node.outputs[0]
            value = add_initializer(scope.graph, old.name, tensors.twin(tensor))
            old.replace_all_uses_with(value, replace_graph_outputs=True)
            scope.graph.remove(node, safe=True)


def _make_constant_outputs(model: ir.Model) -> None:
    """Has a node make each output that is an initializer, behind which a Cast may stand."""
    names = FreeNames(model)
    for graph in [scope.graph for scope in sites.scopes(model)]:
        for value in [v for v in dict.fromkeys(graph.outputs) if v.is_initializer()]:
            if value.is_graph_input() or value.graph is not graph:
                continue
            name = names.free(f"{value.name}/value")
            constant = add_initializer(graph, name, tensors.twin(value.const_value))
            same = ir.node("Identity", [constant], name=names.free(f"{value.name}/Identity"))
            del graph.initializers[value.name]
            value.const_value = None
            take_over(value, same.outputs[0])
            graph.append(same)
    sort(model)


def _check_bfloat16(model: ir.Model) -> None:
    """Which ops take bfloat16 depends on the opset.

    Raises:
        ModelError: one of the model's does not.
    """
    try:
        light = protos.light_proto(model)
        onnx.shape_inference.infer_shapes(light, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"an op of the model does not take bfloat16 at opset {sites.opset(model)}: {error}; "
            "many take it from opset 22 on: convert the model with onnx.version_converter first"
        ) from error
