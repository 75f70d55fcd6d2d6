"""Whether a graph is one: every name defined, once, no cycles, nodes with what their ops need.

ONNX's own checker asks for more than runs in practice (it rejects files that ONNX Runtime takes
and that are worth fusing), and stops at 2 GiB. This asks for what a rewrite depends on.
"""

import functools
import graphlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import onnx
import onnx_ir as ir
from onnx import AttributeProto, GraphProto

from frn_onnx import op
from frn_onnx.graph import standard
from frn_onnx.graph.protos import defined_names, subgraph_protos

_INT_MAX = 2**31 - 1  # up to which ONNX counts versions of opsets, and inputs
_MOST_INLINED = 1 << 20  # nodes; twenty functions, each of two calls of the one before, are more
# Several of them may be in one byte; no rewrite reads them.
_PACKED = ("UINT4", "INT4", "FLOAT4E2M1", "UINT2", "INT2", "FLOAT6E2M3", "FLOAT6E3M2")
# By which a Constant may hold its value, whatever the opset.
_VALUES = onnx.defs.get_schema("Constant").attributes.keys()
_ELEMENT_TYPES = {kind.value for kind in ir.DataType} - {ir.DataType.UNDEFINED.value}


def problem(model: onnx.ModelProto) -> str | None:
    """What is wrong with the model's graphs, or None. Takes time linear in the nodes."""
    for entry in (*model.opset_import, *(e for f in model.functions for e in f.opset_import)):
        if not 0 <= entry.version <= _INT_MAX:
            return f"it imports version {entry.version} of the opset {entry.domain!r}"
    found = _graph_problem(model.graph, frozenset(), _versions(model.opset_import))
    for function in model.functions:
        found = found or _body_problem(
            list(function.node),
            list(function.input),
            function.output,
            frozenset(),
            function.name,
            _versions(function.opset_import),
        )
    return found or _calls_problem(model)


def _calls_problem(model: onnx.ModelProto) -> str | None:
    """Functions that are there twice, that call themselves, if through others, or that call each
    other so often that nothing could inline them."""
    calls: dict[tuple[str, str, str], Counter[tuple[str, str, str]]] = {}
    for function in model.functions:
        key = (function.domain, function.name, function.overload)
        if key in calls:
            return f"the function {_title(key)} is defined twice"
        calls[key] = Counter()
        nodes = list(function.node)
        while nodes:
            node = nodes.pop()
            calls[key][node.domain, node.op_type, node.overload] += 1
            for _, graph in subgraph_protos(node):
                nodes += graph.node
    known = {key: called.keys() & calls.keys() for key, called in calls.items()}
    try:
        order = list(graphlib.TopologicalSorter(known).static_order())
    except graphlib.CycleError as error:
        return f"functions call each other in a circle: {' -> '.join(map(_title, error.args[1]))}"
    sizes: dict[tuple[str, str, str], int] = {}
    for key in order:
        sizes[key] = sum(sizes.get(name, 1) * count for name, count in calls[key].items())
        if sizes[key] > _MOST_INLINED:
            return (
                f"the function {_title(key)} is {sizes[key]} nodes with those that it calls; "
                f"expected at most {_MOST_INLINED}, since runtimes write out every call"
            )
    return None


def _title(key: tuple[str, str, str]) -> str:
    return "::".join(filter(None, key))


def _versions(imports: Iterable[onnx.OperatorSetIdProto]) -> dict[str, int]:
    return {_domain(entry.domain): entry.version for entry in imports}


def _domain(name: str) -> str:
    """Standard ops may go by their domain's full name."""
    return "" if name == "ai.onnx" else name


def _graph_problem(
    graph: GraphProto, outer: frozenset[str], versions: Mapping[str, int]
) -> str | None:
    given = [value.name for value in graph.input]
    constants = [tensor.name for tensor in graph.initializer]
    constants += [tensor.values.name for tensor in graph.sparse_initializer]
    if twice := _twice(constants):
        return f"the initializer {twice!r} is defined twice in {graph.name!r}"
    # Up to IR version 3 every initializer is an input, too.
    given += set(constants).difference(given)
    for tensor in graph.initializer:
        if found := _tensor_problem(tensor):
            return f"the initializer {tensor.name!r} of {graph.name!r} {found}"
    outputs = [value.name for value in graph.output]
    return _body_problem(list(graph.node), given, outputs, outer, graph.name, versions)


def _body_problem(
    nodes: Sequence[onnx.NodeProto],
    given: Sequence[str],
    outputs: Iterable[str],
    outer: frozenset[str],
    where: str,
    versions: Mapping[str, int],
) -> str | None:
    if twice := _twice(given):
        return f"the input {twice!r} of {where!r} is defined twice"
    known = set(given)
    maker: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in known or name in maker:
                return f"the value {name!r} is defined twice in {where!r}, again by {_label(node)}"
            maker[name] = index
    visible = outer | known | maker.keys()
    reads = []
    for node in nodes:
        for _, graph in subgraph_protos(node) if node.attribute else ():
            found = _graph_problem(graph, visible, versions)
            if found:
                return found
        if found := _node_problem(node, versions):
            return f"{_label(node)} in {where!r} {found}"
        names = _needs(node)
        for name in names - visible:
            return f"{_label(node)} in {where!r} reads {name!r}, which nothing defines"
        reads.append({maker[name] for name in names if name in maker})
    for name in outputs:
        if name not in visible:
            return f"the output {name!r} of {where!r} is defined by nothing"
    if all(max(read, default=-1) < index for index, read in enumerate(reads)):
        return None
    try:
        graphlib.TopologicalSorter(dict(enumerate(reads))).prepare()
    except graphlib.CycleError as error:
        path = " -> ".join(_label(nodes[i]) for i in error.args[1])
        return f"nodes of {where!r} form a cycle: {path}"
    return None


def _twice(names: Iterable[str]) -> str | None:
    """A name that is there more than once."""
    return next((name for name, count in Counter(names).items() if count > 1), None)


def _node_problem(node: onnx.NodeProto, versions: Mapping[str, int]) -> str | None:
    """What a node lacks that its op cannot be without: inputs, outputs, attributes of its types.

    Exporters write inputs and attributes that only a later opset has, which is not asked about.
    """
    for attribute in node.attribute:
        if attribute.type == AttributeProto.UNDEFINED:
            return f"does not state the type of its attribute {attribute.name!r}"
        is_one = attribute.type == AttributeProto.TENSOR and not attribute.ref_attr_name
        for tensor in ([attribute.t] if is_one else []) + [*attribute.tensors]:
            if found := _tensor_problem(tensor):
                return f"has a tensor, {attribute.name!r}, that {found}"
    domain = _domain(node.domain)
    if node.op_type == "Constant" and not domain:
        if len(node.attribute) != 1:
            return f"has {len(node.attribute)} attributes, expected one, its value"
        if node.attribute[0].name not in _VALUES:
            return f"has an attribute {node.attribute[0].name!r}, expected its value"
    schema = _schema(node.op_type, domain, versions.get(domain, 1))
    if schema is None:
        return None
    for what, names, least in (
        ("inputs", node.input, schema.inputs),
        ("outputs", node.output, schema.outputs),
    ):
        if len(names) < least:
            return f"has {len(names)} {what}, expected {least} or more"
    if len(node.input) > schema.most:
        return f"has {len(node.input)} inputs, expected {schema.most} at most"
    for index in schema.single:
        if not node.input[index]:
            return f"has no name where its input {index} belongs, which it cannot be without"
    for attribute in node.attribute:
        expected = schema.types.get(attribute.name)
        if expected is not None and attribute.type != expected:
            received, expected = map(AttributeProto.AttributeType.Name, (attribute.type, expected))
            return f"has {attribute.name!r} of type {received}, expected {expected}"
    given = [attribute.name for attribute in node.attribute] if schema.required else ()
    lacking = next((name for name in schema.required if name not in given), None)
    return f"lacks its attribute {lacking!r}" if lacking else None


def _tensor_problem(tensor: onnx.TensorProto) -> str | None:
    """What is wrong with a tensor; one in a file of its own is looked into with that file."""
    if tensor.data_type not in _ELEMENT_TYPES:
        return f"is of element type {tensor.data_type}, which ONNX does not have"
    if any(size < 0 for size in tensor.dims):
        return f"has the shape {tuple(tensor.dims)}"
    kind, count = ir.DataType(tensor.data_type), math.prod(tensor.dims)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return _place_problem(tensor)
    if kind.name in _PACKED:
        return None
    if tensor.HasField("raw_data") and kind != ir.DataType.STRING:
        what, stored, expected = "bytes", len(tensor.raw_data), count * kind.bitwidth // 8
    else:
        field = onnx.helper.tensor_dtype_to_field(tensor.data_type)
        what, stored, expected = "numbers", len(getattr(tensor, field)), count
        if kind.name.startswith("COMPLEX"):
            expected *= 2
    if stored == expected:
        return None
    return f"holds {stored} {what}, expected {expected} for {tuple(tensor.dims)} of {kind.name}"


def _place_problem(tensor: onnx.TensorProto) -> str | None:
    """What is wrong with where a tensor is said to be, whatever files there are."""
    place = {entry.key: entry.value for entry in tensor.external_data}
    if not place.get("location"):
        return "is in external data, of which it names no file"
    for key in ("offset", "length"):
        if not place.get(key, "0").isdecimal():
            return f"is in external data at the {key} {place[key]!r}, expected a number of bytes"
    return None


class _Schema(NamedTuple):
    """What an op takes: how many inputs and outputs at least, attributes of which types.

    Attributes:
        most: the number of inputs that it can have in any opset.
        single: the places of those that it cannot be without.
    """

    inputs: int
    outputs: int
    most: int
    single: Sequence[int]
    types: Mapping[str, int]
    required: Sequence[str]


@functools.cache
def _schema(op_type: str, domain: str, version: int) -> _Schema | None:
    """The op's definition; None for one that ONNX does not have, or not yet.

    Of FRN the types alone: what more is wrong with a node is told with its place in the model.
    """
    if domain == op.DOMAIN and op_type in op.SIGNATURES:
        return _Schema(0, 1, _INT_MAX, (), op.ATTRIBUTES, ())
    found = standard.schema(op_type, version, domain)
    if found is None:
        return None
    attributes = found.attributes
    types: dict[str, int] = {
        name: known.type.value  # type: ignore[attr-defined]  # the stub hides the enum
        for name, known in attributes.items()
    }
    required = [name for name, known in attributes.items() if known.required]
    single = [
        index
        for index, taken in enumerate(found.inputs)
        if taken.option == onnx.defs.OpSchema.FormalParameterOption.Single
    ]
    most = onnx.defs.get_schema(op_type, domain=domain).max_input
    most = max(most, found.max_input)
    return _Schema(found.min_input, found.min_output, most, single, types, required)


def _needs(node: onnx.NodeProto) -> set[str]:
    """The names that a node and its subgraphs read from around it."""
    names = set(filter(None, node.input))
    for _, graph in subgraph_protos(node) if node.attribute else ():
        names |= _free_names(graph)
    return names


def _free_names(graph: GraphProto) -> set[str]:
    """The names a subgraph takes from outside."""
    read = {value.name for value in graph.output}
    return read.union(*map(_needs, graph.node)) - defined_names(graph)


def _label(node: onnx.NodeProto) -> str:
    return f"node {node.name!r} ({node.op_type})" if node.name else f"a {node.op_type} node"
