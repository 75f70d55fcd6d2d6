"""A ConvTranspose taken apart into four convolutions."""

import itertools

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from frn_onnx import op
from frn_onnx.graph import model_io, sites
from frn_onnx.runtime.blocked import transposed


def model(rng, *, kernel=(3, 3), pads=(0, 0, 1, 1), bias=False, extra=(), **attributes):
    """x -> ConvTranspose -> FRN, of 3 to 8 channels."""
    weights = {"w": rng.normal(size=(3, 8, *kernel))}
    if bias:
        weights["b"] = rng.normal(size=8)
    weights |= {name: rng.normal(size=(8, 1, 1)) for name in ("gamma", "beta")}
    given = {"kernel_shape": kernel, "strides": [2, 2], "pads": list(pads), **attributes}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "w", *["b"] * bias], ["t"], **given),
        op.node(["t", "gamma", "beta"], "y", axes=(2, 3), name="frn"),
        *extra,
    ]
    graph = helper.make_graph(
        nodes,
        "transposed",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", 3, "h", "w"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), name) for name, v in weights.items()],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(op.DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def phases_of(made):
    graph = model_io.load(made)
    return transposed.phases(sites.frn_sites(graph)[0])


def convolve(x, kernel, pads, bias):
    node = helper.make_node("Conv", ["x", "w", *["b"] * (bias is not None)], ["y"], pads=pads)
    names = node.input
    function = helper.make_function("t", "T", names, ["y"], [node], [helper.make_opsetid("", 17)])
    feeds = dict(zip(names, [x, kernel, bias], strict=False))
    return ReferenceEvaluator(function).run(None, feeds, attributes={})[0]


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("kernel", "pads", "padding"),
    [
        ((3, 3), (0, 0, 1, 1), (0, 0)),
        ((3, 3), (1, 1, 0, 0), (0, 0)),
        ((2, 2), (0, 0, 0, 0), (0, 0)),
        ((4, 4), (1, 1, 1, 1), (0, 0)),
        ((3, 3), (1, 1, 1, 1), (1, 1)),
        ((5, 4), (1, 1, 2, 1), (0, 0)),
        ((6, 3), (2, 0, 2, 1), (0, 0)),
    ],
)
def test_the_four_are_the_whole(rng, kernel, pads, padding, bias):
    made = model(rng, kernel=kernel, pads=pads, bias=bias, output_padding=list(padding))
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
    whole = helper.make_function(
        "t",
        "T",
        list(made.graph.node[0].input),
        ["t"],
        [made.graph.node[0]],
        [helper.make_opsetid("", 17)],
    )
    weights = {w.name: numpy_helper.to_array(w) for w in made.graph.initializer}
    feeds = {"x": x} | {name: weights[name] for name in whole.input if name != "x"}
    (expected,) = ReferenceEvaluator(whole).run(None, feeds, attributes={})
    found = phases_of(made)
    y = np.zeros_like(expected)
    order = itertools.product((0, 1), (0, 1))
    for (row, column), kernel, pads in zip(order, found.kernels, found.pads, strict=True):
        y[:, :, row::2, column::2] = convolve(x, kernel, pads, found.bias)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "case",
    [
        {"pads": (0, 0, 0, 0)},
        {"strides": [1, 1]},
        {"dilations": [2, 2]},
        {"auto_pad": "SAME_UPPER"},
        {"output_shape": [10, 8]},
        {"extra": [helper.make_node("Relu", ["t"], ["more"])]},
        {"kernel": (1, 1), "pads": (0, 0, 0, 0), "output_padding": [1, 1]},
    ],
    ids=str,
)
def test_others_stay(rng, case):
    assert phases_of(model(rng, **case)) is None


def test_grouped_ones_stay(rng):
    made = model(rng, group=1)
    made.graph.node[0].attribute[-1].CopyFrom(helper.make_attribute("group", 3))
    assert phases_of(made) is None


def test_weights_that_are_computed_stay(rng):
    made = model(rng)
    made.graph.node.insert(0, helper.make_node("Abs", ["w"], ["abs"]))
    made.graph.node[1].input[1] = "abs"
    assert phases_of(made) is None
