"""ConvTranspose with one-sided pads, as ConvTranspose without pads and a Slice.

tf2onnx writes pads = [0, 0, 1, 1] for a transposed convolution of stride 2 with SAME padding.
Pads of a transposed convolution only say how much of its result to cut off at each side, and
ONNX Runtime's CUDA provider has sent nodes that cut off more on one side to the CPU.
"""

import numpy as np
import onnx
import onnx_ir as ir

from frn_onnx.graph import protos, sites
from frn_onnx.graph.edit import FreeNames, take_over
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.standard import is_standard

_TO_THE_END = np.iinfo(np.int64).max
# From here on Slice takes what to cut as inputs.
_SLICE_INPUTS_OPSET = 10


def fix_conv_transpose(model: ir.Model | onnx.ModelProto) -> int:
    """Takes one-sided pads out of every ConvTranspose, in place; results stay the same bits.

    Pads that follow from ``auto_pad`` or ``output_shape`` are worked out as ONNX Runtime does. A
    node stays as it is where they cannot be told from the model: with ``output_shape`` and an
    input of open size, or with a kernel whose shape is not known. So do all in a model of an opset
    before 10.

    Returns:
        How many nodes were changed.
    """
    if isinstance(model, onnx.ModelProto):
        graph = protos.from_proto(model)
        if changed := fix_conv_transpose(graph):
            model.CopyFrom(protos.to_proto(graph))
        return changed
    if sites.opset(model) < _SLICE_INPUTS_OPSET:
        return 0
    names = FreeNames(model)
    nodes = [node for node in sites.nodes(model) if is_standard(node, "ConvTranspose")]
    shapes = Shapes(model, [node.inputs[0] for node in nodes if "output_shape" in node.attributes])
    padded = [(node, pads) for node in nodes if (pads := _one_sided_pads(node, shapes))]
    for node, pads in padded:
        _split(node, pads, names)
    return len(padded)


def _one_sided_pads(node: ir.Node, shapes: Shapes) -> list[int] | None:
    """The pads, all begins and then all ends, of a node that is to be changed."""
    given = node.attributes
    automatic = given.get_string("auto_pad", "NOTSET")
    if automatic == "NOTSET" and "output_shape" not in given:
        pads = list(given.get_ints("pads", ()))
    else:
        totals = _totals(node, automatic, shapes)
        less = [total // 2 for total in totals]
        more = [total - total // 2 for total in totals]
        pads = [*less, *more] if automatic == "SAME_UPPER" else [*more, *less]
    half = len(pads) // 2
    return pads if pads[:half] != pads[half:] and min(pads) >= 0 else None


def _totals(node: ir.Node, automatic: str, shapes: Shapes) -> list[int]:
    """What the pads of each axis come to, empty if not known.

    Where more is asked for than there is, ``output_shape`` gets zeros behind, which is a negative
    pad here, and ``auto_pad`` nothing.
    """
    given = node.attributes
    x, weight = node.inputs[:2]
    kernel = given.get_ints("kernel_shape", (shapes.of(weight) or ())[2:])
    strides = given.get_ints("strides", [1] * len(kernel))
    if "output_shape" in given:
        sizes, wanted = (shapes.of(x) or ())[2:], given.get_ints("output_shape")
    elif automatic.startswith("SAME"):  # whatever the size: each pixel becomes a stride of them
        sizes, wanted = (1,) * len(kernel), strides
    else:
        return []
    if not all(isinstance(n, int) for n in (*kernel, *sizes)):
        return []
    dilations = given.get_ints("dilations", [1] * len(kernel))
    output_padding = given.get_ints("output_padding", [0] * len(kernel))
    axes = zip(sizes, strides, kernel, dilations, output_padding, wanted, strict=False)
    totals = [
        stride * (size - 1) + dilation * (taps - 1) + 1 + more - size_of_y
        for size, stride, taps, dilation, more, size_of_y in axes
    ]
    return totals if "output_shape" in given else [max(0, total) for total in totals]


def _split(node: ir.Node, pads: list[int], names: FreeNames) -> None:
    """Lets a node compute all, and a Slice behind it cut off what the pads say."""
    half = len(pads) // 2
    y = node.outputs[0]
    label = node.name or y.name
    node.attributes.pop("auto_pad", None)
    node.attributes.pop("output_shape", None)
    node.attributes.add(ir.AttrInt64s("pads", [0] * len(pads)))
    slices = {
        "starts": pads[:half],
        "ends": [-end if end else _TO_THE_END for end in pads[half:]],
        "axes": range(2, 2 + half),
    }
    made = []
    for key, values in slices.items():
        tensor = ir.Tensor(np.asarray(values, np.int64))
        made.append(ir.node("Constant", [], {"value": tensor}, name=names.free(f"{label}/{key}")))
        made[-1].outputs[0].name = made[-1].name
    cut = ir.node("Slice", [y, *(n.outputs[0] for n in made)], name=names.free(f"{label}/cut"))
    node.graph.insert_after(node, [*made, cut])
    take_over(y, cut.outputs[0])
    cut.replace_input_with(0, y)
    y.name = names.free(f"{label}/whole")
    y.shape = None
