"""What is constant in a graph, and what is left unread or uncomputed."""

import numpy as np
import onnx_ir as ir
import pytest
from matcher_graphs import Lines, floats, ints
from onnx import numpy_helper, parser

from frn_onnx.graph.matcher.constants import _NOT_FOLDED, Constants

ARRAYS = {"a": floats(1, 2, 4), "shape": ints(3, 1, 1), "i": ints(0, 1), "k": ints(300, 300)}
ARRAYS |= {"n": np.int64(70000), "m": np.int64(-70000), "zero64": np.int64(0), "one64": np.int64(1)}
ARRAYS |= {"big": np.zeros(1 << 16, np.float32), "bigger": np.zeros((1 << 16) + 1, np.float32)}
ARRAYS |= {"column": floats(*range(300), shape=(300, 1)), "row": floats(*range(300))}


def value(body: str, **more):
    lines = Lines(body, arrays=ARRAYS, **more)
    return lines.constants.get(lines.model.graph.outputs[0])


class TestWhatIsConstant:
    def test_an_initializer(self):
        lines = Lines("y = Add(a, x)", arrays=ARRAYS)
        add = next(iter(lines.model.graph))
        np.testing.assert_array_equal(lines.constants.get(add.inputs[0]), [1, 2, 4])
        assert lines.constants.get(add.inputs[1]) is None
        assert lines.constants.get(None) is None

    @pytest.mark.parametrize(("ir_version", "is_constant"), [(3, True), (4, False), (8, False)])
    def test_an_initializer_that_is_an_input(self, ir_version, is_constant):
        """From IR version 4 on the caller may override it."""
        proto = Lines("y = Add(a, x)", arrays=ARRAYS, inputs=("float[3] a",)).proto
        proto.graph.initializer.append(numpy_helper.from_array(floats(1, 2, 4), "a"))
        proto.ir_version = ir_version
        model = ir.from_proto(proto)
        a = next(v for v in model.graph.inputs if v.name == "a")
        assert (Constants(model).get(a) is not None) is is_constant

    def test_a_constant_node(self):
        np.testing.assert_array_equal(value("y = Constant<value_floats = [1.0, 2.0]>()"), [1, 2])

    def test_a_chain_of_nodes(self):
        found = value("r = Reshape(a, shape)\nn = Neg(r)\ny = Mul(n, two)")
        np.testing.assert_array_equal(found, np.array([-2, -4, -8]).reshape(3, 1, 1))

    def test_an_input_left_out(self):
        assert value("y = Clip(a, , two)").tolist() == [1, 2, 2]

    def test_what_needs_x_is_not(self):
        assert value("y = Mul(a, x)") is None
        assert value("b = Mul(a, x)\ny = Add(a, b)") is None

    def test_another_domain_is_not(self):
        assert value("y = other.Neg(a)") is None

    def test_a_node_without_inputs_is_not(self):
        assert value("y = RandomNormal<shape = [3]>()") is None

    def test_one_of_several_outputs_is_not(self):
        lines = Lines("y, z = Split<num_outputs = 2>(i)", arrays=ARRAYS)
        assert lines.constants.get(lines.values["y"]) is None

    @pytest.mark.parametrize(
        "op", ["Dropout", "Bernoulli", "RandomNormalLike", "RandomUniformLike"]
    )
    def test_what_is_random_is_not(self, op):
        assert value(f"y = {op}(a)") is None

    @pytest.mark.parametrize("op", sorted(_NOT_FOLDED))
    def test_what_makes_much_of_little_is_not(self, op, monkeypatch):
        calls = []
        evaluator = "frn_onnx.graph.matcher.constants.Evaluator"
        monkeypatch.setattr(evaluator, lambda *a: calls.append(a))
        assert value(f"y = {op}(a)") is None
        assert calls == []

    def test_the_ops_that_make_much_of_little(self):
        for op in ("CenterCropPad", "EyeLike", "OneHot", "Pad", "Resize", "Upsample", "Loop", "If"):
            assert op in _NOT_FOLDED
        for op in ("Scan", "RandomNormal", "RandomUniform", "Multinomial", "Dropout", "Optional"):
            assert op in _NOT_FOLDED
        for op in ("RandomNormalLike", "RandomUniformLike", "Bernoulli"):
            assert op in _NOT_FOLDED

    def test_an_initializer_without_data_is_not(self):
        lines = Lines("y = Neg(a)", arrays=ARRAYS)
        lines.model.graph.initializers["a"].const_value = None
        assert lines.constants.get(lines.values["y"]) is None

    def test_a_very_long_chain_is_not(self):
        long = "v0 = Neg(a)\n" + "".join(f"v{i + 1} = Neg(v{i})\n" for i in range(70))
        assert value(long) is None
        short = "v0 = Neg(a)\n" + "".join(f"v{i + 1} = Neg(v{i})\n" for i in range(62))
        assert value(short) is not None

    def test_text_is_not(self):
        names = np.array(["a", "b"], dtype=object)
        assert Lines("y = Identity(t)", arrays={"t": names}).constants.get(None) is None
        lines = Lines("y = Identity(t)", arrays={"t": names})
        assert lines.constants.get(next(iter(lines.model.graph)).inputs[0]) is None


class TestLoops:
    """What a body is given, and gives to the next turn as it was, is what it was before."""

    LOOP = """
    <ir_version: 8, opset_import: ["": {opset}]>
    g (float[N,3] x) => (float[N,3] y)
    <int64 trips = {{3}}, bool on = {{1}}, float[3] a = {{1, 2, 4}}>
    {{ y, last = Loop (trips, on, x, a) <body = body (int64 i, bool c, float[N,3] u, float[3] b)
        => (bool d, float[N,3] v, float[3] e)
        {{ d = Identity (c) v = Mul (u, b) {rest} }}> }}
    """
    SCAN = """
    <ir_version: 8, opset_import: ["": {opset}]>
    g (float[T,3] x) => (float[T,3] y) <float[3] a = {{1, 2, 4}}>
    {{ last, y = Scan <num_scan_inputs = 1, body = body (float[3] b, float[3] u)
        => (float[3] e, float[3] v) {{ v = Mul (u, b) {rest} }}> (a, x) }}
    """

    def given(self, text: str, rest: str, opset: int = 17) -> tuple[Constants, dict]:
        model = ir.from_proto(parser.parse_model(text.format(rest=rest, opset=opset)))
        (loop,) = model.graph
        body = loop.attributes["body"].as_graph()
        return Constants(model), {value.name: value for value in body.inputs}

    @pytest.mark.parametrize("text", [LOOP, SCAN], ids=["Loop", "Scan"])
    def test_what_stays(self, text):
        for rest in ("e = Identity (b)", "f = Identity (b) e = Identity (f)"):
            constants, inputs = self.given(text, rest)
            assert constants.get(inputs.pop("b")).tolist() == [1, 2, 4]
            assert all(constants.get(value) is None for value in inputs.values())

    @pytest.mark.parametrize("text", [LOOP, SCAN], ids=["Loop", "Scan"])
    def test_what_changes(self, text):
        for rest in ("e = Neg (b)", "f = Neg (b) e = Identity (f)", "e = Identity (a)"):
            constants, inputs = self.given(text, rest)
            assert constants.get(inputs["b"]) is None

    def test_a_scan_of_before_opset_9_has_other_inputs(self):
        constants, inputs = self.given(self.SCAN, "e = Identity (b)", opset=8)
        assert constants.get(inputs["b"]) is None

    def test_loops_in_loops(self):
        outer = """
        <ir_version: 8, opset_import: ["": 17]>
        g (float[N,3] x) => (float[N,3] y) <int64 n = {3}, bool on = {1}, float[3] a = {1, 2, 4}>
        { y, last = Loop (n, on, x, a) <body = outer (int64 i, bool c, float[N,3] u, float[3] b)
            => (bool d, float[N,3] v, float[3] e) { d = Identity (c) e = Identity (b)
          v, f = Loop (n, on, u, b) <body = inner (int64 j, bool p, float[N,3] r, float[3] s)
              => (bool q, float[N,3] t, float[3] o) { q = Identity (p) t = Mul (r, s)
            o = Identity (s) }> }> }
        """
        model = ir.from_proto(parser.parse_model(outer))
        product = next(node for node in model.graph.all_nodes() if node.op_type == "Mul")
        assert Constants(model).get(product.inputs[1]).tolist() == [1, 2, 4]


class TestSize:
    """Parameters are small: what is larger than any is left unread and uncomputed."""

    def test_an_initializer(self):
        assert value("y = Identity(big)") is not None
        assert value("y = Identity(bigger)") is None

    @pytest.mark.parametrize(
        "node",
        [
            "Expand(one, k)",
            "ConstantOfShape(k)",
            "Tile(a, n1)",
            "Range(zero64, n, one64)",
            "Range(n, zero64, minus64)",
            "Add(column, row)",
            "Pad(a, i)",
            "EyeLike(column)",
        ],
    )
    def test_a_computed_one(self, node, monkeypatch):
        """It is not even computed."""
        arrays = ARRAYS | {"n1": ints(70000), "minus64": np.int64(-1)}
        calls = []
        evaluator = "frn_onnx.graph.matcher.constants.Evaluator"
        monkeypatch.setattr(evaluator, lambda *a: calls.append(a))
        lines = Lines(f"y = {node}", arrays=arrays)
        assert lines.constants.get(lines.values["y"]) is None
        assert calls == []

    @pytest.mark.parametrize(
        ("node", "size"),
        [
            ("Expand(one, hw)", 6),
            ("ConstantOfShape(hw)", 6),
            ("Tile(a, n1)", 6),
            ("Range(zero64, four64, one64)", 4),
        ],
    )
    def test_small_ones(self, node, size):
        arrays = ARRAYS | {"hw": ints(2, 3), "n1": ints(2), "four64": np.int64(4)}
        lines = Lines(f"y = {node}", arrays=arrays)
        assert lines.constants.get(lines.values["y"]).size == size

    def test_a_range_without_a_step_is_none(self):
        assert value("y = Range(zero64, n, zero64)") is None


class TestFold:
    def fold(self, body: str, *args, **more):
        lines = Lines(body, arrays=ARRAYS, **more)
        return lines.constants.fold(next(iter(lines.model.graph)), args)

    def test_the_opset_is_the_models(self):
        """ReduceSum has its axes as an attribute up to 12."""
        assert self.fold("y = ReduceSum<axes = [0], keepdims = 0>(a)", floats(1, 2), opset=11) == 3
        found = self.fold("y = ReduceSum<keepdims = 0>(a, i)", floats(1, 2), ints(0), opset=13)
        assert found == 3

    def test_an_invalid_node_is_none(self):
        assert self.fold("y = Add(a, i)", floats(1, 2), floats(1, 2, 3)) is None
        assert self.fold("y = Nonsense(a)", floats(1, 2)) is None

    def test_what_is_no_array_is_none(self):
        assert self.fold("y = SequenceConstruct(a)", floats(1, 2)) is None

    def test_no_warning_for_numbers_that_overflow(self):
        with np.errstate(all="raise"):
            assert np.isinf(self.fold("y = Div(a, i)", floats(1, 2), floats(0, 0))).all()
