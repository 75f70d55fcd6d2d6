"""The optional inputs of FRN nodes: tau, and epsilon per channel.

A node on its own has them where they matter. In a portable file every node has as many inputs
as any other of its op, because the body of a function cannot ask whether an input is there.
"""

from collections.abc import Iterable

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.edit import FreeNames, add_initializer, constant, remove_unused
from frn_onnx.graph.sites import Site
from frn_onnx.graph.standard import is_standard


def canonicalise(sites: Iterable[Site]) -> None:
    """Takes out of FRN nodes the inputs that change nothing, in place.

    They are a tau of -inf, and an epsilon that is the same for all channels, which becomes the
    attribute; also the constants that only they read. The attribute is written in any case: a
    function's body has no default for it.
    """
    for site in sites:
        node = site.node
        _, epsilon = site.attributes()
        given, names = site.parameters(), op.SIGNATURES[node.op_type]
        if "tau" in given and not has_threshold(site):
            _set_input(node, names.index("tau"), None)
        uniform = _uniform_value(given.get("epsilon"))
        if uniform is not None and uniform >= 0:
            _set_input(node, names.index("epsilon"), None)
            epsilon = uniform
        count = max(i for i, value in enumerate(node.inputs) if value is not None) + 1
        node.resize_inputs(count)
        node.attributes.add(ir.AttrFloat32("epsilon", epsilon))


def has_threshold(site: Site) -> bool:
    """Whether an FRN node has a tau that may change something."""
    tau = site.parameters().get("tau")
    return tau is not None and _uniform_value(tau) != -np.inf


def _set_input(node: ir.Node, position: int, value: ir.Value | None) -> None:
    old = node.inputs[position]
    node.replace_input_with(position, value)
    if old is not None:
        remove_unused(old)


def _uniform_value(value: ir.Value | None) -> float | None:
    """The one value that all elements of a constant have."""
    tensor = constant(value)
    maker = value.producer() if value is not None else None
    if is_standard(maker, "ConstantOfShape"):
        tensor = maker.attributes.get_tensor("value")
    if tensor is None:
        return None
    values = tensor.numpy().ravel()
    return float(values[0]) if values.size and (values == values[0]).all() else None


class Filler:
    """Gives FRN nodes inputs that change nothing: tau = -inf, epsilon as in the attribute."""

    def __init__(self, model: ir.Model) -> None:
        self._graph = model.graph
        self._names = FreeNames(model)
        self._shared: dict[tuple, ir.Value] = {}

    def complete(self, site: Site, count: int) -> None:
        """Gives the node ``count`` inputs, in place."""
        node, names = site.node, op.SIGNATURES[site.node.op_type]
        _, epsilon = site.attributes()
        beta = node.inputs[names.index("beta")]
        tensor = None if site.scope.function is not None else constant(beta)
        known = constant(beta)
        dtype = ir.DataType.FLOAT if known is None else known.dtype
        node.resize_inputs(count)
        missing = (
            (names.index("tau"), "no_threshold", -np.inf, dtype),
            (names.index("epsilon"), "epsilon", epsilon, ir.DataType.FLOAT),
        )
        for position, name, value, kind in missing:
            if position < count and node.inputs[position] is None:
                if tensor is not None:
                    filled = self._initializer(name, value, kind, tuple(tensor.shape.numpy()))
                else:
                    filled = self._computed(name, value, kind, node, beta)
                node.replace_input_with(position, filled)

    def _initializer(
        self, name: str, value: float, dtype: ir.DataType, shape: tuple[int, ...]
    ) -> ir.Value:
        key = (name, value, dtype, shape)
        if key not in self._shared:
            title = self._names.free(f"frn_{name}_{'x'.join(map(str, shape))}")
            array = np.full(shape, value, dtype.numpy())
            self._shared[key] = add_initializer(self._graph, title, array)
        return self._shared[key]

    def _computed(
        self, name: str, value: float, dtype: ir.DataType, frn: ir.Node, beta: ir.Value
    ) -> ir.Value:
        """A constant shaped as beta, whose shape is known only when the model runs."""
        tensor = ir.Tensor(np.full((1,), value, dtype.numpy()))
        shape = ir.node("Shape", [beta], name=self._names.free(f"frn_{name}_shape"))
        filled = ir.node(
            "ConstantOfShape",
            shape.outputs,
            {"value": tensor},
            name=self._names.free(f"frn_{name}"),
        )
        for node in (shape, filled):
            node.outputs[0].name = node.name
        frn.graph.insert_before(frn, [shape, filled])
        return filled.outputs[0]
