"""Types and shapes of what goes into FRN nodes."""

from dataclasses import dataclass, field

import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph import functions
from frn_onnx.graph.infer import Dims, sizes
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.sites import Site, axes_of, frn_sites, values

_TAG = "frn_onnx.site"


@dataclass
class Operands:
    """What is known of the inputs of one FRN node; empty where nothing is.

    Attributes:
        x_types, param_types: element types of X, and of gamma, beta and tau. Several where the
            node is in a function that is called with several.
        x_shapes: the distinct shapes of X.
        channels: length of gamma and beta, 0 where unknown.
        misfit: what is wrong with types or shapes, which sessions refuse.
    """

    x_types: set[ir.DataType] = field(default_factory=set)
    param_types: set[ir.DataType] = field(default_factory=set)
    x_shapes: list[Dims] = field(default_factory=list)
    channels: int = 0
    misfit: str | None = None


def operands(model: ir.Model, sites: list[Site], shapes: Shapes | None = None) -> list[Operands]:
    """One entry for each FRN node.

    Args:
        model: the model.
        sites: of all its FRN nodes.
        shapes: of its values, where they are known; they are inferred where these do not do.

    Raises:
        ModelError: types or shapes contradict each other.
    """
    found = [Operands() for _ in sites]
    numbered = list(enumerate(site.node for site in sites))
    if not found:
        return found
    symbols = _symbols(model)
    if any(site.scope.function is not None for site in sites):
        # Inside a function types are known only call by call.
        model, shapes = model.clone(), None
        for number, site in enumerate(frn_sites(model)):
            site.node.metadata_props[_TAG] = str(number)
        functions.inline(model)
        calls = [site.node for site in frn_sites(model)]
        numbered = [(int(node.metadata_props[_TAG]), node) for node in calls]
    if shapes is None or not _suffice(shapes, [node for _, node in numbered]):
        shapes = Shapes(model)
        if shapes.problem is not None:
            raise shapes.problem
    for number, node in numbered:
        _note(found[number], node, shapes, symbols)
    return found


def _suffice(shapes: Shapes, nodes: list[ir.Node]) -> bool:
    """Whether nothing is open that could be inferred, and nothing unseen that is wrong."""
    found = shapes.is_inferred and shapes.problem is None
    return found and all(shapes.dtype(node.inputs[0]) is not None for node in nodes)


def _note(found: Operands, node: ir.Node, shapes: Shapes, symbols: set[str]) -> None:
    x, names = node.inputs[0], op.SIGNATURES[node.op_type]
    parameters = node.inputs[op.first_parameter(node.op_type) : names.index("epsilon")]
    if (dtype := shapes.dtype(x)) is not None:
        found.x_types.add(dtype)
    if (known := shapes.of(x)) is not None:
        # Inference makes up symbols for sizes that are open.
        shape = tuple(dim if isinstance(dim, int) or dim in symbols else None for dim in known)
        if shape not in found.x_shapes:
            found.x_shapes.append(shape)
    for value in filter(None, parameters):
        if (dtype := shapes.dtype(value)) is not None:
            found.param_types.add(dtype)
        if (known := shapes.of(value)) and isinstance(known[0], int):
            found.channels = known[0]
    found.misfit = found.misfit or _misfit(node, shapes)


def _misfit(node: ir.Node, shapes: Shapes) -> str | None:
    """Which input does not fit the axes or X, as far as types and shapes are known."""
    axes = axes_of(node.attributes)
    channel_axis, rank = op.channel_axis(axes), len(axes) + 2
    x_type, x = shapes.dtype(node.inputs[0]), shapes.of(node.inputs[0]) or (None,) * rank
    if len(x) != rank:
        return f"X must have rank {rank}, 2 more than there are axes, received shape {x}"
    vector = (x[channel_axis], *op.param_shape(axes, 1)[1:])
    for name, value in zip(op.SIGNATURES[node.op_type][1:], node.inputs[1:], strict=False):
        if value is None:
            continue
        types, expected = {ir.DataType.FLOAT, x_type}, vector
        if name == "residual":
            types, expected = {x_type}, x
        elif name == "epsilon":
            types = {ir.DataType.FLOAT}
        dtype, known = shapes.dtype(value), shapes.of(value)
        if dtype is not None and x_type is not None and dtype not in types:
            listed = " or ".join(sorted(kind.name for kind in types if kind is not None))
            return f"{name} must be {listed}, received {dtype.name}; insert a Cast"
        if known is not None and not _may_be(known, expected):
            return (
                f"{name} must have shape {expected}, received {known}; X has shape {x}, and its "
                f"channels on axis {channel_axis}"
            )
    return None


def _may_be(a: Dims, b: Dims) -> bool:
    """Whether two shapes can be the same one."""
    return len(a) == len(b) and all(
        m == n or not isinstance(m, int) or not isinstance(n, int)
        for m, n in zip(a, b, strict=True)
    )


def _symbols(model: ir.Model) -> set[str | None]:
    """The symbols that the model itself uses for sizes."""
    shapes = [sizes(value.shape) for value in values(model) if value.shape is not None]
    return {dim for shape in shapes for dim in shape if not isinstance(dim, int)}
