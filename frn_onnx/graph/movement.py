"""A model made to move where its integers become floats, where rounding cannot be seen otherwise.

An image of bytes is cast, dequantized, or looked up in a table: what comes out of such a node is
what rounding can move, as it moves an input that is a float. In a quantised model it is what comes
out of every layer, since one movement of the input ends where it is rounded first.
"""

import onnx_ir as ir

from frn_onnx.graph.edit import FreeNames
from frn_onnx.graph.matcher.shapes import FLOATS, Shapes
from frn_onnx.graph.standard import is_standard

# What they give depends on sizes alone, which must not move.
_SIZES = ("Shape", "Size")


def is_quantised(model: ir.Model) -> bool:
    """Whether something else than weights is dequantised."""
    return any(
        node.op_type == "DequantizeLinear" and not node.inputs[0].is_initializer()
        for node in model.graph
    )


def moved(model: ir.Model, by: float, seed: int) -> ir.Model:
    """A copy in which those floats are moved by up to ``by``, relative, at random.

    The same in every run of a new session; other floats stay, and so does all that the model's
    inputs do not lead to.
    """
    copy = model.clone()
    shapes = Shapes(copy)
    names = FreeNames(copy)
    led = set(copy.graph.inputs)
    for node in list(copy.graph):
        read = [value for value in node.inputs if value in led]
        if not read or is_standard(node, *_SIZES):
            continue
        led.update(node.outputs)
        if not any(shapes.dtype(value) in FLOATS for value in read):
            for value in node.outputs:
                if (dtype := shapes.dtype(value)) in FLOATS:
                    _move(copy.graph, value, dtype, by, seed, names)
                    seed += 1
    return copy


def _move(
    graph: ir.Graph,
    value: ir.Value,
    dtype: ir.DataType,
    by: float,
    seed: int,
    names: FreeNames,
) -> None:
    """value * uniform(1 - by, 1 + by), which ONNX Runtime draws in float32 or float64.

    Where the graph itself gives the value out, it gives the old one.
    """
    wide = dtype if dtype == ir.DataType.DOUBLE else ir.DataType.FLOAT
    node = value.producer()
    uses = value.uses()
    draw = ir.node(
        "RandomUniformLike",
        [value],
        {"low": 1 - by, "high": 1 + by, "seed": float(seed), "dtype": wide.value},
    )
    widened = ir.node("Cast", [value], {"to": wide.value})
    product = ir.node("Mul", [widened.outputs[0], draw.outputs[0]])
    result = ir.node("Cast", [product.outputs[0]], {"to": dtype.value})
    for added in (draw, widened, product, result):
        added.name = names.free(f"{node.name}/{added.op_type}")
        added.outputs[0].name = names.free(f"{added.name}_output")
    graph.insert_after(node, [draw, widened, product, result])
    for use in uses:
        use.node.replace_input_with(use.idx, result.outputs[0])
