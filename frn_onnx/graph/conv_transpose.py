"""ConvTranspose with one-sided pads, as ConvTranspose without pads and a Slice.

tf2onnx writes pads = [0, 0, 1, 1] for a transposed convolution of stride 2 with SAME padding.
Pads of a transposed convolution only say how much of its result to cut off at each side, and
ONNX Runtime's CUDA provider has sent nodes that cut off more on one side to the CPU.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from frn_onnx.graph import scopes
from frn_onnx.graph.names import Names

_TO_THE_END = np.iinfo(np.int64).max
# From here on Slice takes what to cut as inputs.
_SLICE_INPUTS_OPSET = 10


def fix_conv_transpose(model: onnx.ModelProto) -> int:
    """Takes one-sided pads out of every ConvTranspose, in place; results stay the same bits.

    Nodes whose pads follow from ``auto_pad`` or ``output_shape`` stay as they are, and so do all
    in a model of an opset before 10.

    Returns:
        How many nodes were changed.
    """
    if scopes.opset(model) < _SLICE_INPUTS_OPSET:
        return 0
    names = Names(model)
    changed = 0
    for scope in list(scopes.scopes(model))[::-1]:
        rewritten: list[onnx.NodeProto] = []
        before = changed
        for node in scope.body.node:
            pads = _one_sided_pads(node)
            if pads is None:
                rewritten.append(node)
            else:
                rewritten += _split(node, pads, names)
                changed += 1
        if changed > before:
            del scope.body.node[:]
            scope.body.node.extend(rewritten)
    return changed


def _one_sided_pads(node: onnx.NodeProto) -> list[int] | None:
    """The pads, all begins and then all ends, of a node that is to be changed."""
    if node.op_type != "ConvTranspose" or node.domain not in ("", "ai.onnx"):
        return None
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if "output_shape" in values or values.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    pads = list(values.get("pads", ()))
    half = len(pads) // 2
    return pads if pads[:half] != pads[half:] and min(pads) >= 0 else None


def _split(node: onnx.NodeProto, pads: list[int], names: Names) -> list[onnx.NodeProto]:
    half = len(pads) // 2
    whole = onnx.NodeProto()
    whole.CopyFrom(node)
    for attribute in whole.attribute:
        if attribute.name == "pads":
            attribute.ints[:] = [0] * len(pads)
    label = node.name or node.output[0]
    whole.output[0] = names.free(f"{label}/whole")
    slices = {
        "starts": pads[:half],
        "ends": [-end if end else _TO_THE_END for end in pads[half:]],
        "axes": range(2, 2 + half),
    }
    nodes = [whole]
    for key, values in slices.items():
        tensor = numpy_helper.from_array(np.asarray(values, np.int64))
        name = names.free(f"{label}/{key}")
        nodes.append(helper.make_node("Constant", [], [name], name=name, value=tensor))
    inputs = [n.output[0] for n in nodes]
    cut = helper.make_node("Slice", inputs, [node.output[0]], name=names.free(f"{label}/cut"))
    return [*nodes, cut]
