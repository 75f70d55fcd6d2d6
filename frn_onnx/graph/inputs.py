"""The optional inputs of FRN nodes: tau, and epsilon per channel.

A node on its own has them where they matter. In a portable file every node has as many inputs
as any other, because the body of a function cannot ask whether an input is there.
"""

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, TensorProto, helper, numpy_helper

from frn_onnx import op
from frn_onnx.graph import scopes
from frn_onnx.graph.names import Names
from frn_onnx.graph.scopes import Scope, Site


def canonicalise(model: onnx.ModelProto) -> None:
    """Takes out of all FRN nodes the inputs that change nothing, in place.

    They are a tau of -inf, and an epsilon that is the same for all channels, which becomes the
    attribute; also the constants that only they read. The attribute is written in any case: a
    function's body has no default for it.
    """
    sites = scopes.frn_sites(model)
    remove_unused(model, {name for site in sites for name in _canonicalise(site)})


def _canonicalise(site: Site) -> list[str]:
    """Takes out inputs that change nothing; returns the names no longer read."""
    _, epsilon = site.attributes()
    inputs = [*site.node.input, "", ""][: len(op.INPUTS)]
    tau, per_channel = inputs[3:]
    dropped = []
    if tau and _uniform_value(site.scope, tau) == -np.inf:
        inputs[3] = ""
        dropped.append(tau)
    uniform = _uniform_value(site.scope, per_channel) if per_channel else None
    if uniform is not None and uniform >= 0:
        inputs[4], epsilon = "", uniform
        dropped.append(per_channel)
    while not inputs[-1]:
        inputs.pop()
    del site.node.input[:]
    site.node.input.extend(inputs)
    _set_epsilon(site.node, epsilon)
    return dropped


def _set_epsilon(node: onnx.NodeProto, epsilon: float) -> None:
    for attribute in node.attribute:
        if attribute.name == "epsilon":
            attribute.f = epsilon
            return
    node.attribute.append(helper.make_attribute("epsilon", epsilon))


def _uniform_value(scope: Scope, name: str) -> float | None:
    """The one value that all elements of a constant have."""
    tensor = scope.constant(name)
    maker = scope.producer(name)
    if tensor is None and maker is not None and maker.op_type == "ConstantOfShape":
        tensor = next((a.t for a in maker.attribute if a.type == AttributeProto.TENSOR), None)
    if tensor is None:
        return None
    values = numpy_helper.to_array(tensor).ravel()
    return float(values[0]) if values.size and (values == values[0]).all() else None


def remove_unused(model: onnx.ModelProto, names: set[str]) -> None:
    """Removes those of the named constants that nothing reads any more."""
    while names:
        used = {name for scope in scopes.scopes(model) for name in _reads(scope)}
        unused = names - used
        names = set()
        for scope in scopes.scopes(model):
            body = scope.body
            for node in [n for n in body.node if n.output and unused.issuperset(n.output)]:
                if node.op_type in ("Constant", "ConstantOfShape", "Shape"):
                    names.update(node.input)
                    body.node.remove(node)
            if isinstance(body, GraphProto):
                required = {value.name for value in body.input}
                for field in (body.initializer, body.value_info):
                    for entry in [e for e in field if e.name in unused - required]:
                        field.remove(entry)


def _reads(scope: Scope) -> list[str]:
    outputs = scope.body.output
    names = [v.name for v in outputs] if isinstance(scope.body, GraphProto) else list(outputs)
    return names + [name for node in scope.body.node for name in node.input]


class Filler:
    """Gives FRN nodes inputs that change nothing: tau = -inf, epsilon as in the attribute."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._names = Names(model)
        self._shared: dict[tuple, str] = {}

    def complete(self, site: Site, count: int) -> list[onnx.NodeProto]:
        """The FRN node with ``count`` inputs, behind the nodes that make what it lacked."""
        _, epsilon = site.attributes()
        node = onnx.NodeProto()
        node.CopyFrom(site.node)
        inputs = [*node.input, "", ""][:count]
        nodes = []
        beta = site.scope.constant(inputs[2])
        param_type = TensorProto.FLOAT if beta is None else beta.data_type
        missing = (
            (3, "no_threshold", -np.inf, param_type),
            (4, "epsilon", epsilon, TensorProto.FLOAT),
        )
        for position, name, value, elem_type in missing:
            if position >= count or inputs[position]:
                continue
            if beta is not None and site.scope.function is None:
                inputs[position] = self._initializer(name, value, elem_type, tuple(beta.dims))
            else:
                made = self._nodes(name, value, elem_type, inputs[2])
                nodes += made
                inputs[position] = made[-1].output[0]
        del node.input[:]
        node.input.extend(inputs)
        return [*nodes, node]

    def _initializer(self, name: str, value: float, elem_type: int, shape: tuple) -> str:
        key = (name, value, elem_type, shape)
        if key not in self._shared:
            self._shared[key] = self._names.free(f"frn_{name}_{'x'.join(map(str, shape))}")
            dtype = helper.tensor_dtype_to_np_dtype(elem_type)
            tensor = numpy_helper.from_array(np.full(shape, value, dtype), self._shared[key])
            self._graph.initializer.append(tensor)
        return self._shared[key]

    def _nodes(self, name: str, value: float, elem_type: int, like: str) -> list[onnx.NodeProto]:
        """A constant shaped as a value that is known only when the model runs."""
        shape, filled = self._names.free(f"frn_{name}_shape"), self._names.free(f"frn_{name}")
        dtype = helper.tensor_dtype_to_np_dtype(elem_type)
        tensor = numpy_helper.from_array(np.full((1,), value, dtype))
        return [
            helper.make_node("Shape", [like], [shape], name=shape),
            helper.make_node("ConstantOfShape", [shape], [filled], name=filled, value=tensor),
        ]
