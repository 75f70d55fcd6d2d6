"""ResNet-50 as ONNX, with FRN or with nothing but ReLU, and random weights: no exporter needed.

Bottlenecks 3, 4, 6, 3 with the stride on the 3x3 convolution, as models/resnet.py has it in Keras.
"""

import itertools

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op

BLOCKS = (3, 4, 6, 3)
OPSET = 17


class _Builder:
    """Nodes and weights of a network; every method returns the name of a value."""

    def __init__(self, norm: str, dtype: np.dtype) -> None:
        self.norm, self.dtype = norm, dtype
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)

    def weight(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.astype(self.dtype), name))
        return name

    def add(self, op_type: str, *inputs: str, **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, before: int, after: int, size: int, stride: int) -> str:
        std = np.sqrt(2.0 / (before * size * size))
        kernel = self.weight(self.rng.standard_normal((after, before, size, size)) * std)
        pad = [size // 2] * 4
        return self.add("Conv", x, kernel, strides=[stride, stride], pads=pad)

    def normalise(self, x: str, channels: int, *, threshold: bool = True) -> str:
        """FRN with TLU, or without; of the ReLU-only network the ReLU, or nothing."""
        if self.norm == "relu":
            return self.add("Relu", x) if threshold else x
        axes = (2, 3)
        shape = op.param_shape(axes, channels)
        gamma = self.rng.uniform(0.5, 1.5, shape)
        beta, tau = self.rng.standard_normal((2, *shape)) * 0.1
        names = [self.weight(gamma), self.weight(beta)] + [self.weight(tau)] * threshold
        name = f"v{len(self.nodes)}"
        self.nodes.append(op.node([x, *names], name, axes=axes, name=name))
        return name

    def bottleneck(self, x: str, before: int, filters: int, stride: int) -> str:
        y = self.normalise(self.conv(x, before, filters, 1, 1), filters)
        y = self.normalise(self.conv(y, filters, filters, 3, stride), filters)
        after = 4 * filters
        y = self.normalise(self.conv(y, filters, after, 1, 1), after, threshold=False)
        if before != after:
            x = self.normalise(self.conv(x, before, after, 1, stride), after, threshold=False)
        return self.add("Relu", self.add("Add", x, y))


def build(
    *,
    batch: int,
    image: int = 224,
    width: int = 64,
    norm: str = "frn",
    dtype: str = "float32",
    classes: int = 1000,
) -> onnx.ModelProto:
    """The network in NCHW, in the form ``custom``, with an Add and a ReLU behind each block.

    Args:
        image: side of the square input.
        width: channels of the stem; all others are multiples.
        norm: ``"frn"``, or ``"relu"`` for the network without normalisation.
        dtype: of everything.
    """
    made = _Builder(norm, np.dtype(dtype))
    x = made.normalise(made.conv("image", 3, width, 7, 2), width)
    x = made.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    before = width
    for stage, blocks in enumerate(BLOCKS):
        filters = width * 2**stage
        for block in range(blocks):
            x = made.bottleneck(x, before, filters, 2 if stage and not block else 1)
            before = 4 * filters
    x = made.add("Flatten", made.add("GlobalAveragePool", x))
    scale = made.weight(made.rng.standard_normal((before, classes)) / np.sqrt(before))
    logits = made.add("MatMul", x, scale)
    element = TensorProto.FLOAT16 if dtype == "float16" else TensorProto.FLOAT
    graph = helper.make_graph(
        made.nodes,
        f"resnet50_{norm}",
        [helper.make_tensor_value_info("image", element, (batch, 3, image, image))],
        [helper.make_tensor_value_info(logits, element, (batch, classes))],
        made.weights,
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(op.DOMAIN, op.VERSION)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def chain(shape, *, layout: str, dtype: str, nodes: int, residual: bool = False) -> onnx.ModelProto:
    """FRN nodes with TLU one after the other, parameters stored, on a tensor of a fixed shape.

    Args:
        residual: whether each adds the graph's input to what it makes.
    """
    made = _Builder("frn", np.dtype(dtype))
    axes, channels = ((1, 2), shape[3]) if layout == "NHWC" else ((2, 3), shape[1])
    names = ["X", *(f"Y{i}" for i in range(1, nodes)), "Y"]
    for x, y in itertools.pairwise(names):
        values = made.rng.standard_normal((3, *op.param_shape(axes, channels)))
        activations = [x, "X"] if residual else [x]
        op_type = op.RESIDUAL_OP_TYPE if residual else op.OP_TYPE
        parameters = map(made.weight, values)
        made.nodes.append(op.node([*activations, *parameters], y, axes=axes, op_type=op_type))
    element = TensorProto.FLOAT16 if dtype == "float16" else TensorProto.FLOAT
    graph = helper.make_graph(
        made.nodes,
        "chain",
        [helper.make_tensor_value_info("X", element, shape)],
        [helper.make_tensor_value_info("Y", element, shape)],
        made.weights,
    )
    imports = [helper.make_opsetid("", OPSET), helper.make_opsetid(op.DOMAIN, op.VERSION)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)
