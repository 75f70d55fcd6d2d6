"""Reshapes that do what a Transpose does: which they are, and that they come back."""

import onnx_ir as ir
import pytest
from matcher_graphs import Lines, ints

from frn_onnx.graph.edit import remove_unused
from frn_onnx.graph.transposes import reshapes

ARRAYS = {"nhwc": ints(0, 1, 1, -1), "same": ints(0, 3, 1, 1), "number": ints(2, 1, 1, 3)}
ARRAYS |= {"merge": ints(0, -1, 1, 1), "flat": ints(0, -1), "swap": ints(3, 1, 1, 2)}


def lines(body: str, x: str, **more) -> Lines:
    return Lines(body, arrays=ARRAYS, x=x, **more)


def turned(made: Lines):
    return reshapes.as_transposes(list(made.model.graph), made.constants, made.shapes)


@pytest.mark.parametrize(
    ("node", "x", "perm"),
    [
        ("Reshape(x, nhwc)", "float[N,3,1,1]", (0, 2, 3, 1)),
        ("Reshape(x, nhwc)", "float[N,C,1,1]", (0, 2, 3, 1)),
        ("Reshape(x, number)", "float[2,3,1,1]", (0, 2, 3, 1)),
        ("Reshape(x, number)", "float[N,3,1,1]", None),
        ("Reshape(x, same)", "float[N,3,1,1]", None),
        ("Reshape(x, nhwc)", "float[N,3,5,1]", None),
        ("Reshape(x, swap)", "float[2,3,1,1]", None),
        ("Reshape(x, flat)", "float[N,3,1,1]", None),
        ("Reshape(x, u)", "float[N,3,1,1]", None),
        ("Reshape<allowzero = 1>(x, nhwc)", "float[N,3,1,1]", None),
        ("other.Reshape(x, nhwc)", "float[N,3,1,1]", None),
    ],
)
def test_which_they_are(node, x, perm):
    made = lines(f"y = {node}", x, inputs=("int64[4] u",))
    (reshape,) = made.model.graph
    before = ir.to_proto(made.model).SerializeToString()
    with turned(made):
        assert reshape.op_type == ("Reshape" if perm is None else "Transpose")
        if perm is not None:
            assert tuple(reshape.attributes["perm"].as_ints()) == perm
            assert len(reshape.inputs) == 1
    assert ir.to_proto(made.model).SerializeToString() == before


BODY = "a = Relu(x)\ny = Reshape(a, nhwc)\nz = Relu(y)"


def test_they_stay_transposes_with_another_perm_or_input():
    for change in ("perm", "input"):
        made = lines(BODY, "float[N,3,1,1]")
        reshape = made.values["y"].producer()
        with turned(made):
            if change == "perm":
                reshape.attributes["perm"] = ir.AttrInt64s("perm", (0, 3, 2, 1))
            else:
                reshape.replace_input_with(0, made.values["x"])
        assert reshape.op_type == "Transpose"
        assert len(reshape.inputs) == 1
        assert "nhwc" not in made.model.graph.initializers


def test_one_whose_input_is_in_another_order_now_stays_a_transpose():
    made = lines(BODY, "float[N,3,1,1]")
    reshape = made.values["y"].producer()
    with turned(made):
        made.shapes.moved(made.values["a"], (0, 2, 1, 3))
    assert reshape.op_type == "Transpose"


def test_one_that_is_gone_takes_its_shape_along():
    made = lines(BODY, "float[N,3,1,1]")
    reshape = made.values["y"].producer()
    with turned(made):
        made.values["y"].replace_all_uses_with(made.values["a"])
        made.model.graph.remove(reshape, safe=True)
    assert [node.op_type for node in made.model.graph] == ["Relu", "Relu"]
    assert "nhwc" not in made.model.graph.initializers


@pytest.mark.parametrize("removed", ["y", "other"])
def test_a_shape_that_another_shares_stays(removed):
    body = "a = Relu(x)\nother = Reshape(x, nhwc)\ny = Reshape(a, nhwc)\nb = Relu(other)"
    made = lines(f"{body}\nz = Add(b, y)", "float[N,3,1,1]")
    with turned(made):
        made.values[removed].replace_all_uses_with(made.values["a"])
        remove_unused(made.values[removed])
    (left,) = (node for node in made.model.graph if node.op_type == "Reshape")
    assert left.inputs[1] is made.model.graph.initializers["nhwc"]
