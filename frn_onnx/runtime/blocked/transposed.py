"""ConvTranspose with FRN behind it as four convolutions, one for each parity of output pixels.

A ConvTranspose of stride 2 is not blocked by ONNX Runtime. Its output pixels of even or odd rows
and columns are four plain convolutions of its input, which are. The FRN node behind reads the four
of them, and interleaves what it writes.

Until the optimiser has run, activations with marks stand for FRN as elsewhere, one behind each
convolution; their sum, made twice as large by a Resize that is blocked, stands for the result.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from frn_onnx import op
from frn_onnx.graph.edit import FreeNames, add_initializer, constant
from frn_onnx.graph.sites import Site
from frn_onnx.graph.standard import is_standard

INTERLEAVING = "InterleavingFrn"
INPUTS: tuple[str, ...] = ("X", "X01", "X10", "X11", "gamma", "beta", "tau", "epsilon")
# Before it, Resize had other inputs.
OLDEST_OPSET = 13


@dataclass(frozen=True)
class Phases:
    """A ConvTranspose that can be taken apart.

    Attributes:
        node: it.
        kernels: of the convolutions, for even and odd rows, and within these columns.
        pads: of each, as Conv has them.
        bias: of all.
    """

    node: ir.Node
    kernels: list[np.ndarray]
    pads: list[list[int]]
    bias: np.ndarray | None


def phases(site: Site) -> Phases | None:
    """The ConvTranspose in front of an FRN node; None unless it is four convolutions."""
    x = site.node.inputs[0]
    node = x.producer()
    if site.node.op_type != op.OP_TYPE or not is_standard(node, "ConvTranspose"):
        return None
    if len(x.uses()) != 1 or x.is_graph_output():
        return None
    weights = [constant(value) for value in node.inputs[1:] if value is not None]
    if None in weights or weights[0].dtype != ir.DataType.FLOAT or weights[0].shape.rank() != 4:
        return None
    kernel, *bias = [tensor.numpy() for tensor in weights]
    rows, columns = _axis(node, 0, kernel.shape[2]), _axis(node, 1, kernel.shape[3])
    if rows is None or columns is None:
        return None
    kernels, pads = [], []
    for (ky, top, bottom), (kx, left, right) in itertools.product(rows, columns):
        part = kernel[:, :, ky][:, :, :, kx].transpose(1, 0, 2, 3)
        kernels.append(np.ascontiguousarray(part))
        pads.append([top, left, bottom, right])
    return Phases(node, kernels, pads, bias[0] if bias else None)


def _axis(node: ir.Node, axis: int, size: int) -> list[tuple[list[int], int, int]] | None:
    """For even and odd outputs: the rows of the kernel that meet them, and the input's pads.

    Output o = 2 * i + k - pad sums input i times the kernel's row k: for o = 2 * h + parity that
    is input h + (parity + pad - k) / 2, for every k for which that is whole.
    """

    def ints(name: str, default: list[int]) -> list[int]:
        stated = node.attributes.get(name)
        return default if stated is None else list(stated.as_ints())

    begin, end = (ints("pads", [0, 0, 0, 0])[i] for i in (axis, axis + 2))
    grown = size - begin - end + ints("output_padding", [0, 0])[axis]
    simple = (
        ints("strides", [1, 1])[axis] == 2
        and ints("dilations", [1, 1])[axis] == 1
        and node.attributes.get_int("group", 1) == 1
        and node.attributes.get_string("auto_pad", "NOTSET") == "NOTSET"
        and "output_shape" not in node.attributes
    )
    if not simple or grown != 2:  # the output is exactly twice as large as the input
        return None
    halves = []
    for parity in (0, 1):
        offsets = {
            (parity + begin - k) // 2: k for k in range(size) if (parity + begin - k) % 2 == 0
        }
        first, last = min(offsets, default=1), max(offsets, default=-1)
        if first > 0 or last < 0:
            return None
        halves.append(([offsets[offset] for offset in range(first, last + 1)], -first, last))
    return halves


def put_in(found: Phases, names: FreeNames, title: str) -> list[ir.Value]:
    """The outputs of four convolutions, put in front of the ConvTranspose that they replace."""
    graph = found.node.graph
    bias = []
    if found.bias is not None:
        bias = [add_initializer(graph, names.free(f"{title}/bias"), found.bias)]
    convs: list[ir.Node] = []
    for kernel, pads in zip(found.kernels, found.pads, strict=True):
        number = len(convs)
        weight = add_initializer(graph, names.free(f"{title}/kernel_{number}"), kernel)
        conv = ir.node(
            "Conv",
            [found.node.inputs[0], weight, *bias],
            {"kernel_shape": list(kernel.shape[2:]), "pads": pads, "strides": [1, 1]},
            name=f"{title}/Conv_{number}",
        )
        conv.outputs[0].name = f"{conv.name}_output"
        convs.append(conv)
    graph.insert_before(found.node, convs)
    return [conv.outputs[0] for conv in convs]
