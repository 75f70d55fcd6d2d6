"""TensorFlow to ONNX with tf2onnx, its optimisers included."""

import contextlib
import itertools
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tf2onnx import constants, optimizer, tf_loader, tfonnx, utils

from frn_onnx.errors import ArgumentError, ExportError
from frn_onnx.export.trace import Source, brief
from frn_onnx.graph.protos import graph_protos
from frn_onnx.whole import as_int

# ReduceSum, Squeeze and Unsqueeze took their axes as an input from opset 13 on; before that the
# element types of Max and others were fewer, too.
OLDEST_OPSET = 13
NEWEST_OPSET = max(constants.OPSET_TO_IR_VERSION)

_PROTOBUF_LIMIT_BYTES = 2**31 - 1


def checked_opset(opset: int) -> int:
    """``opset`` as Python's own number; raises ArgumentError where tf2onnx cannot write it."""
    number = as_int(opset)
    if number is None or not OLDEST_OPSET <= number <= NEWEST_OPSET:
        raise ArgumentError(
            f"export: opset must be from {OLDEST_OPSET} to {NEWEST_OPSET}, the newest of the "
            f"installed tf2onnx, received {opset!r}; a newer one can be reached afterwards with "
            "onnx.version_converter (lower to 'custom' first, it drops functions)"
        )
    return number


def to_onnx(source: Source, opset: int) -> onnx.ModelProto:
    """The traced model in ONNX, with the source's names of inputs and outputs.

    Raises:
        ExportError: the weights do not fit in a protobuf message, or tf2onnx cannot write an
            operation or a type of the model.
    """
    size = source.weight_bytes()
    if size > _PROTOBUF_LIMIT_BYTES:
        raise ExportError(
            f"export: the weights of {source.name!r} take {size / 2**30:.1f} GiB, and TensorFlow "
            "cannot freeze more than 2 GiB into a graph; export parts of the model"
        )
    function = source.function
    # Captured variables and tables come after the arguments.
    inputs = [tensor.name for tensor in function.inputs[: len(source.specs)]]
    outputs = [tensor.name for tensor in function.outputs]
    names = dict(zip([*inputs, *outputs], [*source.input_names, *source.output_names], strict=True))
    try:
        with quiet(), _slopes_per_channel(), tf.device("/cpu:0"):
            frozen, tables = tf_loader.from_trackable(
                source.owner, function, inputs, outputs, large_model=False
            )
            _refuse_bfloat16(frozen, source.name)

            def convert() -> Any:
                with tf.Graph().as_default() as graph:
                    tf.import_graph_def(frozen, name="")
                    converted = tfonnx.process_tf_graph(
                        graph,
                        opset=opset,
                        input_names=inputs,
                        output_names=outputs,
                        tensors_to_rename=names,
                        initialized_tables=tables,
                        custom_op_handlers=_HANDLERS,
                    )
                _forget_sizes_of_squares(converted)
                return converted

            model = _optimised(convert).make_model(source.name, graph_name=source.name)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"export: tf2onnx cannot convert {source.name!r}{_place(error)}: {brief(error)}"
        ) from error
    _refuse_unknown(model, source.name, opset)
    return model


def _optimised(convert: Callable[[], Any]) -> Any:
    """What ``convert`` gives, after tf2onnx's optimisers.

    By itself tf2onnx copies the graph before each of some sixty steps, in case that one fails, and
    after each writes all weights into messages, which keep every version: forty times the weights
    in memory. The messages are made in the end alone, and copies only where a step did fail.
    """

    def optimise(graph: Any, catch_errors: bool) -> Any:
        graph.update_proto = lambda *_: None
        graph = optimizer.optimize_graph(graph, catch_errors=catch_errors)
        del graph.update_proto
        return graph

    graph = convert()
    try:
        return optimise(graph, catch_errors=False)
    except Exception:
        return optimise(convert(), catch_errors=True)


@contextlib.contextmanager
def _slopes_per_channel() -> Iterator[None]:
    """tf2onnx makes a LeakyRelu of max(x, slope * x), and fails where the slope is no number."""
    original = tfonnx.rewrite_leakyrelu

    def rewrite(graph: Any, nodes: list) -> list:
        try:
            return original(graph, nodes)
        except TypeError:  # it compares a list with 1
            return graph.get_nodes()

    tfonnx.rewrite_leakyrelu = rewrite
    try:
        yield
    finally:
        tfonnx.rewrite_leakyrelu = original


def _place(error: Exception) -> str:
    """Where tf2onnx failed: the node that it was at, whose name begins with that of its layer."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for caller, handler in itertools.pairwise(frames):
        if caller.f_code is tfonnx.tensorflow_onnx_mapping.__code__:
            node = handler.f_locals.get("node")
            return f", at the node {node.name!r}" if node else ""
    return ""


def _write_erfc(graph, node, name: str, args) -> None:
    """1 - erf(x), which the exact GELU is made of."""
    _write_with_one(graph, node, "Erf", lambda one, y: [one, y])


def _write_expm1(graph, node, name: str, args) -> None:
    """exp(x) - 1, which CELU is made of."""
    _write_with_one(graph, node, "Exp", lambda one, y: [y, one])


def _write_with_one(graph, node, op_type: str, difference: Callable) -> None:
    """The difference of 1 and an op's result, in place of an operation that tf2onnx lacks."""
    (x,), outputs = node.input, node.output
    shapes, types = node.output_shapes, node.output_dtypes
    graph.remove_node(node.name)
    one = np.array(1, utils.map_onnx_to_numpy_type(types[0]))
    constant = graph.make_const(utils.make_name(node.name), one).output[0]
    y = graph.make_node(op_type, [x], shapes=shapes, dtypes=types).output[0]
    inputs = difference(constant, y)
    graph.make_node("Sub", inputs, name=node.name, outputs=outputs, shapes=shapes, dtypes=types)


# Operations that tf2onnx lacks.
_HANDLERS: dict[str, tuple[Callable, list]] = {
    "Erfc": (_write_erfc, []),
    "Expm1": (_write_expm1, []),
}


def _forget_sizes_of_squares(graph) -> None:
    """Keeps tf2onnx's optimiser from a mistake in maps of 1 x 1.

    It moves a Transpose behind Mul(x, x) and leaves the sizes that are stated for the product in
    their old order, from which it later makes a Reshape in place of the Transpose.
    """
    for node in graph.get_nodes():
        if node.type == "Mul" and len(set(node.input)) == 1 and node.output_shapes[0]:
            graph.set_shape(node.output[0], [-1] * len(node.output_shapes[0]))
        for body in (node.get_body_graphs() or {}).values():
            _forget_sizes_of_squares(body)


def _refuse_bfloat16(graph: tf.compat.v1.GraphDef, name: str) -> None:
    """tf2onnx 1.17 writes activations as float16 and leaves weights in bfloat16: no valid file."""
    functions = (function.node_def for function in graph.library.function)
    for node in itertools.chain(graph.node, *functions):
        if any(value.type == tf.bfloat16.as_datatype_enum for value in node.attr.values()):
            raise ExportError(
                f"export: {name!r} computes in bfloat16 ({node.op} {node.name!r}), which tf2onnx "
                f"{tf2onnx.__version__} cannot write; build the model with the dtype policy "
                "'float32' or 'mixed_float16' and give it the weights of this one, which mixed "
                "precision keeps in float32"
            )


def _refuse_unknown(model: onnx.ModelProto, name: str, opset: int) -> None:
    """tf2onnx leaves an operation that it does not know in the graph, and goes on."""
    nodes = [node for graph in graph_protos(model) for node in graph.node]
    unknown = [n for n in nodes if not onnx.defs.has(n.op_type, opset, n.domain)]
    if unknown:
        named = ", ".join(f"{node.op_type} ({node.name})" for node in unknown)
        newer = f", or try opset {NEWEST_OPSET}" if opset < NEWEST_OPSET else ""
        raise ExportError(
            f"export: {name!r} has TensorFlow operations that tf2onnx {tf2onnx.__version__} cannot "
            f"write in opset {opset}: {named}; replace the layers that they are named after{newer}"
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """tf2onnx and TensorFlow report what an exception says as well, and much that is no news."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
