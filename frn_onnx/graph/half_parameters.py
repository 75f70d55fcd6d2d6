"""FRN's parameters on their way past a converter of types, which would make them half as well.

It gets to see them as inputs of another node, whose output is the FRN node's one input behind its
activations.
"""

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import sites
from frn_onnx.graph.edit import FreeNames, remove_unused

# Key of a converted tensor's ``meta``: the tensor it is made of.
ORIGINAL = "frn_onnx.original"
_PARAMETERS = (op.DOMAIN, "Parameters")


def set_aside(model: ir.Model) -> None:
    """Puts gamma, beta, tau and epsilon of all FRN nodes behind a node that stands for them."""
    names = FreeNames(model)
    domain, op_type = _PARAMETERS
    for site in sites.frn_sites(model):
        frn, first = site.node, op.first_parameter(site.node.op_type)
        aside = ir.node(op_type, frn.inputs[first:], domain=domain, name=names.free(op_type))
        aside.outputs[0].name = aside.name
        frn.graph.insert_before(frn, aside)
        frn.resize_inputs(first + 1)
        frn.replace_input_with(first, aside.outputs[0])


def give_back(model: ir.Model) -> None:
    """Gives FRN nodes their parameters back, as float32."""
    names = FreeNames(model)
    wide: dict[tuple[ir.Graph, ir.Value], ir.Value] = {}
    for site in sites.frn_sites(model):
        frn, first = site.node, op.first_parameter(site.node.op_type)
        aside = frn.inputs[first].producer()
        given = list(aside.inputs)
        for position, value in enumerate(given):
            if value is None or value.dtype == ir.DataType.FLOAT:
                continue
            weight = value.is_initializer()
            key = (value.graph if weight else frn.graph, value)
            if key not in wide and weight:
                wide[key] = _in_float32(value, names)
            elif key not in wide:
                cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value})
                cast.name = cast.outputs[0].name = names.free(f"{value.name}_float32")
                frn.graph.insert_before(frn, cast)
                wide[key] = cast.outputs[0]
            given[position] = wide[key]
        frn.resize_inputs(first + len(given))
        for position, value in enumerate(given, start=first):
            frn.replace_input_with(position, value)
        inputs = [value for value in aside.inputs if value is not None]
        aside.graph.remove(aside, safe=True)
        for value in inputs:
            remove_unused(value)


def _in_float32(value: ir.Value, names: FreeNames) -> ir.Value:
    """An initializer as it was before it was converted: itself, if only FRN nodes use it."""
    tensor = value.const_value.meta[ORIGINAL]
    wide = value
    if not all((user.domain, user.op_type) == _PARAMETERS for user in value.consumers()):
        wide = ir.Value(name=names.free(f"{value.name}_float32"), shape=value.shape)
        value.graph.initializers.add(wide)
    wide.const_value, wide.type = tensor, ir.TensorType(tensor.dtype)
    return wide
