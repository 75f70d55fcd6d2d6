"""What is in an ONNX file: its form, its FRN nodes, and what it needs to run."""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import infer, model_io
from frn_onnx.graph.edit import constant
from frn_onnx.graph.forms import form_of, set_form
from frn_onnx.graph.fusion import fuse_in_place
from frn_onnx.graph.operands import Operands
from frn_onnx.graph.sites import Site, frn_functions, frn_sites, opset, scopes

# Domains that ONNX Runtime brings along.
_BUILT_IN_DOMAINS = ("", "ai.onnx.ml")
_BUILT_IN_PREFIX = "com.microsoft"


@dataclass(frozen=True)
class Parameter:
    """gamma, beta, tau or a per-channel epsilon of an FRN node, where it is a constant.

    Attributes:
        name: of the tensor.
        dtype: for example "float16".
        shape: as stored.
        minimum, maximum: over the channels; NaN counts as both.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    minimum: float
    maximum: float


@dataclass(frozen=True)
class FrnNode:
    """One FRN node.

    Attributes:
        name: with the subgraph or function that it is in.
        layout: for example "NCHW".
        axes: the spatial axes.
        shape: of X and Y; a symbol or None where a size is open; None if even the rank is.
        dtype: of X, where it is known.
        channels: C; None where it is unknown.
        residual: whether a residual is added in the node.
        epsilon: the attribute; a per-channel one, which overrides it, is in ``parameters``.
        parameters: "gamma", "beta" and, where the node has them, "tau" and "epsilon"; the
            value is None for one that is not a constant.
    """

    name: str
    layout: str
    axes: tuple[int, ...]
    shape: tuple[int | str | None, ...] | None
    dtype: str | None
    channels: int | None
    residual: bool
    epsilon: float
    parameters: Mapping[str, Parameter | None]


@dataclass(frozen=True)
class ModelInfo:
    """What is in a model.

    Attributes:
        name: the path, or the graph's name.
        form: "portable", "custom" or "primitives".
        opset: version of the standard opset.
        opsets: version of every domain imported.
        ir_version: of the ONNX file format.
        producer: name and version of what wrote the file.
        size_bytes: of the weights and the graph together.
        external_files: the files that weights are stored in.
        inputs, outputs: name and type, such as "float32 [N, 3, 224, 224]".
        nodes: how many, subgraphs and functions included, the FRN op's own function not.
        ops: how many of each op, the most frequent first.
        frn: the FRN nodes.
        fusible: how many FRN layers are written in standard ops, which ``fuse`` would find.
        runs_without_plugin: whether ONNX Runtime alone can run the FRN nodes.
        foreign_domains: domains of ops that neither ONNX Runtime nor this package has, and
            for which the file has no function.
    """

    name: str
    form: str
    opset: int
    opsets: Mapping[str, int]
    ir_version: int
    producer: str
    size_bytes: int
    external_files: Sequence[str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    nodes: int
    ops: Mapping[str, int]
    frn: Sequence[FrnNode]
    fusible: int
    runs_without_plugin: bool
    foreign_domains: Sequence[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON."""
        return dataclasses.asdict(self)


def inspect(model: model_io.Source) -> ModelInfo:
    """What is in a model.

    Args:
        model: path of an ONNX file, ``onnx.ModelProto`` or ``onnx_ir.Model``; left as it is.

    Raises:
        ModelError: the model cannot be read or is invalid.
    """
    graph = model_io.load(model)
    is_path = isinstance(model, str | os.PathLike)
    bodies = frn_functions(graph)
    nodes = [node for s in scopes(graph) if s.function not in bodies for node in s.graph]
    ops = collections.Counter(node.op_type for node in nodes)
    local = {(domain, name) for domain, name, _ in graph.functions}
    foreign = {
        node.domain
        for node in nodes
        if (node.domain, node.op_type) not in local and _is_foreign(node.domain)
    }
    canonical = graph.clone()
    operands = set_form(canonical, "custom")
    form = form_of(graph)
    return ModelInfo(
        name=os.fspath(model) if is_path else graph.graph.name or "",  # type: ignore[arg-type]
        form=form,
        opset=opset(graph),
        opsets=dict(graph.opset_imports),
        ir_version=graph.ir_version,
        producer=f"{graph.producer_name or ''} {graph.producer_version or ''}".strip(),
        size_bytes=model_io.byte_size(graph),
        external_files=sorted(map(str, model_io.external_files(model))) if is_path else [],  # type: ignore[arg-type]
        inputs={v.name: _type_text(v) for v in graph.graph.inputs if not v.is_initializer()},
        outputs={v.name: _type_text(v) for v in graph.graph.outputs},
        nodes=ops.total(),
        ops=dict(ops.most_common()),
        frn=list(map(_node, frn_sites(canonical), operands)),
        fusible=len(fuse_in_place(graph)[0]),
        runs_without_plugin=form != "custom",
        foreign_domains=sorted(foreign),
    )


def shape_text(shape: Sequence[int | str | None] | None) -> str:
    """A shape in words: open sizes are question marks, an unknown rank is dots.

    "unk__7" is what tf2onnx and ONNX write for an open size.
    """
    if shape is None:
        return "..."
    words = ["?" if size is None else str(size) for size in shape]
    return "x".join("?" if word.startswith("unk__") else word for word in words)


def _node(site: Site, known: Operands) -> FrnNode:
    axes, epsilon = site.attributes()
    shape = known.x_shapes[0] if len(known.x_shapes) == 1 else None
    types = [dtype.numpy().name for dtype in sorted(known.x_types)]
    return FrnNode(
        name=site.label,
        layout=op.layout(axes),
        axes=axes,
        shape=shape,
        dtype=" and ".join(types) or None,
        channels=known.channels or None,
        residual=site.node.op_type == op.RESIDUAL_OP_TYPE,
        epsilon=epsilon,
        parameters={name: _parameter(value) for name, value in site.parameters().items()},
    )


def _parameter(value: ir.Value) -> Parameter | None:
    tensor = constant(value)
    if tensor is None:
        return None
    values = tensor.numpy().astype(np.float64)
    low, high = (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)
    return Parameter(
        value.name or "", tensor.dtype.numpy().name, tuple(tensor.shape.numpy()), low, high
    )


def _is_foreign(domain: str) -> bool:
    known = (*_BUILT_IN_DOMAINS, op.DOMAIN)
    return domain not in known and not domain.startswith(_BUILT_IN_PREFIX)


def _type_text(value: ir.Value) -> str:
    type_ = value.type
    if not isinstance(type_, ir.TensorType) or type_.dtype == ir.DataType.UNDEFINED:
        kind = type(type_).__name__.removesuffix("Type").lower()
        unknown = type_ is None or isinstance(type_, ir.TensorType)
        return "unknown" if unknown else {"sparsetensor": "sparse_tensor"}.get(kind, kind)
    shape = None if value.shape is None else infer.sizes(value.shape)
    return f"{type_.dtype.numpy().name} {shape_text(shape)}"
