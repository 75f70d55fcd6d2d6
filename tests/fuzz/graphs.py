"""A small graph that can be changed, run in float64, and written as an ONNX model."""

import itertools
from collections.abc import Callable, Sequence
from random import Random

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fuzz import arithmetic
from fuzz.arithmetic import BOOL, INT, Invalid, Node, Value

_NUMPY = {TensorProto.FLOAT: np.float32, TensorProto.FLOAT16: np.float16}
_NUMPY |= {TensorProto.DOUBLE: np.float64, INT: np.int64, BOOL: np.bool_}


class Graph:
    """A graph with the one input x.

    Attributes:
        dims: what the file says of x: a number or a name per axis.
        shape: sizes to try it with; those that ``dims`` fixes are the same.
        outputs: names of the outputs.
        stated: whether the file states the shapes in between, where x has a fixed one.
        channels: the axes whose size the parameters say, although the file may not: with one
            channel, x would be broadcast to theirs.
    """

    def __init__(
        self,
        random: Random,
        dims: Sequence[int | str],
        shape: Sequence[int],
        type_: int,
        opset: int,
    ) -> None:
        self.random, self.dims, self.shape = random, tuple(dims), tuple(shape)
        self.type, self.opset = type_, opset
        self.stated = random.random() < 0.7
        self.nodes: list[Node] = []
        self.constants: dict[str, Value] = {}
        self.outputs: list[str] = []
        self.channels: frozenset[int] = frozenset()
        self._names = itertools.count()
        self.values = {"x": Value(self.data(0, self.shape), type_)}

    # Building: each node is computed as it is added.

    def __call__(self, op: str, *inputs: str, **attributes) -> str:
        node = Node(op, list(inputs), f"{op}_{next(self._names)}", attributes)
        self.values |= arithmetic.run([node], self.values, self.opset)
        self.nodes.append(node)
        return node.output

    def constant(self, array, type_: int | None = None) -> str:
        array = np.asarray(array)
        kind = (INT if array.dtype.kind == "i" else self.type) if type_ is None else type_
        if kind in arithmetic.FLOATS:
            # As the file stores it.
            array = array.astype(_NUMPY[kind]).astype(np.float64)
        name = f"c{next(self._names)}"
        self.constants[name] = self.values[name] = Value(array, kind)
        return name

    def array(self, name: str) -> np.ndarray:
        return self.values[name].array

    def name(self, op: str) -> str:
        return f"{op}_{next(self._names)}"

    def data(self, seed: int, shape: Sequence[int]) -> np.ndarray:
        """Signed input that no symmetry of the axes leaves as it is."""
        made = np.random.default_rng(seed).normal(0.3, 1.5, shape)
        return made.astype(np.float16).astype(np.float64)

    # Changing.

    def copy(self) -> "Graph":
        twin = object.__new__(Graph)
        twin.__dict__ |= self.__dict__
        twin.nodes = [node.copy() for node in self.nodes]
        twin.constants, twin.outputs = dict(self.constants), list(self.outputs)
        twin.values = dict(self.values)
        return twin

    def in_half(self) -> "Graph":
        """The same with every constant rounded to float16."""
        return self._with_constants(lambda array: array.astype(np.float16).astype(np.float64))

    def rounded_once_more(self) -> "Graph":
        """The same with every constant off by as much as a rounding to float32 may be."""
        return self._with_constants(lambda array: array * (1 + 2.0**-24))

    def _with_constants(self, change: Callable[[np.ndarray], np.ndarray]) -> "Graph":
        twin = self.copy()
        for name, value in twin.constants.items():
            if value.type in arithmetic.FLOATS:
                twin.constants[name] = Value(change(value.array), value.type)
        return twin

    def refresh(self) -> None:
        """Computes all values anew, after a change; raises Invalid where they cannot be."""
        self.prune()
        self.values = self.run(self.data(0, self.shape))

    def prune(self) -> None:
        """Takes out what no output needs."""
        needed, kept = set(self.outputs), []
        for node in reversed(self.nodes):
            if node.output in needed:
                needed.update(node.inputs)
                kept.append(node)
        self.nodes = kept[::-1]
        self.constants = {name: c for name, c in self.constants.items() if name in needed}
        if not self.nodes or "x" not in needed:
            raise Invalid("x is not used")

    # Running and writing.

    def run(self, x: np.ndarray) -> dict[str, Value]:
        return arithmetic.run(self.nodes, {"x": Value(x, self.type), **self.constants}, self.opset)

    def results(self, x: np.ndarray) -> list[np.ndarray]:
        values = self.run(x)
        return [values[name].array for name in self.outputs]

    def shapes(self) -> list[tuple[int, ...]]:
        """Sizes of x to compare for: those it was built with, others, equal ones, ones."""
        free = [axis for axis, dim in enumerate(self.dims) if isinstance(dim, str)]
        free = [axis for axis in free if axis not in self.channels]
        found = [self.shape]
        for sizes in ((2, 3, 5, 4, 7), (3,) * 5, (1, 2, 1, 3, 2)) if free else ():
            shape = list(self.shape)
            for axis in free:
                shape[axis] = sizes[axis]
            found.append(tuple(shape))
        return list(dict.fromkeys(found))

    def model(self) -> onnx.ModelProto:
        tensors = [
            numpy_helper.from_array(value.array.astype(_NUMPY[value.type]), name)
            for name, value in self.constants.items()
        ]
        # An empty list says as much as none, and has no type.
        nodes = [
            helper.make_node(
                node.op,
                node.inputs,
                [node.output],
                node.output,
                **{name: value for name, value in node.attributes.items() if value != []},
            )
            for node in self.nodes
        ]
        outputs = [
            helper.make_tensor_value_info(
                name,
                self.values[name].type,
                # Sizes that depend on x are left open.
                [None] * self.array(name).ndim,
            )
            for name in self.outputs
        ]
        x = helper.make_tensor_value_info("x", self.type, self.dims)
        graph = helper.make_graph(nodes, "fuzz", [x], outputs, tensors)
        if self.stated and all(isinstance(dim, int) for dim in self.dims):
            graph.value_info.extend(
                helper.make_tensor_value_info(
                    node.output, self.values[node.output].type, self.array(node.output).shape
                )
                for node in self.nodes
                if node.output not in self.outputs
            )
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


def model_results(model: onnx.ModelProto, x: np.ndarray, type_: int) -> list[np.ndarray]:
    """The outputs of a model of such nodes, and of FRN nodes, in float64."""
    values = {"x": Value(x, type_)}
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        floats = tensor.data_type in arithmetic.FLOATS
        values[tensor.name] = Value(array.astype(np.float64) if floats else array, tensor.data_type)
    nodes = []
    for node in model.graph.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Constant":
            (array,) = attributes.values()
            array = numpy_helper.to_array(array) if hasattr(array, "dims") else np.asarray(array)
            wide = array.astype(np.int64 if array.dtype.kind == "i" else np.float64)
            kind = helper.np_dtype_to_tensor_dtype(array.dtype)
            values[node.output[0]] = Value(wide, kind)
            continue
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        nodes.append(Node(node.op_type, list(node.input), node.output[0], attributes))
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    done = arithmetic.run(nodes, values, opset)
    return [done[value.name].array for value in model.graph.output]
