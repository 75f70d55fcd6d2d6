"""Between ``onnx.ModelProto`` and ``onnx_ir.Model``: nothing that a file says gets lost.

A model's weights may be on disk (external data) or still to be computed (``ir.LazyTensor``). They
are read one at a time, into the message that is made, or left out of it.

``onnx_ir`` lacks sparse tensors, and what a file says of training. Sparse initializers are here
tensors that are made dense when they are looked into, and written as they came; those in Constant
nodes are dense from here on. What is said of training waits beside the graph.
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
    if any(
        getattr(body, "sparse_initializer", ()) or any(_sparse_attributes(body))
        for body in bodies(proto)
    ):
        original, proto = proto, onnx.ModelProto()
        proto.CopyFrom(original)
        for body in bodies(proto):
            _hide_sparse(body)
    try:
        model = ir.from_proto(proto)
    except (ir.serde.SerdeError, NotImplementedError) as error:
        raise ModelError(
            f"the model holds what onnx_ir {ir.__version__} does not: {_first_cause(error)}"
        ) from error
    for scope, body in zip(sites.scopes(model), bodies(proto), strict=True):
        for sparse in getattr(body, "sparse_initializer", ()):
            scope.graph.initializers[sparse.values.name].const_value = _sparse_tensor(sparse)
    if proto.training_info:
        used = set().union(*map(_training_names, proto.training_info)) & defined_names(proto.graph)
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

    def sparse_or(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        return tensors.external(tensor, "sparse") if _is_sparse(tensor) else stand_in(tensor)

    with _replaced(model, sparse_or):
        proto = _written(model)
    for scope, body in zip(sites.scopes(model), bodies(proto), strict=True):
        for name, value in scope.graph.initializers.items():
            if _is_sparse(value.const_value):
                body.sparse_initializer.append(value.const_value.meta[_SPARSE])
                body.initializer.remove(next(t for t in body.initializer if t.name == name))
    if training := model.graph.meta.get(_TRAINING):
        infos, used = training
        if lost := sorted(used - defined_names(proto.graph)):
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


def _sparse_attributes(
    body: GraphProto | FunctionProto,
) -> Iterator[tuple[onnx.NodeProto, AttributeProto]]:
    for node in body.node:
        for attribute in node.attribute:
            if attribute.HasField("sparse_tensor") or attribute.sparse_tensors:
                yield node, attribute


def _hide_sparse(body: GraphProto | FunctionProto) -> None:
    """Puts an initializer without values beside each sparse one, and makes Constants dense."""
    for sparse in getattr(body, "sparse_initializer", ()):
        body.initializer.add(
            name=sparse.values.name, data_type=sparse.values.data_type, dims=sparse.dims
        )
    for node, attribute in list(_sparse_attributes(body)):
        if (node.domain, node.op_type, attribute.name) != ("", "Constant", "sparse_value"):
            raise ModelError(
                f"node {node.name or node.output[0]!r} ({node.op_type}) has a sparse tensor in its "
                f"attribute {attribute.name!r}; expected them in initializers and Constant nodes "
                "alone, from where the node may take it as an input"
            )
        dense = numpy_helper.from_array(_dense(attribute.sparse_tensor))
        attribute.CopyFrom(onnx.helper.make_attribute("value", dense))


def _is_sparse(tensor: ir.TensorProtocol) -> bool:
    return _SPARSE in getattr(tensor, "meta", {})


def _sparse_tensor(sparse: onnx.SparseTensorProto) -> ir.TensorProtocol:
    """The same tensor with its zeros."""
    dtype, shape = ir.DataType(sparse.values.data_type), ir.Shape(sparse.dims)
    tensor = ir.LazyTensor(lambda: ir.tensor(_dense(sparse)), dtype, shape, name=sparse.values.name)
    tensor.meta[_SPARSE] = sparse
    return tensor


def _dense(sparse: onnx.SparseTensorProto) -> np.ndarray:
    values, indices = map(numpy_helper.to_array, (sparse.values, sparse.indices))
    array = np.zeros(sparse.dims, values.dtype)
    # A row of indices for each value, or its place in the flattened tensor.
    try:
        places = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, array.shape)
        array[places] = values
    except (IndexError, ValueError) as error:
        raise ModelError(
            f"the places of the values of the sparse tensor {sparse.values.name!r} do not fit its "
            f"shape {tuple(sparse.dims)}: {error}"
        ) from error
    return array


def defined_names(graph: GraphProto) -> set[str]:
    """The names that a graph defines."""
    names = {value.name for value in graph.input}
    names.update(tensor.name for tensor in graph.initializer)
    names.update(tensor.values.name for tensor in graph.sparse_initializer)
    return names.union(*(node.output for node in graph.node))


def _training_names(info: onnx.TrainingInfoProto) -> set[str]:
    """The names that training reads or writes, its own among them."""
    names = {entry.key for entry in (*info.initialization_binding, *info.update_binding)}
    return names.union(*(node.input for node in info.algorithm.node))
