"""Between ``onnx.ModelProto`` and ``onnx_ir.Model``: nothing that a file says gets lost.

A model's weights may be on disk (external data) or still to be computed (``ir.LazyTensor``). They
are read one at a time, into the message that is made, or left out of it.

``onnx_ir`` lacks sparse initializers, and what a file says of training. The former are here
tensors that are made dense when they are looked into, and written as they came; the latter waits
beside the graph.
"""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnx_ir as ir
from onnx import AttributeProto, FunctionProto, GraphProto, TensorProto, numpy_helper

from frn_onnx.errors import ModelError
from frn_onnx.graph import sites, tensors

# Keys of ``meta``: of a tensor, its SparseTensorProto; of the main graph, a list of
# TrainingInfoProto and the names of the graph that those use.
_SPARSE = "frn_onnx.sparse"
_TRAINING = "frn_onnx.training"


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """The model that a message holds; weights are shared with it, and the rest is copied.

    Raises:
        ModelError: the message holds what ``onnx_ir`` lacks, such as maps.
    """
    found: list[onnx.SparseTensorProto] = []
    if any(graph.sparse_initializer for graph in graph_protos(proto)):
        original, proto = proto, onnx.ModelProto()
        proto.CopyFrom(original)
        for graph in graph_protos(proto):
            for sparse in graph.sparse_initializer:
                placeholder = graph.initializer.add()
                placeholder.CopyFrom(sparse.values)
                placeholder.ClearField("raw_data")
                placeholder.dims[:] = sparse.dims
                placeholder.data_location = TensorProto.EXTERNAL
                placeholder.external_data.add(key="location", value=f"{_SPARSE}{len(found)}")
                found.append(sparse)
    try:
        model = ir.from_proto(proto)
    except (ir.serde.SerdeError, NotImplementedError) as error:
        raise ModelError(
            f"the model holds what onnx_ir {ir.__version__} does not: {_first_cause(error)}"
        ) from error
    for value in sites.initializers(model) if found else ():
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor) and str(tensor.location).startswith(_SPARSE):
            value.const_value = _sparse_tensor(found[int(str(tensor.location)[len(_SPARSE) :])])
    if proto.training_info:
        used = set().union(*map(_training_names, proto.training_info)) & _names(proto.graph)
        model.graph.meta[_TRAINING] = list(proto.training_info), used
    return model


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """The whole model as one message.

    Raises:
        ModelError: what the file says of training uses a value that is not there any more.
    """
    return with_stand_ins(model, tensors.in_memory)


def light_proto(model: ir.Model) -> onnx.ModelProto:
    """The model without its large weights: of those, name, type and shape only."""

    def without_data(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if tensors.is_large(tensor):
            return tensors.external(tensor, "left out")
        return tensors.in_memory(tensor)

    with _replaced(model, without_data):
        return _written(model)


def with_stand_ins(
    model: ir.Model, stand_in: Callable[[ir.TensorProtocol], ir.TensorProtocol]
) -> onnx.ModelProto:
    """The model as a message, with ``stand_in(tensor)`` in the place of each initializer."""
    kept: list[onnx.SparseTensorProto] = []

    def sparse_or(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        sparse = getattr(tensor, "meta", {}).get(_SPARSE)
        if sparse is None:
            return stand_in(tensor)
        kept.append(sparse)
        return tensors.external(tensor, f"{_SPARSE}{len(kept) - 1}")

    with _replaced(model, sparse_or):
        proto = _written(model)
    for graph in graph_protos(proto) if kept else ():
        for tensor in list(graph.initializer):
            location = tensor.external_data[0].value if tensor.external_data else ""
            if location.startswith(_SPARSE):
                sparse = graph.sparse_initializer.add()
                sparse.CopyFrom(kept[int(location[len(_SPARSE) :])])
                graph.initializer.remove(tensor)
    if training := model.graph.meta.get(_TRAINING):
        infos, used = training
        if lost := sorted(used - _names(proto.graph)):
            raise ModelError(
                f"the file says how to train the model (training_info), and that uses "
                f"{', '.join(lost)}, which the model does not have any more; take it out first: "
                "del model.training_info[:]"
            )
        proto.training_info.extend(infos)
    return proto


def bodies(proto: onnx.ModelProto) -> Iterator[GraphProto | FunctionProto]:
    """The main graph, every function, and all subgraphs, outer ones first."""
    for body in (proto.graph, *proto.functions):
        yield from _with_subgraphs(body)


def graph_protos(proto: onnx.ModelProto) -> Iterator[GraphProto]:
    """The main graph and every subgraph, of functions too."""
    return (body for body in bodies(proto) if isinstance(body, GraphProto))


def _with_subgraphs(body: GraphProto | FunctionProto) -> Iterator[GraphProto | FunctionProto]:
    yield body
    for node in body.node:
        for _, graph in subgraph_protos(node) if node.attribute else ():
            yield from _with_subgraphs(graph)


def tensor_protos(proto: onnx.ModelProto) -> Iterator[TensorProto]:
    """Every tensor in a message: initializers and attributes."""
    for body in bodies(proto):
        if isinstance(body, GraphProto):
            yield from body.initializer
            for sparse in body.sparse_initializer:
                yield from (sparse.values, sparse.indices)
        for attribute in (attribute for node in body.node for attribute in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def subgraph_protos(node: onnx.NodeProto) -> Iterator[tuple[AttributeProto, GraphProto]]:
    """The graphs that a node holds in its attributes."""
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH:
            yield attribute, attribute.g
        elif attribute.type == AttributeProto.GRAPHS:
            yield from ((attribute, graph) for graph in attribute.graphs)


@contextlib.contextmanager
def _replaced(
    model: ir.Model, stand_in: Callable[[ir.TensorProtocol], ir.TensorProtocol]
) -> Iterator[None]:
    """Initializers hold other tensors, for a while."""
    kept = [(value, value.const_value) for value in sites.initializers(model)]
    try:
        for value, tensor in kept:
            value.const_value = stand_in(tensor)
            if value.const_value is tensor and tensor.name != value.name:
                # Written, a tensor gets the name of its value; this one is another's, too.
                value.const_value = tensors.twin(tensor)
        yield
    finally:
        for value, tensor in kept:
            value.const_value = tensor


def _first_cause(error: BaseException) -> BaseException:
    if error.__cause__ is None or isinstance(error, ModelError):
        return error
    return _first_cause(error.__cause__)


def _written(model: ir.Model) -> onnx.ModelProto:
    """As ``onnx_ir`` writes it, but for what it writes twice: types of initializers, metadata."""
    try:
        proto = ir.to_proto(model)
    except ir.serde.SerdeError as error:
        cause = _first_cause(error)
        raise (cause if isinstance(cause, ModelError) else error) from None
    for graph in graph_protos(proto):
        names = {tensor.name for tensor in graph.initializer}
        said_once = [
            value
            for value in graph.value_info
            if value.name not in names or value.doc_string or value.metadata_props
        ]
        del graph.value_info[:]
        graph.value_info.extend(said_once)
        for tensor in graph.initializer:
            if tensor.metadata_props:
                once = {entry.key: entry.value for entry in tensor.metadata_props}
                onnx.helper.set_model_props(tensor, once)
    return proto


def _sparse_tensor(sparse: onnx.SparseTensorProto) -> ir.TensorProtocol:
    """The same tensor with its zeros."""

    def dense() -> ir.TensorProtocol:
        values, indices = map(numpy_helper.to_array, (sparse.values, sparse.indices))
        array = np.zeros(sparse.dims, values.dtype)
        # A row of indices for each value, or its place in the flattened tensor.
        places = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, array.shape)
        array[places] = values
        return ir.tensor(array)

    dtype, shape = ir.DataType(sparse.values.data_type), ir.Shape(sparse.dims)
    tensor = ir.LazyTensor(dense, dtype, shape, name=sparse.values.name)
    tensor.meta[_SPARSE] = sparse
    return tensor


def _names(graph: GraphProto) -> set[str]:
    """The names that a graph defines."""
    names = {value.name for value in graph.input}
    names.update(tensor.name for tensor in graph.initializer)
    names.update(tensor.values.name for tensor in graph.sparse_initializer)
    return names.union(*(node.output for node in graph.node))


def _training_names(info: onnx.TrainingInfoProto) -> set[str]:
    """The names that training reads or writes, its own among them."""
    names = {entry.key for entry in (*info.initialization_binding, *info.update_binding)}
    return names.union(*(node.input for node in info.algorithm.node))
