"""Small changes to an ``onnx_ir`` graph that leave everything else as it was."""

import numpy as np
import onnx_ir as ir


class FreeNames:
    """Gives out names that no node or value of a model has."""

    def __init__(self, model: ir.Model) -> None:
        self._taken = {name for graph in model.graphs() for name in _names(graph)}
        self._counts: dict[str, int] = {}

    def free(self, wanted: str) -> str:
        """``wanted``, or with a number behind it where that is taken."""
        name = wanted
        while name in self._taken:
            self._counts[wanted] = self._counts.get(wanted, 1) + 1
            name = f"{wanted}_{self._counts[wanted]}"
        self._taken.add(name)
        return name


def add_initializer(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """A constant of a graph."""
    tensor = ir.Tensor(array, name=name)
    value = ir.Value(
        name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
    )
    graph.register_initializer(value)
    return value


def take_over(old: ir.Value, new: ir.Value) -> None:
    """Gives ``new`` the uses, the name, the type and the description of ``old``."""
    name = old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = None
    new.name = name
    new.shape, new.type = old.shape, old.type
    new.metadata_props.update(old.metadata_props)


def remove_unused(value: ir.Value) -> None:
    """Removes what gives a value, and what only that needed, if nothing uses the value."""
    stack = [value]
    while stack:
        value = stack.pop()
        if value.uses() or value.is_graph_output() or value.is_graph_input():
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


def _names(graph: ir.Graph) -> list[str]:
    values = [*graph.inputs, *graph.initializers.values()]
    names = [node.name for node in graph]
    values += [value for node in graph for value in node.outputs]
    return [name for name in (*names, *(value.name for value in values)) if name]
