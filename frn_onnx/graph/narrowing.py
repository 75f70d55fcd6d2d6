"""A model's float32 values in half precision, in place, as far as its ops take it.

Which inputs and outputs of a node may be half says op_types.py, and which nodes stay float32 all
the same precision.py. Where a value is wanted in both types, a Cast makes one of the other; an
initializer is stored in both.
"""

import warnings
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir

from frn_onnx.errors import FrnWarning
from frn_onnx.graph import op_types, precision, sites, tensors
from frn_onnx.graph.edit import FreeNames, add_initializer, move_descriptions, take_over
from frn_onnx.graph.op_types import TYPE_ATTRIBUTES, WIDE, retyped
from frn_onnx.graph.standard import is_standard

_CAST_OPSET = 13  # where nothing else of a model is of the standard domain
# These take any type and give none of it on: no Cast is needed in front of them.
_INDIFFERENT = frozenset({"Cast", "Shape", "Size"})
_SUFFIXES = {WIDE: "float32", ir.DataType.FLOAT16: "float16", ir.DataType.BFLOAT16: "bfloat16"}
_CHUNK = 1 << 18
_LARGEST_HALF = 65504.0


@dataclass(frozen=True)
class _Use:
    """One use of a float32 value, and whether it asks for half precision; None: for either."""

    node: ir.Node
    index: int
    half: bool | None


def narrow(model: ir.Model, to: ir.DataType, *, keep: Callable[[str], bool]) -> None:
    """Makes float32 half precision.

    Args:
        model: without model-local functions, and with initializers in place of Constant nodes.
        to: FLOAT16 or BFLOAT16.
        keep: whether the input or output of that name stays float32.
    """
    _Narrowing(model, to, keep).run()


class _Narrowing:
    def __init__(self, model: ir.Model, to: ir.DataType, keep: Callable[[str], bool]) -> None:
        self._model, self._to, self._keep = model, to, keep
        self._names = FreeNames(model)
        dtypes = op_types.dtypes(model)
        self._wide = precision.wide_nodes(model, dtypes.get)
        for node in sites.nodes(model):
            if op_types.is_wide(node):
                self._wide |= {node, *_within(node)}
        # Of each float32 value the uses, as the model has them before anything changes.
        floats = (value for value, dtype in dtypes.items() if dtype == WIDE)
        self._uses: dict[ir.Value, list[_Use]] = {value: [] for value in floats}
        # Those that become half, and what stands for a value in the other type.
        self._half: set[ir.Value] = set()
        self._other: dict[ir.Value, ir.Value] = {}

    def run(self) -> None:
        graph = self._model.graph
        inputs = {value for value in graph.inputs if not self._keep(value.name)}
        outputs = {value for value in graph.outputs if not self._keep(value.name)}
        self._plan(graph, inputs)
        for value in self._uses:
            if value.is_initializer() and not value.is_graph_input():
                self._store(value)
        for value in self._half:
            value.type = retyped(value.type or ir.TensorType(WIDE), WIDE, self._to)
        self._give_out(graph, outputs)
        for value, uses in self._uses.items():
            for use in uses:
                if use.half not in (None, value in self._half):
                    use.node.replace_input_with(use.index, self._as_other(value))
        for scope in sites.scopes(self._model):
            self._skip_idle_casts(scope.graph)

    def _plan(self, graph: ir.Graph, half_inputs: Collection[ir.Value]) -> None:
        """Decides on the values of a graph, and of the graphs within."""
        for value in graph.inputs:
            if value in self._uses and value in half_inputs:
                self._half.add(value)
                if value.const_value is not None:  # a default
                    value.const_value = half(value.const_value, self._to)
        for node in graph:
            wide = node in self._wide
            takes, gives = op_types.NONE if wide else op_types.slots(node, self._model, self._to)
            either = not wide and is_standard(node, *_INDIFFERENT)
            for index, value in enumerate(node.inputs):
                if value in self._uses:
                    use = _Use(node, index, None if either else takes(index))
                    self._uses[value].append(use)
            made = {v for i, v in enumerate(node.outputs) if v in self._uses and gives(i)}
            if made:
                self._half |= made
                self._state_types(node)
            for _, inner in sites.subgraphs(node):
                self._plan(inner, () if wide else inner.inputs)

    def _state_types(self, node: ir.Node) -> None:
        """Has the attributes of a node tell that its output is half."""
        for name in TYPE_ATTRIBUTES:
            if name in node.attributes and node.attributes[name].value == WIDE:
                node.attributes[name] = ir.AttrInt64(name, self._to.value)
        if node.op_type == "ConstantOfShape":
            value = node.attributes.get_tensor("value", ir.Tensor(np.zeros(1, np.float32)))
            node.attributes["value"] = ir.AttrTensor("value", half(value, self._to))

    def _store(self, value: ir.Value) -> None:
        """An initializer, in the types that are asked for."""
        wanted = {use.half for use in self._uses[value]}
        if True not in wanted:
            return
        tensor = value.const_value
        self._half.add(value)
        value.const_value = half(tensor, self._to)
        if False in wanted:
            name = self._names.free(f"{value.name}_float32")
            self._other[value] = add_initializer(value.graph, name, tensors.twin(tensor))

    def _give_out(self, graph: ir.Graph, half_outputs: Collection[ir.Value]) -> None:
        """Has the outputs of a graph, and of the graphs within, be of the type they should be."""
        for node in list(graph):
            for _, inner in sites.subgraphs(node):
                self._give_out(inner, () if node in self._wide else inner.outputs)
        for value in dict.fromkeys(graph.outputs):
            made = value in self._uses and not value.is_graph_input()
            if not made or (value in half_outputs) == (value in self._half):
                continue
            # The name, and what is said of it, are the output's.
            other, name = self._as_other(value), value.name
            value.name = self._names.free(f"{name}_{_SUFFIXES[self._dtype(value)]}")
            other.name = name
            move_descriptions(value, other)
            for index, output in enumerate(graph.outputs):
                if output is value:
                    graph.outputs[index] = other

    def _dtype(self, value: ir.Value) -> ir.DataType:
        return self._to if value in self._half else WIDE

    def _as_other(self, value: ir.Value) -> ir.Value:
        """A value in the type that it is not of."""
        if value not in self._other:
            dtype = self._to if self._dtype(value) == WIDE else WIDE
            if "ai.onnx" not in self._model.opset_imports:
                self._model.opset_imports.setdefault("", _CAST_OPSET)
            cast = ir.node("Cast", [value], {"to": dtype.value})
            result = cast.outputs[0]
            result.name = self._names.free(f"{value.name}_{_SUFFIXES[dtype]}")
            result.type, result.shape = ir.TensorType(dtype), value.shape
            cast.name = self._names.free(f"{result.name}/Cast")
            maker = value.producer()
            if maker is not None:
                maker.graph.insert_after(maker, cast)
            else:
                value.graph.insert_before(value.graph[0], cast)
            self._other[value] = result
        return self._other[value]

    def _skip_idle_casts(self, graph: ir.Graph) -> None:
        """Takes out the Casts to and from float32 of what is half on both sides."""
        for node in list(graph):
            if not is_standard(node, "Cast") or node.attributes["to"].value != self._to:
                continue
            (x,), (y,) = node.inputs, node.outputs
            if x is None or x.dtype != self._to:
                continue
            if not y.is_graph_output():
                y.replace_all_uses_with(x)
            elif x.producer() in graph and not x.is_graph_output():
                take_over(y, x)
            else:
                continue
            graph.remove(node, safe=True)


def _within(node: ir.Node) -> Iterator[ir.Node]:
    """The nodes in the graphs of a node, and in theirs."""
    for _, graph in sites.subgraphs(node):
        for inner in graph:
            yield inner
            yield from _within(inner)


def half(tensor: ir.TensorProtocol, to: ir.DataType) -> ir.LazyTensor:
    """A float32 tensor in half precision, computed when it is written."""

    def values() -> ir.Tensor:
        wide = tensors.read(tensor).numpy().ravel()
        made = np.empty(wide.size, to.numpy())
        largest, most = 0.0, np.float32(ml_dtypes.finfo(to.numpy()).max)
        for start in range(0, wide.size, _CHUNK):
            chunk = wide[start : start + _CHUNK]
            if to == ir.DataType.FLOAT16:
                finite = chunk[np.isfinite(chunk)]
                largest = max(largest, float(np.abs(finite).max(initial=0)))
            # A mask's lowest float32 must not become infinite, either.
            within = np.where(np.isfinite(chunk), chunk.clip(-most, most), chunk)
            made[start : start + _CHUNK] = within.astype(made.dtype)
        # One number may be what is added so that nothing is divided by zero.
        if wide.size == 1 and wide[0] and not made[0]:
            made[0] = np.copysign(np.finfo(np.float16).smallest_subnormal, wide[0])
        if largest > _LARGEST_HALF:
            warnings.warn(
                f"convert: {tensor.name!r} holds {largest:g}, and {_LARGEST_HALF:g} is the largest "
                "number of float16, which stands for it; bfloat16 holds it",
                FrnWarning,
                stacklevel=2,
            )
        return ir.Tensor(made.reshape(tensor.shape.numpy()), to)

    return tensors.lazy(tensor, values, to)
