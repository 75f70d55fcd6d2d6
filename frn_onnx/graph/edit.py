"""Small changes to an ``onnx_ir`` graph that leave everything else as it was."""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass

from frn_onnx.graph import sites
from frn_onnx.graph.standard import INITIALIZERS_ALONE, is_standard

# Keys of a value's ``meta``: where onnx_ir keeps its quantization annotation, and whether such an
# annotation names it.
_ANNOTATION = "quant_parameter_tensor_names"
_NAMED = "frn_onnx.named"


class FreeNames:
    """Gives out names that no node or value of a model has, nor any name of theirs begins with.

    "block/frn" is not free where there is a "block/frn/scale": a free name may be used as the
    first part of others.
    """

    def __init__(self, model: ir.Model) -> None:
        self._taken = {""}
        self._counts: dict[str, int] = {}
        for scope in sites.scopes(model):
            values = (*scope.values(), *scope.graph.initializers.values())
            for name in (*(node.name for node in scope.graph), *(v.name for v in values)):
                self._take(name or "")

    def free(self, wanted: str) -> str:
        """``wanted``, or with a number behind it where that is taken."""
        name = wanted
        while name in self._taken:
            self._counts[wanted] = self._counts.get(wanted, 1) + 1
            name = f"{wanted}_{self._counts[wanted]}"
        self._take(name)
        return name

    def _take(self, name: str) -> None:
        while name not in self._taken:
            self._taken.add(name)
            name = name.rpartition("/")[0]


def constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or a Constant node; an input's is only a default."""
    if value is None or value.is_graph_input():
        return None
    node = value.producer()
    if value.is_initializer():
        return value.const_value
    return ir.convenience.get_const_tensor(value) if is_standard(node, "Constant") else None


def add_initializer(graph: ir.Graph, name: str, tensor: np.ndarray | ir.TensorProtocol) -> ir.Value:
    """A constant of a graph."""
    if isinstance(tensor, np.ndarray):
        tensor = ir.Tensor(tensor, name=name)
    shape = ir.Shape(tensor.shape.numpy())
    value = ir.Value(name=name, type=ir.TensorType(tensor.dtype), shape=shape, const_value=tensor)
    graph.register_initializer(value)
    return value


def take_over(old: ir.Value, new: ir.Value) -> None:
    """Gives ``new`` the uses, the name, the type and all descriptions of ``old``."""
    name = old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = None
    new.name = name
    new.shape, new.type = old.shape, old.type
    move_descriptions(old, new)


def move_descriptions(old: ir.Value | ir.Node, new: ir.Value | ir.Node) -> None:
    """Says of ``new`` what was said of ``old``, whose place it takes; of that, no longer."""
    new.doc_string, old.doc_string = old.doc_string, None
    for said, taken in ((old.metadata_props, new.metadata_props), (old.meta, new.meta)):
        taken.update(said)
        said.clear()


def keep_annotated(model: ir.Model) -> None:
    """Keeps :func:`remove_unused` from the scales and zero points that annotations name."""
    for scope in sites.scopes(model):
        constants = scope.graph.initializers
        for value in (*scope.values(), *constants.values()):
            for name in (value.meta.get(_ANNOTATION) or {}).values():
                if name in constants:
                    constants[name].meta[_NAMED] = True


def remove_unused(value: ir.Value) -> None:
    """Removes what gives a value, and what only that needed, if nothing uses the value."""
    stack = [value]
    while stack:
        value = stack.pop()
        if value.uses() or value.is_graph_output() or value.is_graph_input():
            continue
        if value.meta.get(_NAMED):
            continue
        node = value.producer()
        if node is None:
            if value.is_initializer():
                del value.graph.initializers[value.name]
        elif node.graph is not None and not any(
            output.uses() or output.is_graph_output() for output in node.outputs
        ):
            inputs = [argument for argument in node.inputs if argument is not None]
            node.graph.remove(node, safe=True)
            stack += dict.fromkeys(inputs)


def raise_ir_version(model: ir.Model, version: int = 0) -> None:
    """Brings a model to an IR version at least, and as far as its initializers need.

    Before ``INITIALIZERS_ALONE`` every initializer is an input, too, whose value nobody can change.
    Later it could be changed: so it is an input no longer, and stays a constant.
    """
    old = model.ir_version or 0
    constants = list(model.graph.initializers.values())
    if old < INITIALIZERS_ALONE and not all(value.is_graph_input() for value in constants):
        version = max(version, INITIALIZERS_ALONE)
    if old < INITIALIZERS_ALONE <= version:
        RemoveInitializersFromInputsPass()(model)
    model.ir_version = max(old, version)


def sort(model: ir.Model) -> None:
    """Puts nodes behind those they read from, in place; what is in order stays in order."""
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        graph.sort()
