"""Random small CNNs with FRN: what a blocked session is compared with a plain one on."""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op

# Some are multiples of a block, some of half a block, and some of nothing.
_CHANNELS = (1, 3, 8, 12, 16, 20, 24, 32)


@dataclass(frozen=True)
class Map:
    """A feature map: its name, channels, and how often its size was halved."""

    name: str
    channels: int
    level: int


class Network:
    """Nodes and weights; what is drawn follows from the seed alone.

    Args:
        seed: of all that is drawn.
        steps: how many layers.
    """

    def __init__(self, seed: int, steps: int = 8) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels = int(self.rng.choice((1, 3, 8, 16)))
        self.maps = [Map("x", self.channels, 0)]
        if self.rng.random() < 0.9:
            self.conv()
        for _ in range(steps):
            self._step()()

    def _step(self):
        kinds = {
            self.conv: 4,
            self.frn: 5,
            self.block: 2,
            self.pool: 1,
            self.add: 1,
            self.concat: 1,
            self.activation: 1,
            self.upsample: 1,
            self.conv_transpose: 2,
            self.round_trip: 1,
        }
        weights = np.array(list(kinds.values()), float)
        return list(kinds)[self.rng.choice(len(kinds), p=weights / weights.sum())]

    def model(self) -> onnx.ModelProto:
        """Everything that nothing reads is an output, and sometimes one in the middle."""
        read = {name for node in self.nodes for name in node.input}
        outputs = [m for m in self.maps[1:] if m.name not in read]
        if len(self.maps) > 2 and self.rng.random() < 0.3:
            outputs.append(self.maps[int(self.rng.integers(1, len(self.maps)))])
        unique = {m.name: m for m in outputs}
        graph = helper.make_graph(
            self.nodes,
            "random_cnn",
            [self._info(self.maps[0])],
            [self._info(m) for m in unique.values()],
            self.weights,
        )
        imports = [helper.make_opsetid("", 17), helper.make_opsetid(op.DOMAIN, op.VERSION)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    def image(self) -> np.ndarray:
        """Input whose sides can be halved three times."""
        n, h, w = self.rng.integers(1, 4), *(8 * self.rng.integers(1, 4, 2))
        return self.rng.standard_normal((n, self.channels, h, w)).astype(np.float32) * 2 + 0.2

    def _info(self, m: Map):
        dims = ["n", m.channels, f"h{m.level}", f"w{m.level}"]
        return helper.make_tensor_value_info(m.name, TensorProto.FLOAT, dims)

    def weight(self, values: np.ndarray) -> str:
        self.weights.append(
            numpy_helper.from_array(values.astype(np.float32), f"w{len(self.weights)}")
        )
        return self.weights[-1].name

    def add_node(self, op_type: str, inputs: list[str], channels: int, level: int, **attributes):
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return self._made(name, channels, level)

    def _made(self, name: str, channels: int, level: int) -> Map:
        self.maps.append(Map(name, channels, level))
        return self.maps[-1]

    def pick(self) -> Map:
        """A map, a late one rather than an early one."""
        late = self.rng.random() < 0.7
        return self.maps[-1] if late else self.maps[int(self.rng.integers(len(self.maps)))]

    def conv(self, x: Map | None = None, after: int | None = None) -> Map:
        x = x or self.pick()
        after = after or int(self.rng.choice(_CHANNELS))
        group = 1
        if self.rng.random() < 0.15 and x.channels > 1:
            group, after = x.channels, x.channels
        size = int(self.rng.choice((1, 3)))
        stride = 2 if self.rng.random() < 0.2 and x.level < 3 else 1
        shape = (after, x.channels // group, size, size)
        kernel = self.weight(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])))
        inputs = [x.name, kernel]
        if self.rng.random() < 0.4:
            inputs.append(self.weight(self.rng.standard_normal(after) * 0.3))
        return self.add_node(
            "Conv",
            inputs,
            after,
            x.level + (stride == 2),
            kernel_shape=[size, size],
            pads=[size // 2] * 4,
            strides=[stride, stride],
            group=group,
        )

    def conv_transpose(self) -> Map:
        x = self.pick()
        if x.level == 0:
            return self.conv(x)
        after = int(self.rng.choice(_CHANNELS))
        size, pads = ((3, [0, 0, 1, 1]), (2, [0, 0, 0, 0]), (4, [1, 1, 1, 1]))[self.rng.integers(3)]
        shape = (x.channels, after, size, size)
        kernel = self.weight(self.rng.standard_normal(shape) / np.sqrt(x.channels * size))
        y = self.add_node(
            "ConvTranspose",
            [x.name, kernel],
            after,
            x.level - 1,
            kernel_shape=[size, size],
            strides=[2, 2],
            pads=pads,
        )
        return self.frn(y) if self.rng.random() < 0.7 else y

    def frn(self, x: Map | None = None, residual: Map | None = None) -> Map:
        x = x or self.pick()
        shape = (x.channels, 1, 1)
        names = [
            self.weight(self.rng.uniform(0.5, 1.5, shape) * self.rng.choice((-1, 1), shape)),
            self.weight(self.rng.standard_normal(shape) * 0.3),
        ]
        tau = self.rng.random() < 0.6
        epsilon = self.rng.random() < 0.15
        if tau or epsilon:
            names.append(self.weight(self.rng.standard_normal(shape) * 0.3) if tau else "")
        if epsilon:
            names.append(self.weight(self.rng.uniform(1e-4, 0.1, shape)))
        name = f"v{len(self.nodes)}"
        inputs = [x.name, *([residual.name] if residual else []), *names]
        self.nodes.append(
            op.node(
                inputs,
                name,
                axes=(2, 3),
                epsilon=float(self.rng.choice((1e-6, 0.01))),
                name=name,
                op_type=op.RESIDUAL_OP_TYPE if residual else op.OP_TYPE,
            )
        )
        return self._made(name, x.channels, x.level)

    def _partner(self, x: Map) -> Map | None:
        """Another map of the same shape."""
        same = [m for m in self.maps if (m.channels, m.level) == (x.channels, x.level) and m != x]
        return same[int(self.rng.integers(len(same)))] if same else None

    def block(self) -> Map:
        """The end of a residual block."""
        x = self.pick()
        y = self.frn(self.conv(x, x.channels))
        if (y.channels, y.level) != (x.channels, x.level):
            return y
        if self.rng.random() < 0.5:
            residual = self.frn(self.conv(x, x.channels)) if self.rng.random() < 0.5 else x
            if residual.level == y.level and residual.channels == y.channels:
                return self.frn(self._conv_as(y), residual)
        return self.add_node("Relu", [self._sum(x, y)], x.channels, x.level)

    def _conv_as(self, x: Map) -> Map:
        """A Conv that keeps the shape."""
        kernel = self.weight(self.rng.standard_normal((x.channels, x.channels, 1, 1)) * 0.3)
        return self.add_node("Conv", [x.name, kernel], x.channels, x.level, kernel_shape=[1, 1])

    def _sum(self, a: Map, b: Map) -> str:
        return self.add_node("Add", [a.name, b.name], a.channels, a.level).name

    def add(self) -> Map:
        x = self.pick()
        other = self._partner(x)
        if other is None:
            return self.frn(x)
        return self.add_node("Add", [x.name, other.name], x.channels, x.level)

    def concat(self) -> Map:
        x = self.pick()
        same = [m for m in self.maps if m.level == x.level]
        other = same[int(self.rng.integers(len(same)))]
        channels = x.channels + other.channels
        return self.add_node("Concat", [x.name, other.name], channels, x.level, axis=1)

    def pool(self) -> Map:
        x = self.pick()
        if x.level >= 3:
            return self.frn(x)
        kind = str(self.rng.choice(("MaxPool", "AveragePool")))
        size = {"kernel_shape": [2, 2], "strides": [2, 2]}
        return self.add_node(kind, [x.name], x.channels, x.level + 1, **size)

    def activation(self) -> Map:
        x = self.pick()
        kind = str(self.rng.choice(("Relu", "Sigmoid", "Tanh", "LeakyRelu")))
        return self.add_node(kind, [x.name], x.channels, x.level)

    def round_trip(self) -> Map:
        """To channels last, something there, and back."""
        x = self.pick()
        names = [f"v{len(self.nodes)}/{i}" for i in range(2)]
        self.nodes.append(helper.make_node("Transpose", [x.name], names[:1], perm=[0, 2, 3, 1]))
        if self.rng.random() < 0.5:
            shape = (x.channels,)
            parameters = [self.weight(self.rng.uniform(0.5, 1.5, shape)) for _ in range(2)]
            between = op.node([names[0], *parameters], names[1], axes=(1, 2), epsilon=0.01)
        else:
            between = helper.make_node("Relu", names[:1], names[1:])
        self.nodes.append(between)
        back = self.add_node("Transpose", names[1:], x.channels, x.level, perm=[0, 3, 1, 2])
        return self.frn(back) if self.rng.random() < 0.5 else back

    def upsample(self) -> Map:
        x = self.pick()
        if x.level == 0:
            return self.frn(x)
        scales = self.weight(np.array([1, 1, 2, 2]))
        return self.add_node(
            "Resize",
            [x.name, "", scales],
            x.channels,
            x.level - 1,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )


IMAGE = np.random.default_rng(0).normal(size=(2, 3, 12, 11)).astype(np.float32)


def cnn(channels=16, *, opset=17, dtype=np.float32, frn=(2, 3), middle=()):
    """image -> Conv -> FRN -> Conv -> FRN -> y."""
    rng = np.random.default_rng(3)
    type_ = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weights = {
        "w1": rng.normal(size=(channels, 3, 3, 3)),
        "w2": rng.normal(size=(channels, channels, 3, 3)) / channels,
        **{name: rng.normal(size=(channels, 1, 1)) for name in ("gamma", "beta", "tau")},
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], name="conv1"),
        op.node(["a", "gamma", "beta", "tau"], "b", axes=frn, name="frn1", epsilon=0.01),
        *middle,
        helper.make_node("Conv", ["b", "w2"], ["c"], name="conv2"),
        op.node(["c", "gamma", "beta"], "y", axes=frn, name="frn2", epsilon=0.01),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("image", type_, ("n", 3, "h", "w"))],
        [helper.make_tensor_value_info("y", type_, ("n", channels, "oh", "ow"))],
        [numpy_helper.from_array(value.astype(dtype), name) for name, value in weights.items()],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(op.DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    helper.set_model_props(model, {"owner": "somebody"})
    return model


def run(session, x):
    return session.run(None, {session.get_inputs()[0].name: x})
