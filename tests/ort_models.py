"""Models of FRN nodes for ONNX Runtime, and sessions that have the plugin."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

import frn_onnx
from frn_onnx import op

RESIDUAL_OP_TYPE = "ResidualFilterResponseNormalization"
ELEMENT_TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
    "int8": TensorProto.INT8,
}
# Marks a test that asks a session which provider runs a node.
says_where_nodes_run = pytest.mark.skipif(
    not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"),
    reason="this onnxruntime does not say where nodes went (from 1.24 on)",
)


def frn_model(
    *,
    x: Sequence[int | str | None] | None,
    axes: Sequence[int],
    channels: int,
    inputs: Sequence[str] = op.INPUTS[:4],
    dtype: str = "float32",
    param_dtype: str | None = None,
    epsilon: float = 1e-3,
    nodes: int = 1,
    **attributes,
) -> onnx.ModelProto:
    """X -> FRN -> ... -> FRN -> Y, every parameter a graph input.

    Args:
        x: the dimensions of X, numbers, names or None; None for an unknown rank.
        axes, epsilon: attributes; ``attributes`` overrides them, with None to leave one out.
        inputs: the node's inputs; "" is an absent one. With a residual among them the nodes are
            of the op that has one.
        dtype, param_dtype: of X and Y, and of gamma, beta and tau (None: as X).
        nodes: how many FRN nodes in a row.
    """
    values = {"axes": list(axes), "epsilon": epsilon, **attributes}
    values = {name: value for name, value in values.items() if value is not None}
    names = ["X", *(f"v{i}" for i in range(1, nodes)), "Y"]
    op_type = RESIDUAL_OP_TYPE if "residual" in inputs else op.OP_TYPE
    made = [
        helper.make_node(
            op_type, [a, *inputs[1:]], [b], name=f"frn_{b}", domain=op.DOMAIN, **values
        )
        for a, b in itertools.pairwise(names)
    ]
    shape = (channels,) + (1,) * (len(axes) + 1 - _channel_axis(axes))
    element = ELEMENT_TYPES[dtype]

    def value_info(name: str) -> onnx.ValueInfoProto:
        if name == "residual":
            return helper.make_tensor_value_info(name, element, x)
        param = TensorProto.FLOAT if name == "epsilon" else ELEMENT_TYPES[param_dtype or dtype]
        return helper.make_tensor_value_info(name, param, shape)

    params = [value_info(name) for name in inputs[1:] if name]
    graph = helper.make_graph(
        made,
        "frn",
        [helper.make_tensor_value_info("X", element, x), *params],
        [helper.make_tensor_value_info("Y", element, x)],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(op.DOMAIN, op.VERSION)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def _channel_axis(axes: Sequence[int]) -> int:
    rank = len(axes) + 2
    left = set(range(1, rank)) - {a % rank for a in axes}
    return min(left, default=1)


def with_constants(model: onnx.ModelProto, constants: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model, of whose inputs some have become initializers."""
    for name, value in constants.items():
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    kept = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def session(model: onnx.ModelProto, *, threads: int = 2, registrations: int = 1, **options):
    """A CPU session of onnxruntime's own class, with the plugin registered."""
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 4
    for name, value in options.items():
        setattr(settings, name, value)
    for _ in range(registrations):
        settings.register_custom_ops_library(frn_onnx.get_library_path())
    return ort.InferenceSession(
        model.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )


def run(session_, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """Y of a session; bfloat16 goes in and comes out as ml_dtypes' type."""
    import ml_dtypes

    bfloat16 = np.dtype(ml_dtypes.bfloat16)
    if all(value.dtype != bfloat16 for value in feeds.values()):
        return session_.run(None, feeds)[0]
    binding = session_.io_binding()
    for name, value in feeds.items():
        if value.dtype == bfloat16:
            ort_value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
                value.view(np.uint16), TensorProto.BFLOAT16
            )
        else:
            ort_value = ort.OrtValue.ortvalue_from_numpy(value)
        binding.bind_ortvalue_input(name, ort_value)
    output = session_.get_outputs()[0]
    if output.type != "tensor(bfloat16)":
        binding.bind_output(output.name)
        session_.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]
    y = np.zeros(feeds["X"].shape, np.uint16)
    y_value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(y, TensorProto.BFLOAT16)
    binding.bind_ortvalue_output(output.name, y_value)
    session_.run_with_iobinding(binding)
    return y.view(bfloat16)
