"""Each rule of the Transpose engine, against what it says: a node that is moved gives the same.

A rule is told that one input or output of a node is to have another order of axes. The node with
the inputs, attributes and constants that it names must then give what the node gave, in the order
that it names.
"""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from matcher_graphs import Lines, floats, index, ints
from onnx.reference import ReferenceEvaluator

from frn_onnx import op
from frn_onnx.graph.edit import add_initializer
from frn_onnx.graph.perms import Perm
from frn_onnx.graph.transposes import moves, table
from frn_onnx.graph.transposes.moves import Facts, Move

X = "float[2,3,5,4]"
# Its own inverse, and not; of the last axes, and of all.
PERMS = [(0, 2, 3, 1), (0, 3, 1, 2), (0, 1, 3, 2), (3, 1, 2, 0), (2, 0, 3, 1)]
# Positions may be int32 where they are int64 more often.
SHORT = {"starts": [1, 0], "ends": [2, 2], "wc": [-1, 1], "i2": 2}
ARRAYS = {f"a{i}": ints(i) for i in range(4)} | {f"i{i}": index(i) for i in range(4)}
ARRAYS |= {"m1": ints(-1), "m2": index(-2), "none": ints(), "hw": ints(2, 3), "wc": ints(-1, 1)}
ARRAYS |= {"c": floats(1, 2, 3, shape=(3, 1, 1)), "nhwc": floats(1, 2, 3, 4)}
ARRAYS |= {
    "full": np.arange(120, dtype=np.float32).reshape(2, 3, 5, 4),
    "one4": floats(7, shape=(1,) * 4),
}
ARRAYS |= {"five": np.ones((1, 2, 3, 5, 4)), "one5": floats(7, shape=(1,) * 5)}
ARRAYS |= {"zero8": np.int8(3), "scales": floats(0.5, 1, 2), "zeros8": np.array([1, 2, 3], np.int8)}
ARRAYS |= {"scale1": floats(0.5), "zero1": np.array([1], np.int8)}
ARRAYS |= {"pads": ints(0, 1, 2, 0, 1, 0, 0, 3), "four": ints(1, 2, 0, 1), "starts": ints(1, 0)}
ARRAYS |= {f"{name}32": np.array(values, np.int32) for name, values in SHORT.items()}
ARRAYS |= {"ends": ints(2, 2), "twice": ints(2, 3, 5, 4), "short": ints(5, 1)}
ARRAYS |= {"wide": ints(5, 4), "repeats": ints(1, 2, 3, 1)}
ARRAYS |= {"m3": ints(-3), "a03": ints(0, -1), "to": ints(2, 1, 12, 1), "all": ints(0, 1, 5, -1)}
ARRAYS |= {"keep": ints(0, 1, 3, 5)}
ARRAYS |= {"c3": floats(1, 2, 3), "i2x2": np.zeros((2, 2), np.int64), "zeros": ints(2, 0, 1, 1)}
ARRAYS |= {"long": ints(2, 3, 5, 4, 1), "scales4": floats(1, 2, 3, shape=(1, 3, 1, 1))}


def example(body: str, known: str | None = None, perm: Perm = PERMS[0], **more):
    """A graph whose last node is to move, and how it does."""
    lines = Lines(body, arrays=ARRAYS, x=more.pop("x", X), **more)
    node = list(lines.model.graph)[-1]
    value = lines.values["x"] if known is None else lines.values[known]
    facts = Facts(lines.constants, lines.shapes, lines.opset, {value: perm})
    return lines, node, table.move(node, value, perm, facts)


def evaluated(model: ir.Model, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    proto = ir.to_proto(model)
    return ReferenceEvaluator(proto).run(None, feeds)


def random_feeds(model: ir.Model) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        value.name: rng.uniform(0.1, 3, list(value.shape)).astype(value.dtype.numpy())
        for value in model.graph.inputs
    }


def assert_same(lines: Lines, move: Move) -> None:
    """The moved node gives what the node gave, turned as the move says."""
    before = ir.from_proto(lines.proto)
    before.graph.outputs[:] = list(list(before.graph)[-1].outputs)
    feeds = random_feeds(before)
    expected = evaluated(before, feeds)
    moved = ir.from_proto(lines.proto)
    node = list(moved.graph)[-1]
    moved.graph.outputs[:] = list(node.outputs)
    for value in node.outputs:
        value.shape = None
    for attribute in move.attributes.values():
        node.attributes[attribute.name] = attribute
    for place, array in move.constants.items():
        if place >= len(node.inputs):
            node.resize_inputs(place + 1)
        node.replace_input_with(place, add_initializer(moved.graph, f"moved{place}", array))
    for place, perm in move.inputs.items():
        turned = ir.node("Transpose", [node.inputs[place]], {"perm": perm})
        turned.outputs[0].name = f"turned{place}"
        moved.graph.insert_before(node, turned)
        node.replace_input_with(place, turned.outputs[0])
    # The evaluator takes inputs of any types; ONNX Runtime does not.
    onnx.shape_inference.infer_shapes(ir.to_proto(moved), check_type=True, strict_mode=True)
    found = evaluated(moved, feeds)
    for place, (a, b) in enumerate(zip(expected, found, strict=True)):
        perm = move.outputs.get(place, tuple(range(a.ndim)))
        np.testing.assert_allclose(b, a.transpose(perm), rtol=1e-5, atol=1e-6)


MOVED = [
    "y = Add(x, x)",
    "y = Add(x, c)",
    "y = Add(nhwc, x)",
    "y = Add(x, full)",
    "y = Add(x, half)",
    "y = Add(x, one4)",
    "y = Clip(x, half, two)",
    "y = Clip(x, , two)",
    "y = PRelu(x, c)",
    "y = Cast<to = 10>(x)",
    "q = Identity(x)\ny = Max(x, q, c)",
    "y = Softmax(x)",
    "y = LogSoftmax<axis = 1>(x)",
    "y = Hardmax<axis = -2>(x)",
    "y = Concat<axis = 1>(x, full, x)",
    "y = Concat<axis = -1>(full, x)",
    "y, z = Split<num_outputs = 2, axis = 3>(x)",
    "y, z = Split<num_outputs = 2>(x)",
    "y = CumSum(x, i2)",
    "y = CumSum<reverse = 1>(x, m2)",
    "y = CumSum(x, i232)",
    "y = ReduceMean(x, hw)",
    "y = ReduceMean<keepdims = 0>(x, a1)",
    "y = ReduceSum<keepdims = 0>(x, wc)",
    "y = ReduceMax(x)",
    "y = ReduceMax<keepdims = 0>(x)",
    "y = ReduceSum<noop_with_empty_axes = 1>(x)",
    "y = ReduceSum<noop_with_empty_axes = 1>(x, none)",
    "y = ReduceSum<noop_with_empty_axes = 1, keepdims = 0>(x)",
    "y = ReduceSum(x, none)",
    "y = ArgMax<axis = 2>(x)",
    "y = ArgMin<axis = -1, keepdims = 0>(x)",
    "y = ArgMax(x)",
    "y = Gather<axis = 1>(x, i2)",
    "y = Gather<axis = -1>(x, wc)",
    "y = Gather(x, i0)",
    "y = Pad(x, pads)",
    "y = Pad(x, pads, half)",
    "y = Pad<mode = 'reflect'>(x, four, , wc)",
    "y = Pad(x, four, half, hw)",
    "y = Slice(x, starts, ends, wc)",
    "y = Slice(x, starts, ends)",
    "y = Slice(x, starts, ends, wc, hw)",
    "y = Slice(x, starts32, ends32, wc32)",
    "y = Slice(x, starts32, ends32)",
    "y = Expand(x, twice)",
    "y = Expand(x, short)",
    "y = Tile(x, repeats)",
    "y = QuantizeLinear<axis = 1>(x, scales, zeros8)",
    "y = QuantizeLinear(x, scales, zeros8)",
    "y = QuantizeLinear(x, scale1, zero1)",
    "y = QuantizeLinear(x, half, zero8)",
    "y = QuantizeLinear<axis = 3>(x, nhwc)",
    "y = QuantizeLinear<axis = -3>(x, scales)",
]


@pytest.mark.parametrize("body", MOVED)
def test_what_moves(body):
    body = body.replace("'", '"')
    for perm in PERMS:
        lines, _, move = example(body, perm=perm)
        assert move is not None, perm
        assert_same(lines, move)


UNITS = "float[2,1,5,4]"


@pytest.mark.parametrize(
    ("body", "known", "perm", "x"),
    [
        ("y = Squeeze(x, a1)", None, (0, 2, 3, 1), UNITS),
        ("y = Squeeze(x, a1)", None, (0, 3, 2, 1), UNITS),
        ("y = Squeeze(x, m3)", None, (1, 3, 2, 0), UNITS),
        ("y = Squeeze(x, a03)", None, (0, 2, 3, 1), "float[1,3,5,1]"),
        ("y = Unsqueeze(x, a1)", "y", (0, 2, 3, 1), "float[2,5,4]"),
        ("y = Unsqueeze(x, wc)", "y", (0, 2, 3, 1), "float[5,4]"),
        ("y = Unsqueeze(x, wc)", "y", (3, 2, 1, 0), "float[5,4]"),
        ("y = Expand(x, wide)", None, (0, 2, 3, 1), "float[2,3,5,1]"),
        ("y = Reshape(x, to)", "y", (0, 2, 3, 1), "float[2,12]"),
        ("y = Reshape(x, all)", "y", (0, 2, 1, 3), "float[2,5,4]"),
        ("y = Reshape(x, keep)", "y", (0, 2, 1, 3), "float[2,3,5]"),
        ("y = Transpose<perm = [0, 3, 1, 2]>(x)", "y", (0, 2, 3, 1), X),
        ("y = Transpose<perm = [1, 2, 3, 0]>(x)", "y", (1, 2, 3, 0), X),
        ("y = Transpose(x)", "y", (0, 2, 3, 1), X),
        ("y = Add(x, full)", "y", (2, 0, 3, 1), X),
        ("y = ReduceMean(x, hw)", "y", (2, 0, 3, 1), X),
        ("y = ArgMax<axis = 2>(x)", "y", (2, 0, 3, 1), X),
        ("y = Gather<axis = 1>(x, wc)", "y", (2, 0, 3, 1), X),
        ("y = Expand(x, twice)", "y", (2, 0, 3, 1), X),
        ("y = Pad(x, pads)", "y", (2, 0, 3, 1), X),
    ],
)
def test_what_moves_where_ranks_change(body, known, perm, x):
    lines, _, move = example(body, known, perm, x=x)
    assert move is not None
    assert_same(lines, move)


@pytest.mark.parametrize(
    ("body", "known", "x"),
    [
        # A constant of more axes than the tensor, and one that computes to a rank not known.
        ("y = Add(x, five)", None, X),
        ("y = Add(x, u)", None, X),
        ("y = other.Add(x, x)", None, X),
        ("y = LRN<size = 3>(x)", None, X),
        ("y = Concat<axis = 1>(x, c3)", None, X),
        ("y = CumSum(x, k)", None, X),
        ("y = CumSum(x, hw)", None, X),
        ("y = ReduceMean(x, k1)", None, X),
        ("y = ReduceMean<keepdims = 0>(x, a1)", "y", "float[2,3,5,4,7]"),
        ("y = ArgMax<keepdims = 0>(x)", "y", "float[2,3,5,4,7]"),
        ("y = Gather(x, i2x2)", None, X),
        ("y = Gather(x, k)", None, X),
        ("y = Gather(x, i0)", "y", "float[2,3,5,4,7]"),
        ("y = Squeeze(x, k1)", None, UNITS),
        ("y = Squeeze(x)", None, UNITS),
        ("y = Squeeze(x, a1)", "y", "float[2,1,3,5,4]"),
        ("y = Unsqueeze(x, a1)", None, X),
        ("y = Unsqueeze(x, k1)", "y", "float[3,5,4]"),
        ("y = Reshape(x, twice)", None, X),
        ("y = Reshape(x, k4)", "y", X),
        ("y = Reshape(x, twice)", "y", "float[2,3,5,4]"),
        ("y = Reshape<allowzero = 1>(x, to)", "y", "float[2,12]"),
        ("y = Reshape(x, zeros)", "y", "float[2,3,1,1]"),
        ("y = Pad(x, k8)", None, X),
        ("y = Pad(x, four, half, k2)", None, X),
        ("y = Pad(x, four)", None, X),
        ("y = Slice(x, k1, k1)", None, X),
        ("y = Slice(x, starts, ends, k2)", None, X),
        ("y = Expand(x, k4)", None, X),
        ("y = Expand(x, long)", None, "float[3,5,4,1]"),
        ("y = Expand(x, twice)", "y", "float[5,4]"),
        ("y = Tile(x, k4)", None, X),
        ("y = QuantizeLinear(full, k0f, zero8)", "y", X),
        ("y = QuantizeLinear(x, scales4)", None, X),
        ("y = QuantizeLinear(x, k1c)", None, X),
        ("y = QuantizeLinear<axis = 1, block_size = 3>(x, scales4)", None, X),
        ("y = Transpose<perm = [0, 2, 3, 1]>(x)", None, X),
    ],
)
def test_what_stays(body, known, x):
    more = [f"int64[{n}] k{n}" for n in (1, 2, 4, 8)]
    more += ["int64 k", "float k0f", "float[1,3,1,1] k1c", "float u"]
    lines = Lines(body, arrays=ARRAYS, x=x, inputs=more)
    # Nothing is known of a tensor out of another domain.
    lines.values["u"].shape = None
    node = list(lines.model.graph)[-1]
    value = lines.values[known or "x"]
    facts = Facts(lines.constants, lines.shapes, 18, {value: PERMS[0]})
    assert table.move(node, value, PERMS[0], facts) is None


@pytest.mark.parametrize(("opset", "moves"), [(12, False), (13, True)])
def test_softmax_was_over_several_axes_once(opset, moves):
    assert (example("y = Softmax(x)", opset=opset)[2] is not None) is moves


@pytest.mark.parametrize("opset", [11, 17])
def test_axes_in_an_attribute(opset):
    lines, _, move = example("y = ReduceMean<axes = [-1, 1]>(x)", perm=(2, 0, 3, 1), opset=opset)
    assert move.constants == {}
    assert_same(lines, move)


def test_scales_along_an_axis_that_are_computed():
    given = ("float[3] s",)
    lines, _, move = example("y = QuantizeLinear<axis = 1>(x, s)", inputs=given)
    assert move.attributes["axis"].as_int() == 3
    assert_same(lines, move)


def test_a_scale_of_one_value_needs_no_axis():
    for scale in ("float s", "float[1] s"):
        _, _, move = example("y = QuantizeLinear<axis = 1>(x, s)", inputs=(scale,))
        assert move.attributes == {}


def test_operands_that_are_computed():
    """Those of the same rank turn as well; of a scalar there is nothing to turn."""
    _, _, move = example("y = Add(x, u)", inputs=("float[2,3,1,1] u",))
    assert move.inputs == {0: PERMS[0], 1: PERMS[0]}
    for scalar in ("float u", "float[1] u"):
        _, _, move = example("y = Add(x, u)", inputs=(scalar,))
        assert move.inputs == {0: PERMS[0]}
    for other in ("float[4] u", "float[1,1] u", "float[5,4] u", "float[N] u"):
        assert example("y = Add(x, u)", inputs=(other,))[2] is None


def test_one_value_is_not_turned():
    _, _, move = example("y = Add(x, half)")
    assert move.constants == {}
    _, _, move = example("y = Add(x, one5)")
    assert move is None


def test_an_axis_in_a_list_stays_in_one():
    _, _, move = example("y = CumSum(x, a1)")
    assert move.constants[1].tolist() == [3]


def frn_node(axes, parameters=("gamma", "beta", "tau"), op_type=op.OP_TYPE):
    body = f"y = other.FRN(x, {', '.join(parameters)})"
    given = {name: floats(1, 2, 3, shape=(3, 1, 1)) for name in parameters if name not in "ur"}
    inputs = ("float[3,1,1] u",) if "u" in parameters else ()
    inputs += (f"{X} r",) if "r" in parameters else ()
    lines = Lines(body, arrays=given, x=X, inputs=inputs)
    node = list(lines.model.graph)[-1]
    node.domain, node.op_type = op.DOMAIN, op_type
    if axes is not None:
        node.attributes["axes"] = ir.AttrInt64s("axes", axes)
    facts = Facts(lines.constants, lines.shapes, 18, {lines.values["x"]: PERMS[0]})
    return lambda perm: table.move(node, lines.values["x"], perm, facts)


class TestFrn:
    @pytest.mark.parametrize(
        ("axes", "perm", "moved", "shape"),
        [
            ((2, 3), (0, 2, 3, 1), (1, 2), (3,)),
            ((2, 3), (0, 1, 3, 2), (2, 3), (3, 1, 1)),
            ((-1, 2), (0, 3, 1, 2), (1, 3), (3, 1)),
        ],
    )
    def test_axes_and_parameters(self, axes, perm, moved, shape):
        move = frn_node(axes)(perm)
        assert tuple(move.attributes["axes"].as_ints()) == moved
        assert {place: array.shape for place, array in move.constants.items()} == dict.fromkeys(
            (1, 2, 3), op.param_shape(moved, 3)
        )
        assert op.param_shape(moved, 3) == shape
        assert all(array.reshape(-1).tolist() == [1, 2, 3] for array in move.constants.values())

    def test_what_stays(self):
        assert frn_node(None)(PERMS[0]) is None
        assert frn_node((2, 3))((1, 0, 2, 3)) is None
        assert frn_node((2, 3))((0, 2, 1)) is None
        assert frn_node((2, 3), ("gamma", "u"))(PERMS[0]) is None

    def test_a_residual_moves_with_x(self):
        """But one that is a constant has nothing in front of it that could move."""
        move = frn_node((2, 3), ("r", "gamma", "beta"), op.RESIDUAL_OP_TYPE)(PERMS[0])
        assert move.inputs == {0: PERMS[0], 1: PERMS[0]}
        assert sorted(move.constants) == [2, 3]
        assert frn_node((2, 3), ("c", "gamma", "beta"), op.RESIDUAL_OP_TYPE)(PERMS[0]) is None


def test_perms_that_change_nothing_are_left_out():
    _, _, move = example("y = ReduceMean<keepdims = 0>(x, a1)", perm=(0, 2, 3, 1))
    assert (move.inputs, move.outputs) == ({0: (0, 2, 3, 1)}, {})


def single_nodes():
    """A node of every op that works element by element, of tensors of a type that it takes."""
    for domain, name in table._RULES:
        if table._RULES[domain, name] is not moves.broadcast or not onnx.defs.has(name):
            continue
        schema = onnx.defs.get_schema(name)
        allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
        inputs = schema.inputs[: max(schema.min_input, 1)]
        kinds = [
            next(
                kind
                for kind in ("float", "uint8", "bool")
                if f"tensor({kind})" in allowed.get(given.type_str, [given.type_str])
            )
            for given in inputs
        ]
        yield name, kinds


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("name", "kinds"), [pytest.param(*c, id=c[0]) for c in single_nodes()])
def test_every_op_that_works_element_by_element(name, kinds):
    names = ["x", "u", "v"][: len(kinds)]
    inputs = [f"{k}[2,3,5,4] {n}" for k, n in zip(kinds[1:], names[1:], strict=True)]
    attributes = {"Cast": "<to = 1>", "Mod": "<fmod = 1>"}.get(name, "")
    body = f"y = {name}{attributes}({', '.join(names)})"
    opset = onnx.defs.onnx_opset_version()
    lines, _, move = example(body, x=f"{kinds[0]}[2,3,5,4]", inputs=inputs, opset=opset)
    assert move.outputs == {0: PERMS[0]}
    assert move.inputs == dict.fromkeys(range(len(names)), PERMS[0])
    assert_same(lines, move)
