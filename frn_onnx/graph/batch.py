"""A model for one size of batch: what CUDA graphs and compiling execution providers ask for."""

import math

import onnx_ir as ir

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import infer, sites
from frn_onnx.graph.standard import is_standard
from frn_onnx.whole import as_int

_UNKNOWN = infer.Typed()
_MOST = 2**63 - 1  # that an axis of a file may have


def set_batch(model: ir.Model, size: int) -> None:
    """Gives the first axis of every input one size, and with it whatever follows from that.

    Args:
        model: changed in place; without model-local functions.
        size: the number of samples, at least 1.

    Raises:
        ArgumentError: ``size`` is no such number, or an input has another size already, or a shape
            of which nothing is known.
        ModelError: the model contradicts itself with this size: a shape in it holds another.
    """
    received, size = size, as_int(size)
    if size is None or size < 1:
        raise ArgumentError(f"batch must be a whole number from 1 on, received {received!r}")
    if size > _MOST:
        raise ArgumentError(f"batch must be at most {_MOST}, received {size}")
    before = infer.contradiction(model)
    symbols = set()
    for value in model.graph.inputs:
        if value.name in model.graph.initializers:
            continue
        if value.shape is None:
            raise ArgumentError(
                f"batch: how many axes input {value.name!r} has is not known, so neither is which "
                "of them counts samples; export the model with the input's shape"
            )
        if not value.shape:  # a number
            continue
        first = infer.sizes(value.shape)[0]
        if isinstance(first, int) and first != size:
            raise ArgumentError(
                f"batch: the first axis of input {value.name!r} has {first} elements, expected "
                f"{size} or a size that is open; export the model with an open one"
            )
        symbols.add(first)
        value.shape = ir.Shape([size, *value.shape[1:]])
    symbols -= {None, size}
    scopes = list(sites.scopes(model))
    for scope in scopes:
        for value in scope.values():
            if value.shape is not None:
                known = infer.sizes(value.shape)
                value.shape = ir.Shape([size if dim in symbols else dim for dim in known])
    types = infer.types(model)
    problem = _bad_reshape(model, types) or (before is None and infer.contradiction(model))
    if problem:
        raise ModelError(
            f"batch: the model does not run on {size} samples: {problem}. A shape in it holds "
            "another number of them; export it with a batch that is open throughout (-1)"
        )
    for scope in scopes:
        for value in scope.graph.outputs:
            if value in types and (dims := types[value].dims) is not None:
                value.shape = ir.Shape(dims)


def _bad_reshape(model: ir.Model, types: dict[ir.Value, infer.Typed]) -> str | None:
    """A Reshape to another number of elements, which ONNX does not count."""
    for node in sites.nodes(model):
        if not is_standard(node, "Reshape"):
            continue
        before, after = (types.get(v, _UNKNOWN).dims for v in (node.inputs[0], node.outputs[0]))
        counts = {_count(before), _count(after)} - {None}
        if len(counts) > 1:
            return f"{sites.name_of(node)!r} (Reshape) is to make {after} of {before}"
    return None


def _count(dims: infer.Dims | None) -> int | None:
    """The number of elements, where it is known."""
    known = dims is not None and all(isinstance(dim, int) for dim in dims)
    return math.prod(dims) if known else None  # type: ignore[arg-type]
