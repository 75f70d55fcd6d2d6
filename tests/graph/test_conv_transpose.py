"""ConvTranspose without one-sided pads gives the same bits."""

import graph_models
import numpy as np
import onnx
import pytest

from frn_onnx.graph.conv_transpose import fix_conv_transpose

pytest.importorskip("onnxruntime")

MODEL = """
<ir_version: 8, opset_import: ["": 13]>
g (float[N,4,H,W] x) => (float[N,3,I,J] y) <float[4,3,3,3] w, float[3] b>
{ [up] y = ConvTranspose <ATTRIBUTES> (x, w, b) }
"""


def fixed(model):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy, fix_conv_transpose(copy)


@pytest.mark.parametrize(
    "attributes",
    [
        "strides = [2,2], pads = [0,0,1,1]",
        "strides = [2,2], pads = [1,1,0,0], kernel_shape = [3,3]",
        "strides = [2,1], pads = [1,0,1,2], output_padding = [1,0]",
        "strides = [3,2], pads = [0,1,2,0], dilations = [2,1]",
        "strides = [2,2], pads = [0,0,1,1], group = 1, output_padding = [1,1]",
        'strides = [2,2], auto_pad = "SAME_UPPER"',
        'strides = [2,2], auto_pad = "SAME_LOWER", kernel_shape = [3,3]',
        'strides = [2,3], auto_pad = "SAME_LOWER", dilations = [1,2]',
        'strides = [3,1], auto_pad = "SAME_UPPER", output_padding = [1,0]',
        'strides = [4,2], auto_pad = "SAME_UPPER"',
    ],
)
@pytest.mark.parametrize("height", [1, 2, 7])
def test_the_same_bits(rng, attributes, height):
    model = graph_models.parse(MODEL.replace("ATTRIBUTES", attributes), rng)
    after, count = fixed(model)
    assert count == 1
    onnx.checker.check_model(after, full_check=True)
    x = rng.normal(size=(2, 4, height, 5)).astype(np.float32)
    before = graph_models.run(model, {"x": x})[0]
    np.testing.assert_array_equal(graph_models.run(after, {"x": x})[0], before)
    (node,) = [n for n in after.graph.node if n.op_type == "ConvTranspose"]
    assert node.name == "up"
    assert {a.name: list(a.ints) for a in node.attribute}["pads"] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    "attributes",
    [
        "strides = [2,2]",
        "strides = [2,2], pads = [1,1,1,1]",
        'strides = [2,2], auto_pad = "VALID"',
        'strides = [4,4], auto_pad = "SAME_UPPER"',
        'strides = [1,1], auto_pad = "SAME_UPPER"',
        "strides = [2,2], output_shape = [6,6]",
    ],
)
def test_what_stays(rng, attributes):
    model = graph_models.parse(MODEL.replace("ATTRIBUTES", attributes), rng)
    assert fixed(model) == (model, 0)


@pytest.mark.parametrize(
    ("attributes", "count"),
    [
        ("output_shape = [14,10]", 1),
        ("output_shape = [14,9], pads = [3,0,0,0]", 1),
        ('output_shape = [14,10], auto_pad = "SAME_UPPER"', 1),
        ('output_shape = [14,10], auto_pad = "SAME_LOWER", kernel_shape = [3,3]', 1),
        ('output_shape = [12,10], auto_pad = "VALID"', 1),
        ("output_shape = [13,9], dilations = [1,1]", 0),
        ("output_shape = [16,12], output_padding = [1,1]", 0),
        ("output_shape = [16,10]", 0),
    ],
)
def test_a_given_size(rng, attributes, count):
    text = MODEL.replace("ATTRIBUTES", f"strides = [2,2], {attributes}")
    model = graph_models.parse(text.replace("N,4,H,W", "2,4,7,5"), rng)
    after, changed = fixed(model)
    assert changed == count
    onnx.checker.check_model(after, full_check=True)
    x = rng.normal(size=(2, 4, 7, 5)).astype(np.float32)
    before = graph_models.run(model, {"x": x})[0]
    np.testing.assert_array_equal(graph_models.run(after, {"x": x})[0], before)


def test_a_given_size_of_an_input_whose_size_is_inferred(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 13]>
        g (float[N,2,9] x) => (float[N,2,V] y) <float[2,2,2] w>
        {
          c = Conv <strides = [2]> (x, w)
          y = ConvTranspose <strides = [2], output_shape = [7]> (c, w)
        }
        """,
        rng,
    )
    after, changed = fixed(model)
    assert changed == 1
    x = rng.normal(size=(3, 2, 9)).astype(np.float32)
    before = graph_models.run(model, {"x": x})[0]
    np.testing.assert_array_equal(graph_models.run(after, {"x": x})[0], before)


def test_old_opsets_stay(rng):
    text = MODEL.replace("ATTRIBUTES", "pads = [0,0,1,1]").replace('"": 13', '"": 9')
    model = graph_models.parse(text, rng)
    assert fixed(model) == (model, 0)


def test_rank_3_in_a_subgraph_and_in_a_function(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 18, "local": 1]>
        g (float[N,2,W] x, bool c) => (float[N,2,V] y, float[N,2,U] z) <float[2,2,3] w>
        {
          y = If (c) <
            then_branch = yes () => (float[N,2,V] t) {
              t = ConvTranspose <strides = [2], pads = [0,1]> (x, w)
            },
            else_branch = no () => (float[N,2,V] u) { u = Identity (x) }>
          z = local.Up (x, w)
        }
        <domain: "local", opset_import: ["": 18]>
        Up (x, w) => (y) { y = ConvTranspose <strides = [2], pads = [1,0]> (x, w) }
        """,
        rng,
    )
    after, count = fixed(model)
    assert count == 2
    onnx.checker.check_model(after, full_check=True)
    feeds = {"x": rng.normal(size=(1, 2, 5)).astype(np.float32), "c": np.array(True)}
    for a, b in zip(graph_models.run(model, feeds), graph_models.run(after, feeds), strict=True):
        np.testing.assert_array_equal(a, b)


def test_two_that_share_a_weight(rng):
    text = MODEL.replace(
        "{ [up] y = ConvTranspose <ATTRIBUTES> (x, w, b) }",
        """{
          s = ConvTranspose <pads = [0,0,1,1]> (x, w, b)
          t = ConvTranspose <pads = [0,0,1,1]> (x, w, b)
          y = Add (s, t)
        }""",
    )
    after, count = fixed(graph_models.parse(text, rng))
    assert count == 2
    onnx.checker.check_model(after, full_check=True)
