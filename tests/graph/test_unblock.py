"""Squares that ONNX Runtime moved into the blocked layout of its convolutions."""

import itertools

import graph_models
import pytest
from onnx import helper

from frn_onnx.graph.fusion import fuse

FRN = "FilterResponseNormalization"
OTHERS = ["ReorderInput", "Conv", "ReorderOutput"]


def ops(model):
    return [node.op_type for node in model.graph.node]


def lines(model):
    return [(node.op_type, *node.input, *node.output) for node in model.graph.node]


def test_the_square_of_frn(rng):
    """It was computed before x left the blocks."""
    model = graph_models.parse(graph_models.BLOCKED, rng)
    result = fuse(model, form="custom")
    assert result.skipped == []
    assert ops(result.model) == [*OTHERS, "ReorderOutput", FRN]
    assert result.model.graph.node[-1].input[0] == "x"
    assert list(result.fused[0].replaced) == ["square", "nu2", "shifted", "root", "y"]


@pytest.mark.parametrize("x_last", [True, False])
def test_where_one_leaves_the_blocks_in_another_layout(rng, x_last):
    text = graph_models.BLOCKED.replace("Sqrt (shifted)", "Transpose <perm = PERM> (shifted)")
    text = text.replace("y = Div (x, root)", "r = Sqrt (root)\n  y = Div (x, r)")
    source, perm = ("(b)", "[0, 2, 3, 1]") if x_last else ("(q)", "[0, 3, 1, 2]")
    last = f"<channels = 8, channels_last = 1> {source}"
    text = text.replace("PERM", perm).replace(f"<channels = 8> {source}", last)
    if not x_last:
        text = text.replace("axes = [2, 3]", "axes = [1, 2]")
    result = fuse(graph_models.parse(text, rng), form="custom")
    assert result.skipped == []
    assert ops(result.model) == [*OTHERS, "ReorderOutput", FRN]
    assert result.fused[0].layout == ("NHWC" if x_last else "NCHW")


def test_of_what_is_no_such_node_nothing_is_said(rng):
    """ONNX does not know these ops, so that nobody has looked at their inputs."""
    model = graph_models.parse(graph_models.BLOCKED, rng)
    square = next(node for node in model.graph.node if node.output[0] == "square")
    for inputs in ([], [""], ["q", "q"]):
        square.input[:] = inputs
        assert fuse(model).fused == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"channels": "eight"},
        {"channels": [8]},
        {"channels": -8},
        {"channels": 8, "channels_last": "no"},
    ],
)
@pytest.mark.parametrize("name", ["x", "square"])
def test_of_what_says_something_else_nothing_is_said(rng, said, name):
    model = graph_models.parse(graph_models.BLOCKED, rng)
    node = next(node for node in model.graph.node if node.output[0] == name)
    del node.attribute[:]
    node.attribute.extend(itertools.starmap(helper.make_attribute, said.items()))
    assert fuse(model).fused == []


def test_what_gives_nothing_is_passed_over(rng):
    model = graph_models.parse(graph_models.BLOCKED, rng)
    next(node for node in model.graph.node if node.output[0] == "scaled").output[:] = []
    del model.graph.output[1]
    assert len(fuse(model).fused) == 1


def test_a_square_in_blocks_that_something_else_needs(rng):
    text = graph_models.BLOCKED.replace("(b, gamma)", "(q, gamma)")
    result = fuse(graph_models.parse(text, rng), form="custom")
    assert ops(result.model) == ["ReorderInput", "Mul", *OTHERS[1:], "ReorderOutput", FRN]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Sqrt (shifted)", "Neg (shifted)"),
        ("Mul (b, b)", "Mul (b, g)"),
        ("Mul (b, b)", "Add (b, b)"),
        ("<channels = 8> (b)", "<channels = 7> (b)"),
        ("y = Div (x, root)", "y = Div (scaled, root)"),
    ],
)
def test_what_is_not_stays_as_it_is(rng, old, new):
    text = graph_models.BLOCKED.replace(old, new)
    assert text != graph_models.BLOCKED
    model = graph_models.parse(text, rng)
    result = fuse(model, form="custom")
    assert result.fused == []
    assert sorted(lines(result.model)) == sorted(lines(model))
