"""Transposes around FRN nodes, on graphs made by hand."""

import itertools

import export_cases
import numpy as np
import onnx
import pytest
import tolerances
from onnx import TensorProto, helper
from transpose_models import (
    arranged,
    model_of,
    nhwc_block,
    parameters,
    run,
    transpose,
    transposes,
)

from frn_onnx import op, reference
from frn_onnx.graph import lower

# One size for each axis, so that no two axes can be mistaken for each other.
SHAPE = (2, 3, 5, 4, 7)


def all_perms():
    for rank in op.RANKS:
        for rest in itertools.permutations(range(1, rank)):
            for channel in range(1, rank):
                yield pytest.param((0, *rest), channel, id=f"{(0, *rest)}-C{channel}")


@pytest.mark.parametrize(("perm", "channel"), list(all_perms()))
def test_a_transpose_passes_frn(rng, perm, channel):
    """FRN(Transpose(x)) becomes Transpose(FRN(x)), or FRN(x) where a second one undoes it."""
    rank = len(perm)
    shape = SHAPE[:rank]
    moved = [shape[p] for p in perm]
    axes = tuple(a for a in range(1, rank) if a != channel)
    weights = parameters(rng, axes, moved[channel])
    back = [perm.index(a) for a in range(rank)]
    nodes = [
        transpose("x", "t", perm),
        op.node(["t", *weights], "f", axes=axes, epsilon=0.1, name="frn"),
        transpose("f", "b", back),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    model = model_of(nodes, weights, {"x": shape}, {"y": shape})
    result = arranged(model, "auto")
    assert transposes(result) == 0
    (node,) = export_cases.frn_nodes(result)
    expected_axes = tuple(sorted(perm[a] for a in axes))
    assert export_cases.attributes(node) == (expected_axes, pytest.approx(0.1))
    for found, given in zip(
        export_cases.channel_values(result, node), weights.values(), strict=True
    ):
        np.testing.assert_array_equal(found, given.reshape(-1))

    x = export_cases.normal(rng, *shape)
    values = [v.reshape(-1) for v in weights.values()]
    case = {"epsilon": 0.1, "axes": expected_axes}
    bound = tolerances.frn_bound(x, *values, **case)
    (y,) = run(result, {"x": x})
    tolerances.assert_within(-y, reference.frn(x, *values, **case), bound)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_optional_parameters_move_with_the_channels(rng, count):
    axes, perm = (1, 2), (0, 2, 3, 1)
    weights = parameters(rng, axes, 3, count)
    if count == 4:
        weights["tau"] = weights["tau"] - 3
    nodes = [
        transpose("x", "t", perm),
        op.node(["t", *weights], "f", axes=axes, epsilon=0.1),
        transpose("f", "b", (0, 3, 1, 2)),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    shape = (2, 3, 5, 4)
    model = model_of(nodes, weights, {"x": shape}, {"y": shape})
    result = arranged(model, "auto")
    assert transposes(result) == 0
    (node,) = export_cases.frn_nodes(result)
    assert len(node.input) == 1 + count
    x = export_cases.normal(rng, *shape)
    np.testing.assert_array_equal(run(result, {"x": x})[0], run(model, {"x": x})[0])


def test_parameters_shared_with_a_node_that_stays(rng):
    """Two nodes share all parameters; a Transpose passes through one of them only."""
    weights = parameters(rng, (1, 2), 3)
    nodes = [
        transpose("a", "t", (0, 2, 3, 1)),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="moves"),
        transpose("f", "u", (0, 3, 1, 2)),
        helper.make_node("Neg", ["u"], ["y"]),
        op.node(["b", *weights], "z", axes=(1, 2), epsilon=0.1, name="stays"),
    ]
    nchw, nhwc = (2, 3, 5, 4), (2, 5, 4, 3)
    model = model_of(nodes, weights, {"a": nchw, "b": nhwc}, {"y": nchw, "z": nhwc})
    result = arranged(model, "auto")
    assert transposes(result) == 0
    axes = {node.name: export_cases.attributes(node)[0] for node in export_cases.frn_nodes(result)}
    assert axes == {"moves": (2, 3), "stays": (1, 2)}
    feeds = {"a": export_cases.normal(rng, *nchw), "b": export_cases.normal(rng, *nhwc)}
    for after, before in zip(run(result, feeds), run(model, feeds), strict=True):
        np.testing.assert_array_equal(after, before)


def test_a_transpose_that_moves_the_batch_stays(rng):
    weights = parameters(rng, (2, 3), 2)
    nodes = [
        transpose("x", "t", (1, 0, 2, 3)),
        op.node(["t", *weights], "f", axes=(2, 3)),
        transpose("f", "b", (1, 0, 2, 3)),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    model = model_of(nodes, weights, {"x": (2, 3, 5, 4)}, {"y": (2, 3, 5, 4)})
    result = arranged(model, "auto")
    assert transposes(result) == 2
    x = export_cases.normal(rng, 2, 3, 5, 4)
    np.testing.assert_array_equal(run(result, {"x": x})[0], run(model, {"x": x})[0])


def test_an_op_of_the_same_name_in_another_domain_stays():
    nodes = [
        transpose("x", "t", (0, 2, 3, 1)),
        helper.make_node(op.OP_TYPE, ["t"], ["f"], "other", domain="other", axes=[1, 2]),
        transpose("f", "y", (0, 3, 1, 2)),
    ]
    model = model_of(nodes, {}, {"x": (2, 3, 5, 4)}, {"y": (2, 3, 5, 4)})
    assert transposes(arranged(model, "auto")) == 2


def test_nothing_moves_where_there_is_no_frn_or_the_opset_is_old(rng):
    """Up to opset 6 operands were not broadcast as NumPy does it."""
    nodes = [
        transpose("x", "t", (0, 2, 3, 1)),
        helper.make_node("Relu", ["t"], ["f"]),
        transpose("f", "b", (0, 3, 1, 2)),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    shapes = {"x": (2, 3, 5, 4)}, {"y": (2, 3, 5, 4)}
    assert transposes(arranged(model_of(nodes, {}, *shapes))) == 2
    weights = parameters(rng, (1, 2), 3)
    nodes[1] = op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1)
    for opset, left in ((6, 2), (7, 0)):
        assert transposes(arranged(model_of(nodes, weights, *shapes, opset))) == left


@pytest.mark.parametrize("opset", [13, 17, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2), (0, 3, 2, 1)])
@pytest.mark.parametrize("axes", [(1, 2), (1,), (2, 3), (-1,), (3, 1), (0, -2), (0, 1, 2, 3)])
def test_a_transpose_passes_a_mean(rng, opset, keepdims, axes, perm):
    """The pooling at the end of a network; the axes left over keep their order."""
    kept = len(axes) if not keepdims else 0
    shape = (2, 3, 5, 4)
    weights = parameters(rng, (1, 2), shape[perm[3]])
    initializers, inputs, more = dict(weights), ["f"], {"axes": axes}
    if opset >= 18:
        initializers["axes"] = np.array(axes, dtype=np.int64)
        inputs, more = ["f", "axes"], {}
    nodes = [
        transpose("x", "t", perm),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1),
        helper.make_node("ReduceMean", inputs, ["m"], "m", keepdims=keepdims, **more),
        helper.make_node("Neg", ["m"], ["y"]),
    ]
    output = [f"d{i}" for i in range(4 - kept)]
    model = model_of(nodes, initializers, {"x": shape}, {"y": output}, opset)
    result = arranged(model)
    gone = [a % 4 for a in axes]
    left = [perm[a] for a in range(4) if a not in gone]
    ordered = not keepdims and left == sorted(left)
    assert transposes(result) == (0 if ordered or (len(axes) == 4 and not keepdims) else 1)
    onnx.checker.check_model(lower(result, "portable"), full_check=True)
    x = export_cases.normal(rng, *shape)
    (before,), (after,) = run(model, {"x": x}), run(result, {"x": x})
    assert after.shape == before.shape
    # The mean is of the same numbers; only the order in which they are summed may differ.
    bound = 20 * tolerances.unit_roundoff(np.float32) * np.abs(before).max() * 10
    tolerances.assert_within(after, before, bound)


def branches(rng):
    """Conv, FRN, and two outputs that keep channels last: passing FRN costs a Transpose more."""
    weights = parameters(rng, (1, 2), 6)
    weights["w"] = rng.normal(size=(6, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        transpose("c", "t", (0, 2, 3, 1)),
        op.node(["t", "gamma", "beta", "tau"], "f", axes=(1, 2), epsilon=0.1, name="frn"),
        helper.make_node("Sigmoid", ["f"], ["y"], "y"),
        helper.make_node("Tanh", ["f"], ["z"], "z"),
        helper.make_node("Sqrt", ["y"], ["p"], "p"),
        helper.make_node("Neg", ["z"], ["q"], "q"),
    ]
    nhwc = (2, 5, 4, 6)
    return model_of(nodes, weights, {"x": (2, 3, 5, 4)}, {"p": nhwc, "q": nhwc})


def test_auto_takes_the_fewest_transposes(rng):
    assert transposes(arranged(branches(rng))) == 1


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("rank", op.RANKS)
@pytest.mark.parametrize("channel_first", [True, False])
def test_a_layout_that_is_asked_for(rng, layout, rank, channel_first):
    shape = SHAPE[:rank]
    channel = 1 if channel_first else rank - 1
    axes = tuple(a for a in range(1, rank) if a != channel)
    weights = parameters(rng, axes, shape[channel])
    nodes = [
        helper.make_node("Neg", ["x"], ["n"]),
        op.node(["n", *weights], "f", axes=axes, epsilon=0.1, name="frn"),
        helper.make_node("Neg", ["f"], ["y"]),
    ]
    model = model_of(nodes, weights, {"x": shape}, {"y": shape})
    result = arranged(model, layout)
    (node,) = export_cases.frn_nodes(result)
    wanted = 1 if layout == "NCHW" else rank - 1
    assert op.channel_axis(export_cases.attributes(node)[0]) == wanted
    assert transposes(result) == (0 if wanted == channel else 2)
    x = export_cases.normal(rng, *shape)
    np.testing.assert_allclose(run(result, {"x": x})[0], run(model, {"x": x})[0], rtol=0, atol=0)


def test_frn_in_a_subgraph(rng):
    """The parameters of a node in a branch of an If can be outside of it."""
    weights = parameters(rng, (1, 2), 3)

    def branch(name, epsilon):
        nodes = [
            transpose("x", f"{name}_t", (0, 2, 3, 1)),
            op.node([f"{name}_t", *weights], f"{name}_f", axes=(1, 2), epsilon=epsilon, name=name),
            transpose(f"{name}_f", f"{name}_b", (0, 3, 1, 2)),
            helper.make_node("Neg", [f"{name}_b"], [f"{name}_y"]),
        ]
        output = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, (2, 3, 5, 4))
        return helper.make_graph(nodes, name, [], [output])

    node = helper.make_node(
        "If", ["c"], ["y"], "if", then_branch=branch("a", 0.1), else_branch=branch("b", 2.0)
    )
    shape = (2, 3, 5, 4)
    model = model_of([node], weights, {"x": shape, "c": ()}, {"y": shape})
    assert transposes(model) == 4
    x = export_cases.normal(rng, *shape)
    feeds = [{"x": x, "c": np.array(c)} for c in (True, False)]
    expected = [run(model, f)[0] for f in feeds]
    assert not np.array_equal(*expected)
    for layout, left in (("auto", 0), ("NCHW", 0), ("NHWC", 4)):
        result = arranged(model, layout)
        assert transposes(result) == left, layout
        for before, f in zip(expected, feeds, strict=True):
            np.testing.assert_array_equal(run(result, f)[0], before)


def test_what_moves_leaves_no_constant_behind(rng):
    """Parameters in the old shape, unless something else reads them."""
    weights = parameters(rng, (1, 2), 3)
    shape = (2, 3, 5, 4)
    result = arranged(model_of(nhwc_block(weights), weights, {"x": shape}, {"y": shape}))
    assert {tensor.dims[0] for tensor in result.graph.initializer} == {3}
    assert not {tensor.name for tensor in result.graph.initializer} & set(weights)
    shared = [*nhwc_block(weights), helper.make_node("Neg", ["gamma"], ["z"])]
    model = model_of(shared, weights, {"x": shape}, {"y": shape, "z": weights["gamma"].shape})
    kept = {tensor.name for tensor in arranged(model).graph.initializer}
    assert kept & set(weights) == {"gamma"}


def test_sizes_cost_less_than_a_transpose(rng):
    """A Shape of the old layout is put in order by a Gather; with a choice there is none."""
    weights = parameters(rng, (1, 2), 3)
    shape = (2, 3, 5, 4)
    sizes = [
        helper.make_node("Shape", ["f"], ["s"], "s"),
        helper.make_node("Cast", ["s"], ["z"], to=1),
    ]
    model = model_of(nhwc_block(weights, sizes), weights, {"x": shape}, {"y": shape, "z": (4,)})
    result = arranged(model)
    kinds = [node.op_type for node in result.graph.node]
    assert (kinds.count("Transpose"), kinds.count("Gather")) == (0, 1)
    x = export_cases.normal(rng, *shape)
    for after, before in zip(run(result, {"x": x}), run(model, {"x": x}), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
    # One Transpose either way: FRN stays on the side that its sizes are read on.
    nodes = [*nhwc_block(weights, sizes)[:4], helper.make_node("Neg", ["f"], ["y"], "y")]
    nhwc = (2, 5, 4, 3)
    model = model_of(nodes, weights, {"x": shape}, {"y": nhwc, "z": (4,)})
    kinds = [node.op_type for node in arranged(model).graph.node]
    assert (kinds.count("Transpose"), kinds.count("Gather")) == (1, 0)


def test_a_node_that_would_need_a_value_in_two_orders_stays(rng):
    """A sum of a tensor and its Transpose: what was taken in of it is given back."""
    weights = parameters(rng, (1, 2), 3)
    square = (2, 3, 3, 3)
    nodes = [
        transpose("x", "t", (0, 2, 3, 1)),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        transpose("f", "w", (0, 2, 1, 3)),
        helper.make_node("Add", ["f", "w"], ["a"], "a"),
        helper.make_node("Relu", ["a"], ["r"], "r"),
        transpose("r", "u", (0, 3, 1, 2)),
        transpose("f", "v", (0, 3, 1, 2)),
        helper.make_node("Add", ["u", "v"], ["y"], "y"),
    ]
    model = model_of(nodes, weights, {"x": square}, {"y": square})
    result = arranged(model)
    assert transposes(result) <= transposes(model)
    x = export_cases.normal(rng, *square)
    (after,), (before,) = run(result, {"x": x}), run(model, {"x": x})
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_an_output_that_moves_keeps_what_is_said_of_it(rng):
    weights = parameters(rng, (1, 2), 3)
    shape = (2, 3, 5, 4)
    model = model_of(nhwc_block(weights)[:4], weights, {"x": shape}, {"u": shape})
    (output,) = model.graph.output
    output.doc_string = "probabilities"
    entry = output.metadata_props.add()
    entry.key, entry.value = "unit", "1"
    note = model.graph.quantization_annotation.add(tensor_name="u")
    entry = note.quant_parameter_tensor_names.add()
    entry.key, entry.value = "SCALE_TENSOR", "gamma"
    result = arranged(model)
    assert transposes(result) == 0
    assert result.graph.output[0] == output
    (kept,) = result.graph.quantization_annotation
    assert kept.tensor_name == "u"


def test_a_transpose_without_a_perm_stays(rng):
    """It reverses all axes, the batch among them."""
    weights = parameters(rng, (1, 2), 3)
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "t"),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        helper.make_node("Transpose", ["f"], ["b"], "b"),
        helper.make_node("Neg", ["b"], ["y"], "y"),
    ]
    shape = (3, 5, 4, 2)
    model = model_of(nodes, weights, {"x": shape}, {"y": shape})
    assert transposes(arranged(model)) == 2


def test_a_value_that_is_given_out_twice_takes_a_node_to_say_so(rng):
    """FRN's Transposes go, and what stood between them is the graph's input, or an output twice."""
    weights = parameters(rng, (1, 2), 3)
    nodes = [
        transpose("x", "t", (0, 2, 3, 1)),
        transpose("t", "same", (0, 3, 1, 2)),
        op.node(["t", *weights], "f", axes=(1, 2), epsilon=0.1, name="f"),
        transpose("f", "u", (0, 3, 1, 2)),
        transpose("f", "again", (0, 3, 1, 2)),
    ]
    nchw = (2, 3, 5, 4)
    model = model_of(nodes, weights, {"x": nchw}, {"same": nchw, "u": nchw, "again": nchw})
    result = arranged(model)
    onnx.checker.check_model(lower(result, "portable"), full_check=True)
    assert transposes(result) == 0
    assert [value.name for value in result.graph.output] == ["same", "u", "again"]
    x = export_cases.normal(rng, *nchw)
    for after, before in zip(run(result, {"x": x}), run(model, {"x": x}), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)
