"""Graphs that compute FRN in standard ops, built node by node, for the tests of fuse."""

from dataclasses import dataclass

import graph_models
import numpy as np
import onnx
import tolerances
from onnx import helper, numpy_helper

from frn_onnx import op, reference
from frn_onnx.graph.fusion import FuseResult, fuse

AXES_INPUT_OPSET = {"ReduceMean": 18, "ReduceSum": 13, "ReduceL2": 18, "ReduceSumSquare": 18}


class Net:
    """A graph under construction. ``net(op_type, *inputs)`` adds a node and names its output."""

    def __init__(self, opset: int = 18, ir_version: int = 8) -> None:
        self.opset, self.ir_version = opset, ir_version
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape, dtype=np.float32) -> str:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def const(self, array, name: str | None = None) -> str:
        name = name or f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def __call__(self, op_type: str, *inputs: str, outputs: int = 1, **attributes):
        names = [f"{op_type}_{len(self.nodes)}_{i}".removesuffix("_0") for i in range(outputs)]
        node = helper.make_node(op_type, inputs, names, name=f"n/{names[0]}", **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else names

    def reduce(self, op_type: str, x: str, axes, keepdims: int = 1) -> str:
        """A reduction, with its axes where the opset wants them."""
        if self.opset >= AXES_INPUT_OPSET[op_type]:
            return self(op_type, x, self.const(np.array(axes, np.int64)), keepdims=keepdims)
        return self(op_type, x, axes=list(axes), keepdims=keepdims)

    def model(self, *outputs: str, functions=(), domains=()) -> onnx.ModelProto:
        made = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self.nodes, "net", self.inputs, made, self.initializers)
        imports = [helper.make_opsetid("", self.opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in domains]
        model = helper.make_model(
            graph, opset_imports=imports, ir_version=self.ir_version, functions=list(functions)
        )
        # Output types, which a valid model states, from inference.
        inferred = onnx.shape_inference.infer_shapes(model)
        del model.graph.output[:]
        for value in inferred.graph.output:
            if not value.type.tensor_type.HasField("shape"):
                value.type.CopyFrom(model.graph.input[0].type)
            model.graph.output.append(value)
        onnx.checker.check_model(model)
        return model


@dataclass(frozen=True)
class Layout:
    """Where the axes are, and small sizes for them that all differ."""

    name: str

    @property
    def rank(self) -> int:
        return len(self.name)

    @property
    def channel(self) -> int:
        return self.name.index("C")

    @property
    def axes(self) -> tuple[int, ...]:
        return tuple(i for i in range(1, self.rank) if i != self.channel)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple({"N": 2, "C": 3, "D": 2, "H": 5, "W": 4}[letter] for letter in self.name)

    @property
    def dynamic(self) -> tuple[int | str, ...]:
        return tuple(3 if letter == "C" else letter for letter in self.name)

    def param(self, values) -> np.ndarray:
        """One value per channel, shaped to broadcast along the channel axis."""
        return np.asarray(values).reshape(op.param_shape(self.axes, np.size(values)))


LAYOUTS = [Layout(name) for name in ("NCHW", "NHWC", "NCW", "NWC", "NCDHW", "NDHWC")]


@dataclass(frozen=True)
class Params:
    """The parameters a graph was built with: (C,) each; tau may be None."""

    gamma: np.ndarray
    beta: np.ndarray
    tau: np.ndarray | None
    epsilon: np.ndarray | float

    @staticmethod
    def random(rng: np.random.Generator, channels: int = 3, dtype=np.float32) -> "Params":
        gamma, beta, tau = rng.normal(size=(3, channels)).astype(dtype)
        return Params(gamma, beta, tau, dtype(0.37))


def frn_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == op.OP_TYPE]


def op_types(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def node_parameters(model: onnx.ModelProto, node: onnx.NodeProto) -> Params:
    """The parameters of a fused node, from the model's initializers."""
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    gamma, beta, tau, epsilon = (
        tensors[name].reshape(-1) if name else None for name in (*node.input[1:], "", "")[:4]
    )
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return Params(gamma, beta, tau, attributes["epsilon"] if epsilon is None else epsilon)


def bound(x, params: Params, layout: Layout, *, roundings: int = 0, dtype=np.float32):
    return tolerances.frn_bound(
        x,
        params.gamma,
        params.beta,
        params.tau,
        epsilon=params.epsilon,
        axes=layout.axes,
        dtype=dtype,
        roundings=roundings,
    )


def expected(x, params: Params, layout: Layout) -> np.ndarray:
    return reference.frn(
        x, params.gamma, params.beta, params.tau, epsilon=params.epsilon, axes=layout.axes
    )


def data(rng: np.random.Generator, layout: Layout, dtype=np.float32) -> np.ndarray:
    """Signed, offset input, each channel of another size, one of them zero in one sample."""
    x = rng.normal(size=layout.shape) - 0.7
    scale = layout.param([3.0, 0.2, 1.0])
    x *= scale
    np.moveaxis(x, layout.channel, 1)[0, 2] = 0
    return x.astype(dtype)


def assert_fused(
    model: onnx.ModelProto,
    x: np.ndarray,
    params: Params,
    layout: Layout,
    *,
    left: tuple[str, ...] = (),
    roundings: int = 8,
) -> FuseResult:
    """Fuses, and checks everything there is to check on a graph that is y = FRN(x).

    The graph before and after, in ONNX Runtime and in ONNX's reference evaluator, is compared
    with the float64 reference at ``params``; one node, with exactly the parameters' values up to
    rounding, is left beside ``left``.
    """
    dtype = x.dtype
    truth = expected(x, params, layout)
    feeds = {model.graph.input[0].name: x}
    wide = bound(x, params, layout, roundings=roundings, dtype=dtype)
    tolerances.assert_within(graph_models.run(model, feeds)[0], truth, wide)

    custom = fuse(model, form="custom")
    assert custom.skipped == []
    assert [node.channels for node in custom.fused] == [params.gamma.size]
    assert sorted(op_types(custom.model)) == sorted((op.OP_TYPE, *left))
    (node,) = frn_nodes(custom.model)
    assert custom.fused[0].name == node.name

    portable = fuse(model, form="portable")
    onnx.checker.check_model(portable.model, full_check=True)
    if not left:
        found = node_parameters(custom.model, node)
        narrow = bound(x, found, layout, dtype=dtype)
        for name in ("gamma", "beta", "epsilon"):
            np.testing.assert_allclose(
                getattr(found, name), getattr(params, name), rtol=2**-20, atol=1e-7
            )
        tolerances.assert_within(
            graph_models.run(portable.model, feeds)[0], expected(x, found, layout), narrow
        )
    for output in (
        graph_models.run(portable.model, feeds)[0],
        onnx.reference.ReferenceEvaluator(portable.model).run(None, feeds)[0],
    ):
        tolerances.assert_within(output, truth, wide)
    return custom
