"""FRN inside model-local functions.

The parameters of a layer that was exported as a function are the function's inputs, other ones at
each call, so the FRN in it can only be proved, and have its parameters stored, call by call. A
function that holds FRN is therefore inlined; every other function stays.
"""

from collections.abc import Collection

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from frn_onnx import op
from frn_onnx.errors import ModelError

_TAG = "frn_onnx.function"


def holding(model: ir.Model, op_types: Collection[str]) -> set[ir.OperatorIdentifier]:
    """The functions that have a node of these types in them."""
    return {
        name
        for name, function in model.functions.items()
        if function.domain != op.DOMAIN
        and any(node.op_type in op_types for node in function.all_nodes())
    }


def inline(model: ir.Model, names: Collection[ir.OperatorIdentifier] | None = None) -> None:
    """Inlines the calls of these functions, and of those that call them, in place; none is left.

    Args:
        model: the model.
        names: of the functions; None inlines all.

    Raises:
        ModelError: a function cannot be inlined, such as one that is given a graph.
    """
    callers = set(model.functions if names is None else names)
    grown = True
    while grown:
        grown = False
        for name, function in model.functions.items():
            calls = {node.op_identifier() for node in function.all_nodes()}
            if name not in callers and calls & callers:
                callers.add(name)
                grown = True
    # A function states versions of its own, but must mean the same in the model's: ONNX Runtime
    # takes only that.
    for name in callers:
        imports = model.functions[name].opset_imports
        imports.update({key: model.opset_imports.get(key, imports[key]) for key in imports})
    try:
        InlinePass(lambda function: function.identifier() in callers)(model)
    except (ValueError, ir.passes.PreconditionError) as error:
        raise ModelError(f"a function of the model cannot be inlined: {error}") from error
    for name in callers:
        model.functions.pop(name, None)  # that nothing calls


def tagged_copy(model: ir.Model, names: set[ir.OperatorIdentifier]) -> ir.Model:
    """A copy of the model with these functions inlined, whose nodes tell where they came from."""
    copy = model.clone()
    for name in names:
        for node in copy.functions[name].all_nodes():
            node.metadata_props[_TAG] = "\0".join(name)
    inline(copy, names)
    return copy


def origin(node: ir.Node) -> ir.OperatorIdentifier | None:
    """The function that a node of a tagged copy came from."""
    tag = node.metadata_props.get(_TAG)
    if tag is None:
        return None
    domain, name, overload = tag.split("\0")
    return domain, name, overload
