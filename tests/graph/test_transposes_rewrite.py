"""What the move of a region leaves behind: names, the Transposes that stay, outputs, sizes."""

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from transpose_models import arranged, model_of, nhwc_block, parameters, run, transpose

from frn_onnx import op
from frn_onnx.graph import lower
from frn_onnx.graph.transposes import Region

NCHW, NHWC = (2, 3, 5, 4), (2, 5, 4, 3)
TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@pytest.fixture
def weights(rng):
    return parameters(rng, (1, 2), 3)


def kinds(model: onnx.ModelProto) -> Counter:
    return Counter(node.op_type for node in model.graph.node)


def names(model: onnx.ModelProto, op_type: str) -> list[tuple[str, str]]:
    """Of the nodes of a type: their names, and those of their outputs."""
    return [(n.name, n.output[0]) for n in model.graph.node if n.op_type == op_type]


def assert_same(model: onnx.ModelProto, result: onnx.ModelProto, feeds: dict) -> None:
    onnx.checker.check_model(lower(result, "portable"), full_check=True)
    for before, after in zip(run(model, feeds), run(result, feeds), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def unary(op_type: str, x: str, y: str) -> onnx.NodeProto:
    return helper.make_node(op_type, [x], [y], y)


def test_new_nodes_are_named_after_the_tensor(rng, weights):
    """FRN moves: what else reads it is given the old order, sizes by a Gather if need be."""
    sizes = [unary("Shape", "f", "s"), helper.make_node("Cast", ["s"], ["z"], "z", to=1)]
    read = helper.make_node("MatMul", ["f", "w"], ["q"], "q")
    kernel = {"w": rng.normal(size=(3, 2)).astype(np.float32)}
    moved = {f"{name}/moved" for name in weights}
    for more, transposes, gathers, constants in (
        (sizes, [], [("s/Gather", "s/Gather_output")], {"s/perm"}),
        ([*sizes, read], [("f/Transpose", "f/Transpose_output")], [], {"w"}),
    ):
        outputs = {"y": NCHW, "z": (4,)} | ({"q": (2, 5, 4, 2)} if read in more else {})
        given = weights | (kernel if read in more else {})
        model = model_of(nhwc_block(weights, more), given, {"x": NCHW}, outputs)
        result = arranged(model)
        assert names(result, "Transpose") == transposes
        assert names(result, "Gather") == gathers
        assert {tensor.name for tensor in result.graph.initializer} == moved | constants
        assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


def test_a_transpose_that_is_needed_still_is_kept(rng, weights):
    """Under its name, and in front of all that reads it."""
    kernel = {"w": rng.normal(size=(3, 2)).astype(np.float32)}
    nodes = [
        helper.make_node("Softsign", ["x"], ["x0"], "x0"),
        transpose("x0", "kept", TO_LAST),
        helper.make_node("MatMul", ["kept", "w"], ["q"], "q"),
        op.node(["kept", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        transpose("f", "u", TO_FIRST),
        helper.make_node("LRN", ["u"], ["y"], "y", size=3),
        helper.make_node("LRN", ["x0"], ["z"], "z", size=3),
    ]
    outputs = {"y": NCHW, "z": NCHW, "q": (2, 5, 4, 2)}
    model = model_of(nodes, weights | kernel, {"x": NCHW}, outputs)
    result = arranged(model)
    assert names(result, "Transpose") == [("kept", "kept")]
    assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


@pytest.mark.parametrize(
    ("op_type", "more", "names"),
    [
        ("Slice", {"from": np.array([0, 1]), "to": np.array([2, 5])}, ["from", "to", "s/moved"]),
        ("Pad", {"pads": np.array([0, 1, 2, 0, 0, 3, 0, 1])}, ["pads/moved"]),
    ],
)
def test_axes_that_were_left_out(rng, weights, op_type, more, names):
    """A Slice of the first axes has to say so where those are elsewhere; pads change places."""
    nodes = nhwc_block(weights, [helper.make_node(op_type, ["f", *more], ["s"], "s")])
    nodes[-2].input[0] = "s"
    model = model_of(nodes, weights | more, {"x": NCHW}, {"y": [None] * 4})
    result = arranged(model)
    assert "Transpose" not in kinds(result)
    (node,) = (node for node in result.graph.node if node.op_type == op_type)
    assert list(node.input) == ["f", *names]
    assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


def test_another_transpose_of_what_moves(rng, weights):
    """It reads the new order, and leads where it led."""
    more = [transpose("f", "w", (0, 2, 1, 3)), helper.make_node("LRN", ["w"], ["z"], "z", size=3)]
    model = model_of(nhwc_block(weights, more), weights, {"x": NCHW}, {"y": NCHW, "z": [None] * 4})
    result = arranged(model)
    (left,) = (node for node in result.graph.node if node.op_type == "Transpose")
    assert (left.input[0], list(left.attribute[0].ints)) == ("f", [0, 3, 2, 1])
    assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


def test_a_transpose_that_changes_nothing_goes(rng, weights):
    """But for one that the graph gives out."""
    nodes = [
        transpose("x", "same", (0, 1, 2, 3)),
        helper.make_node("LRN", ["same"], ["l"], "l", size=3),
        op.node(["l", *parameters(rng, (2, 3), 3, prefix="p")], "f", axes=(2, 3), name="f"),
        helper.make_node("LRN", ["f"], ["y"], "y", size=3),
        transpose("y", "z", (0, 1, 2, 3)),
    ]
    given = parameters(rng, (2, 3), 3, prefix="p")
    model = model_of(nodes, given, {"x": NCHW}, {"y": NCHW, "z": NCHW})
    result = arranged(model)
    assert names(result, "Transpose") == [("z", "z")]
    assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


def test_transposes_of_another_domain_or_without_a_perm(rng, weights):
    """The start of a region is a Transpose of ONNX that says its perm."""
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], "a", domain="other", perm=TO_LAST),
        op.node(["a", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        helper.make_node("Transpose", ["f"], ["y"], "y", domain="other", perm=TO_FIRST),
        unary("Transpose", "f", "z"),
    ]
    model = model_of(nodes, weights, {"x": NCHW}, {"y": NCHW, "z": NHWC[::-1]})
    assert [node.op_type for node in arranged(model).graph.node] == [n.op_type for n in nodes]


def test_a_layout_on_the_other_side_of_a_region(rng):
    """The second FRN works behind a Transpose of x, and has the layout asked for before it."""
    first, second = parameters(rng, (2, 3), 3), parameters(rng, (1, 3), 4, prefix="q")
    nodes = [
        op.node(["x", *first], "f", axes=(2, 3), epsilon=0.1, name="f"),
        transpose("x", "t", TO_LAST),
        op.node(["t", *second], "g", axes=(1, 3), epsilon=0.2, name="g"),
        helper.make_node("LRN", ["f"], ["y"], "y", size=3),
        helper.make_node("LRN", ["g"], ["z"], "z", size=3),
    ]
    model = model_of(nodes, first | second, {"x": NCHW}, {"y": NCHW, "z": NHWC})
    result = arranged(model, "NHWC")
    for node in result.graph.node:
        if node.op_type == op.OP_TYPE:
            (axes,) = (list(a.ints) for a in node.attribute if a.name == "axes")
            assert axes == [1, 2]
    assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


def test_a_region_without_gain_is_looked_at_once(rng, weights, monkeypatch):
    grown = []
    grow = Region.grow
    monkeypatch.setattr(Region, "grow", lambda *args: (grown.append(args), grow(*args)))
    kernel = {"w": rng.normal(size=(3, 2)).astype(np.float32)}
    nodes = [unary("Softsign", "x", "x0")]
    for i in range(6):
        nodes += [
            transpose("x0", f"t{i}", TO_LAST),
            op.node([f"t{i}", *weights], f"f{i}", axes=(1, 2), epsilon=0.1, name=f"f{i}"),
            helper.make_node("MatMul", [f"f{i}", "w"], [f"y{i}"], f"y{i}"),
        ]
    outputs = {f"y{i}": (2, 5, 4, 2) for i in range(6)}
    result = arranged(model_of(nodes, weights | kernel, {"x": NCHW}, outputs))
    assert kinds(result)["Transpose"] == 6
    assert len(grown) == 1


def test_a_region_is_looked_at_once(weights, monkeypatch):
    """However many Transposes are in it: time stays linear."""
    grown = Counter()
    grow = Region.grow

    def counted(region, value, perm, start=None):
        grown[perm] += 1
        grow(region, value, perm, start)

    monkeypatch.setattr(Region, "grow", counted)
    nodes = [unary("Softsign", "x", "y0")]
    for i in range(12):
        nodes += [
            transpose(f"y{i}", f"t{i}", TO_LAST),
            op.node([f"t{i}", *weights], f"f{i}", axes=(1, 2), epsilon=0.1, name=f"f{i}"),
            transpose(f"f{i}", f"y{i + 1}", TO_FIRST),
        ]
    nodes.append(helper.make_node("LRN", ["y12"], ["y"], "y", size=3))
    result = arranged(model_of(nodes, weights, {"x": NCHW}, {"y": NCHW}))
    assert "Transpose" not in kinds(result)
    assert grown.total() <= 2


def test_an_output_that_becomes_another_one(rng, weights):
    """What stood between two Transposes is given out already: an Identity says so."""
    nodes = [
        unary("Softsign", "x", "x0"),
        transpose("x0", "t", TO_LAST),
        transpose("t", "back", TO_FIRST),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        transpose("f", "u", TO_FIRST),
    ]
    outputs = dict.fromkeys(("x0", "back", "u"), NCHW)
    model = model_of(nodes, weights, {"x": NCHW}, outputs)
    result = arranged(model)
    assert kinds(result) == {"Softsign": 1, op.OP_TYPE: 1, "Identity": 1}
    assert [value.name for value in result.graph.output] == list(outputs)
    assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


@pytest.mark.parametrize("names", [["u", "u"], ["t", "t", "u"], ["u", "t", "u", "t"]])
def test_outputs_that_are_given_out_twice(rng, weights, names):
    """They keep their name, at each place."""
    nodes = [
        transpose("x", "t", TO_LAST),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        transpose("f", "u", TO_FIRST),
    ]
    model = model_of(nodes, weights, {"x": NCHW}, {"t": NHWC, "u": NCHW})
    given = {value.name: value for value in list(model.graph.output)}
    del model.graph.output[:]
    model.graph.output.extend(given[name] for name in names)
    result = arranged(model)
    assert [value.name for value in result.graph.output] == names
    assert_same(model, result, {"x": rng.normal(size=NCHW).astype(np.float32)})


def test_an_output_of_a_branch_that_is_a_value_outside(rng, weights):
    """What stood between two Transposes is the If's own outside: an Identity says so."""
    inner = [
        transpose("x0", "t", TO_LAST),
        transpose("t", "back", TO_FIRST),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        transpose("f", "u", TO_FIRST),
    ]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, NCHW) for n in ("back", "u")]
    then = helper.make_graph(inner, "then", [], outputs)
    plain = [unary("Neg", "x0", "n"), unary("Abs", "x0", "m")]
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, NCHW) for n in "nm"]
    other = helper.make_graph(plain, "other", [], outputs)
    nodes = [
        unary("Softsign", "x", "x0"),
        helper.make_node("If", ["c"], ["y", "z"], "if", then_branch=then, else_branch=other),
    ]
    model = model_of(nodes, weights, {"x": NCHW, "c": ()}, {"y": NCHW, "z": NCHW})
    result = arranged(model)
    nodes = list(ir.from_proto(result).graph.all_nodes())
    assert not any(node.op_type == "Transpose" for node in nodes)
    (same,) = (node for node in nodes if node.op_type == "Identity")
    assert (same.name, same.outputs[0].name) == ("back/Identity", "back")
    x = rng.normal(size=NCHW).astype(np.float32)
    for choice in (True, False):
        assert_same(model, result, {"x": x, "c": np.array(choice)})
