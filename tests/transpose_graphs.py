"""Random graphs of FRN nodes, Transposes and the ops around them, for the Transpose engine."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op

UNARY = ("Relu", "Sigmoid", "Neg", "Abs", "Softsign", "Identity", "Erf", "Floor")
BINARY = ("Add", "Mul", "Sub", "Max", "Min")
REDUCE = ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceL2")


class RandomGraph:
    """A graph of ``size`` nodes from one or two inputs, every size of an axis another prime.

    Attributes:
        model: canonical FRN nodes, opset 18.
        feeds: input for it.
    """

    def __init__(self, seed: int, size: int = 18, *, open_sizes: bool = False) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.targets: dict[tuple[int, ...], str] = {}
        self.rank = int(self.rng.choice(op.RANKS))
        # Sizes that are alike hide no mistake where some of them are 1.
        alike = self.rng.random() < 0.3
        sizes = [2, *(self.rng.choice([1, 3, 3, 2] if alike else [3, 5, 4, 7, 1], self.rank - 1))]
        self.feeds = {}
        for name in ("a", "b")[: 1 + (self.rng.random() < 0.5)]:
            shape = tuple(int(s) for s in sizes)
            self.shapes[name] = shape
            self.feeds[name] = self.rng.normal(size=shape).astype(np.float32)
        self.perms = self._perms()
        while len(self.nodes) < size:
            self._frn() if len(self.nodes) == 3 else self._step()
        used = {name for node in self.nodes for name in node.input}
        made = [name for name in self.shapes if name not in self.feeds]
        outputs = [n for n in made if n not in used]
        outputs += [n for n in made if n in used and self.rng.random() < 0.08]
        inputs = []
        for name in self.feeds:
            dims = [f"{name}{i}" if open_sizes else s for i, s in enumerate(self.shapes[name])]
            inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
        graph = helper.make_graph(
            self.nodes,
            "random",
            inputs,
            [
                helper.make_tensor_value_info(
                    n, TensorProto.FLOAT, [None if open_sizes else size for size in self.shapes[n]]
                )
                for n in outputs
            ],
            self.weights,
            value_info=[
                helper.make_tensor_value_info(
                    n, TensorProto.FLOAT, [None if open_sizes else size for size in shape]
                )
                for n, shape in self.shapes.items()
                if n not in self.feeds and n not in outputs
            ],
        )
        imports = [helper.make_opsetid("", 18), helper.make_opsetid(op.DOMAIN, op.VERSION)]
        self.model = helper.make_model(graph, opset_imports=imports, ir_version=8)

    def _perms(self) -> list[tuple[int, ...]]:
        """Two layouts there and back most of the time, and one perm that fits to nothing."""
        last = (0, *range(2, self.rank), 1)
        first = (0, self.rank - 1, *range(1, self.rank - 1))
        other = tuple(int(axis) for axis in self.rng.permutation(self.rank))
        odd = (0, *(int(a) + 1 for a in self.rng.permutation(self.rank - 1)))
        back = tuple(int(axis) for axis in np.argsort(odd))
        return [last, first, last, first, odd, back, other]

    def pick(self, rank: int | None = None) -> str | None:
        """A value, a late one more likely."""
        names = [n for n, s in self.shapes.items() if rank is None or len(s) == rank]
        if not names:
            return None
        place = len(names) - 1 - int(self.rng.exponential(2.5))
        return names[max(place, 0)]

    def const(self, array) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def add(self, op_type: str, inputs: list[str], shape, **attributes) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=f"n_{name}", **attributes))
        self.shapes[name] = tuple(int(size) for size in shape)
        return name

    def axis(self, rank: int) -> int:
        """Counted from either end."""
        return int(self.rng.integers(-rank, rank))

    def _step(self) -> None:
        step = self.rng.choice(
            [
                *(self._transpose, self._frn, self._unary, self._constant, self._pair),
                *(self._along, self._reduce, self._squeeze, self._cut, self._shape),
                *(self._opaque, self._branch),
            ],
            p=[0.25, 0.16, 0.12, 0.1, 0.1, 0.06, 0.05, 0.04, 0.05, 0.02, 0.02, 0.03],
        )
        step()

    def _transpose(self) -> None:
        name = self.pick(self.rank)
        perm = self.perms[self.rng.integers(len(self.perms))]
        shape = self.shapes[name]
        after = [shape[axis] for axis in perm]
        order = [axis for axis in perm if shape[axis] != 1]
        if order == sorted(order) and self.rng.random() < 0.5:
            # As tf2onnx writes it, the shape shared by all Reshapes to it.
            self.add("Reshape", [name, self._target(after)], after)
        else:
            self.add("Transpose", [name], after, perm=perm)

    def _target(self, shape: list[int]) -> str:
        if tuple(shape) not in self.targets:
            self.targets[tuple(shape)] = self.const(np.array(shape, np.int64))
        return self.targets[tuple(shape)]

    def _frn(self) -> None:
        name = self.pick(self.rank)
        shape = self.shapes[name]
        channel = int(self.rng.choice([1, self.rank - 1, self.rng.integers(1, self.rank)]))
        axes = [axis for axis in range(1, self.rank) if axis != channel]
        values = self.rng.normal(size=(3, *op.param_shape(axes, shape[channel])))
        parameters = [self.const(v.astype(np.float32)) for v in values]
        output = f"v{len(self.nodes)}"
        self.nodes.append(op.node([name, *parameters], output, axes=axes, epsilon=0.1, name=output))
        self.shapes[output] = shape

    def _unary(self) -> None:
        name = self.pick()
        kind = str(self.rng.choice([*UNARY, "Clip", "Cast", "Softmax"]))
        if kind == "Softmax" and self.shapes[name]:
            axis = self.axis(len(self.shapes[name]))
            self.add(kind, [name], self.shapes[name], axis=axis)
        elif kind == "Clip":
            limits = [self.const(np.float32(-0.5)), self.const(np.float32(2))]
            self.add(kind, [name, *limits], self.shapes[name])
        elif kind == "Cast":
            self.add(kind, [name], self.shapes[name], to=TensorProto.FLOAT)
        else:
            self.add(kind if kind != "Softmax" else "Relu", [name], self.shapes[name])

    def _constant(self) -> None:
        """An operand that broadcasts: fewer axes, ones anywhere, or one axis more."""
        name = self.pick()
        shape = self.shapes[name]
        sizes = [size if self.rng.random() < 0.5 else 1 for size in shape]
        sizes = sizes[int(self.rng.integers(len(sizes) + 1)) :]
        if self.rng.random() < 0.1:
            sizes = [1] * (len(shape) - len(sizes) + 1) + sizes
        array = self.rng.normal(size=sizes).astype(np.float32)
        inputs = [name, self.const(array)]
        if self.rng.random() < 0.5:
            inputs.reverse()
        result = np.broadcast_shapes(shape, array.shape)
        self.add(str(self.rng.choice(BINARY)), inputs, result)

    def _pair(self) -> None:
        """Two values that broadcast, of whatever ranks and layouts."""
        first = self.pick()
        fitting = [n for n in self.shapes if _fits(self.shapes[first], self.shapes[n])]
        if not fitting:
            return
        # The pair of the late ones more likely, itself too.
        second = fitting[max(len(fitting) - 1 - int(self.rng.exponential(3)), 0)]
        result = np.broadcast_shapes(self.shapes[first], self.shapes[second])
        if len(result) <= 6:
            self.add(str(self.rng.choice(BINARY)), [first, second], result)

    def _along(self) -> None:
        name = self.pick()
        shape = list(self.shapes[name])
        if not shape:
            return
        axis = self.axis(len(shape))
        if self.rng.random() < 0.5:
            other = list(shape)
            other[axis] = 2
            extra = self.const(self.rng.normal(size=other).astype(np.float32))
            alike = [n for n, s in self.shapes.items() if s == tuple(shape)]
            inputs = [name, str(self.rng.choice(alike)), extra][: int(self.rng.integers(2, 4))]
            shape[axis] = shape[axis] * 2 + (2 if len(inputs) == 3 else 0)
            if np.prod(shape) < 4000:
                self.add("Concat", inputs, shape, axis=axis)
        elif shape[axis] > 1:
            pieces = [1, shape[axis] - 1]
            names = [f"v{len(self.nodes)}", f"w{len(self.nodes)}"]
            inputs = [name, self.const(np.array(pieces, np.int64))]
            self.nodes.append(helper.make_node("Split", inputs, names, name=names[0], axis=axis))
            for part, size in zip(names, pieces, strict=True):
                shape[axis] = size
                self.shapes[part] = tuple(shape)

    def _reduce(self) -> None:
        name = self.pick()
        shape = self.shapes[name]
        if not shape:
            return
        count = int(self.rng.integers(1, len(shape) + 1))
        axes = [int(a) for a in self.rng.permutation(len(shape))[:count]]
        keeps = int(self.rng.integers(2))
        sizes = [1 if a in axes else s for a, s in enumerate(shape) if keeps or a not in axes]
        signs = [a - len(shape) if self.rng.random() < 0.5 else a for a in axes]
        kind = str(self.rng.choice([*REDUCE, "ArgMax", "Gather"]))
        if kind == "Gather":
            index = self.const(np.array([0] if keeps else 0, np.int64))
            sizes = [1 if a == axes[0] else s for a, s in enumerate(shape)]
            sizes = sizes if keeps else [s for a, s in enumerate(shape) if a != axes[0]]
            self.add(kind, [name, index], sizes, axis=signs[0])
        elif kind == "ArgMax":
            return
        else:
            inputs = [name, self.const(np.array(signs, np.int64))]
            self.add(kind, inputs, sizes, keepdims=keeps)

    def _squeeze(self) -> None:
        name = self.pick()
        shape = self.shapes[name]
        ones = [axis for axis, size in enumerate(shape) if size == 1]
        kind = self.rng.integers(3)
        if kind == 0 and ones:
            axes = [int(self.rng.choice(ones))]
            left = [s for a, s in enumerate(shape) if a not in axes]
            self.add("Squeeze", [name, self.const(np.array(axes, np.int64))], left)
        elif len(shape) < self.rank:
            count = self.rank - len(shape)
            axes = sorted(int(a) for a in self.rng.permutation(self.rank)[:count])
            sizes = list(shape)
            for axis in axes:
                sizes.insert(axis, 1)
            if kind == 1:
                given = [a - self.rank if self.rng.random() < 0.5 else a for a in axes]
                self.add("Unsqueeze", [name, self.const(np.array(given, np.int64))], sizes)
            else:
                target = list(sizes)
                if self.rng.random() < 0.5:
                    target[int(self.rng.integers(self.rank))] = -1
                self.add("Reshape", [name, self.const(np.array(target, np.int64))], sizes)

    def _cut(self) -> None:
        name = self.pick()
        shape = self.shapes[name]
        if not shape:
            return
        axis = self.axis(len(shape))
        sizes = list(shape)
        kind = self.rng.integers(4)
        if kind == 0 and shape[axis] > 1:
            sizes[axis] -= 1
            inputs = [self.const(np.array([v], np.int64)) for v in (1, shape[axis], axis, 1)]
            self.add("Slice", [name, *inputs], sizes)
        elif kind == 1:
            sizes[axis] += 3
            pads = [self.const(np.array([1, 2], np.int64)), self.const(np.float32(0.5))]
            axes = self.const(np.array([axis], np.int64))
            self.add("Pad", [name, *pads, axes], sizes)
        elif kind == 2 and np.prod(sizes) < 2000:
            repeats = np.ones(len(shape), np.int64)
            repeats[axis] = 2
            sizes[axis] *= 2
            self.add("Tile", [name, self.const(repeats)], sizes)
        elif kind == 3:
            start = int(self.rng.integers(len(shape)))
            target = [s if self.rng.random() < 0.5 else 1 for s in shape[start:]]
            self.add("Expand", [name, self.const(np.array(target, np.int64))], shape)

    def _shape(self) -> None:
        name = self.pick(self.rank)
        node = f"s{len(self.nodes)}"
        self.nodes.append(helper.make_node("Shape", [name], [node], name=node))
        self.add("Cast", [node], [self.rank], to=TensorProto.FLOAT)

    def _opaque(self) -> None:
        name = self.pick(self.rank)
        shape = self.shapes[name]
        kernel = self.const(self.rng.normal(size=(shape[-1], 3)).astype(np.float32))
        self.add("MatMul", [name, kernel], [*shape[:-1], 3])

    def _branch(self) -> None:
        """An If whose branches read a value from outside; one turns it, with an FRN behind."""
        name = self.pick(self.rank)
        shape = self.shapes[name]
        tag = f"b{len(self.nodes)}"
        branches = []
        last, first = self.perms[0], self.perms[1]
        for side in range(2):
            nodes = [
                helper.make_node("Transpose", [name], [f"{tag}{side}t"], perm=last),
                helper.make_node("Relu" if side else "Neg", [f"{tag}{side}t"], [f"{tag}{side}r"]),
                helper.make_node("Transpose", [f"{tag}{side}r"], [f"{tag}{side}y"], perm=first),
            ]
            if side:
                channels = shape[last[-1]]
                values = self.rng.normal(size=(3, channels)).astype(np.float32)
                parameters = [self.const(v) for v in values]
                nodes[1] = op.node(
                    [f"{tag}{side}t", *parameters],
                    f"{tag}{side}r",
                    axes=list(range(1, self.rank - 1)),
                    epsilon=0.1,
                )
            branches.append(
                helper.make_graph(
                    nodes,
                    f"{tag}{side}",
                    [],
                    [helper.make_tensor_value_info(f"{tag}{side}y", TensorProto.FLOAT, shape)],
                )
            )
        choice = self.const(np.array(bool(self.rng.integers(2))))
        self.add("If", [choice], shape, then_branch=branches[0], else_branch=branches[1])


def _fits(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    try:
        return np.prod(np.broadcast_shapes(a, b)) < 4000
    except ValueError:
        return False
