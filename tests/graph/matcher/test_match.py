"""Which tensors are FRN of x, which only look like it, and what is told of them."""

import numpy as np
import pytest
from matcher_graphs import Lines, floats, index, ints

from frn_onnx.graph.matcher import match as matching
from frn_onnx.graph.matcher.axes import Frame
from frn_onnx.graph.matcher.match import Match, Miss

ARRAYS = {"hw": ints(2, 3), "a2": ints(2), "a12": ints(1, 2), "i0": index(0)}
ARRAYS |= {"gamma": floats(1, 2, 4, shape=(3, 1, 1)), "last": floats(1, 2, 4)}
ARRAYS |= {"beta": floats(-1, 3, 5, shape=(3, 1, 1)), "groups": ints(0, 3, -1, 1)}
MEAN = "q = Mul(x, x)\nm = GlobalAveragePool(q)\n"
ROOT = MEAN + "e = Add(m, half)\nr = Sqrt(e)\n"
NORMAL = ROOT + "n = Div(x, r)\n"
Y = NORMAL + "g = Mul(n, gamma)\ny = Add(g, beta)\n"


def found(body: str, **more) -> list[Match | Miss]:
    lines = Lines(body, arrays=ARRAYS | more.pop("arrays", {}), **more)
    return matching.find(lines.trace, lines.constants, lines.shapes, lines.order)


def the_match(body: str, **more) -> Match:
    (one,) = found(body, **more)
    assert isinstance(one, Match), one
    return one


def reason(body: str, **more) -> str:
    (one,) = found(body, **more)
    assert isinstance(one, Miss), one
    return one.reason


class TestMatch:
    def test_everything_about_it(self):
        match = the_match(Y + "t = Max(y, gamma)")
        assert (match.root.name, match.x.name, match.y.name) == ("x", "x", "t")
        assert (match.axes, match.perm) == ((2, 3), (0, 1, 2, 3))
        np.testing.assert_array_equal(match.gamma, [1, 2, 4])
        np.testing.assert_array_equal(match.beta, [-1, 3, 5])
        np.testing.assert_array_equal(match.tau, [1, 2, 4])
        np.testing.assert_array_equal(match.epsilon, [0.5] * 3)
        names = [node.outputs[0].name for node in match.cone]
        assert names == ["q", "m", "e", "r", "n", "g", "y", "t"]
        assert (match.dims, match.channel) == (("N", 3, "H", "W"), 1)

    def test_two_in_a_sum_are_one(self):
        """It ends two chains, and is found once."""
        second = "o = Mul(x, x)\nk = GlobalAveragePool(o)\nl = Add(k, half)\ns = Sqrt(l)\n"
        match = the_match(Y + second + "t = Div(x, s)\nu = Mul(t, beta)\nz = Add(u, y)")
        assert match.y.name == "z"
        np.testing.assert_array_equal(match.gamma, [0, 5, 9])
        np.testing.assert_array_equal(match.beta, [-1, 3, 5])

    def test_without_parameters(self):
        match = the_match(NORMAL)
        np.testing.assert_array_equal(match.gamma, [1, 1, 1])
        np.testing.assert_array_equal(match.beta, [0, 0, 0])
        assert match.tau is None

    def test_the_cone_holds_only_what_y_needs(self):
        match = the_match("u = Neg(x)\n" + Y + "z = Sigmoid(y)")
        assert "u" not in {node.outputs[0].name for node in match.cone}
        assert match.y.name == "y"

    def test_up_to_where_something_else_needs_it(self):
        assert the_match(NORMAL + "g = Mul(n, gamma)\ny = Add(g, n)").y.name == "n"
        body = NORMAL + "g = Mul(n, gamma)\ns = Sigmoid(g)\ny = Add(g, beta)\nz = Mul(s, y)"
        assert the_match(body).y.name == "g"

    def test_a_graph_output_is_kept(self):
        lines = Lines(Y, arrays=ARRAYS)
        lines.model.graph.outputs.insert(0, lines.values["g"])
        (match,) = matching.find(lines.trace, lines.constants, lines.shapes, lines.order)
        assert match.y.name == "g"

    def test_a_comparison_for_a_where_is_part_of_it(self):
        body = Y + "c = Less(y, half)\nt = Where(c, half, y)"
        assert the_match(body).y.name == "t"
        used = body + "\nw = Where(c, half, t)\nz = Sigmoid(w)"
        assert the_match(used).y.name == "y"

    def test_what_is_computed_twice_for_a_where_counts_once(self):
        """JAX writes where(y > t, y, t) with a y for each."""
        again = "n2 = Div(x, r)\ng2 = Mul(n2, gamma)\ny2 = Add(g2, beta)\n"
        body = Y + again + "c = Greater(y2, half)\nt = Where(c, y, half)"
        assert the_match(body).y.name == "t"

    def test_two_of_one_statistic(self):
        body = NORMAL + "n2 = Div(x, r)\na = Sigmoid(n)\nb = Tanh(n2)\nz = Add(a, b)"
        assert sorted(one.y.name for one in found(body)) == ["n", "n2"]

    def test_moved_axes(self):
        body = Y + "t = Transpose<perm = [0, 2, 3, 1]>(y)\nz = Max(t, half)"
        match = the_match(body)
        assert (match.y.name, match.perm) == ("z", (0, 2, 3, 1))
        # Where nothing follows the move, it is left as it is.
        assert the_match(Y + "t = Transpose<perm = [0, 2, 3, 1]>(y)").y.name == "y"

    def test_x_with_the_axes_of_y_is_preferred(self):
        body = (
            "t = Transpose<perm = [0, 2, 3, 1]>(x)\nq = Mul(t, t)\nm = ReduceMean(q, a12)\n"
            "e = Add(m, half)\nr = Sqrt(e)\nn = Div(t, r)\ng = Mul(n, last)"
        )
        match = the_match(body)
        assert (match.root.name, match.x.name, match.axes) == ("x", "t", (1, 2))
        assert match.perm == (0, 1, 2, 3)
        np.testing.assert_array_equal(match.gamma, [1, 2, 4])

    def test_x_with_the_type_of_y_is_preferred(self):
        wide = "c = Cast<to = 1>(x)\nq = Mul(c, c)\nm = GlobalAveragePool(q)\ne = Add(m, half)\n"
        body = wide + "r = Sqrt(e)\nn = Div(c, r)\nz = Cast<to = 10>(n)"
        match = the_match(body, x="float16[N,3,H,W]")
        assert (match.x.name, match.y.name) == ("x", "z")
        match = the_match(body.rsplit("\n", 1)[0], x="float16[N,3,H,W]")
        assert (match.x.name, match.y.name) == ("c", "n")

    def test_a_cast_to_another_type_is_left_behind(self):
        match = the_match(Y + "c = Cast<to = 10>(y)")
        assert match.y.name == "y"


class TestMiss:
    def test_a_flaw(self):
        assert "over axes (2,)" in reason(Y.replace("GlobalAveragePool(q)", "ReduceMean(q, a2)"))

    def test_its_nodes(self):
        (miss,) = found(Y.replace("GlobalAveragePool(q)", "ReduceMean(q, a2)"))
        names = [node.outputs[0].name for node in miss.cone]
        assert names == ["q", "m", "e", "r", "n"]

    def test_no_epsilon(self):
        assert "L2 normalisation" in reason(MEAN + "r = Sqrt(m)\nn = Div(x, r)\ny = Mul(n, gamma)")

    def test_an_epsilon_of_0_is_one(self):
        assert the_match(NORMAL.replace("half", "zero")).epsilon.tolist() == [0, 0, 0]

    def test_an_unknown_number_of_channels(self):
        assert "number of channels is not known" in reason(NORMAL, x="float[N,C,H,W]")
        assert the_match(NORMAL + "y = Mul(n, gamma)", x="float[N,C,H,W]").gamma.size == 3

    def test_no_channels(self):
        none = {"gamma": np.zeros((0, 1, 1), np.float32), "beta": np.zeros((0, 1, 1), np.float32)}
        text = reason(Y, x="float[N,0,H,W]", arrays=none)
        assert text == "its input has no channels (axis 1 of 'x')"

    def test_two_numbers_of_channels(self):
        body = NORMAL + "y = Mul(n, two4)"
        four = {"two4": floats(1, 2, 3, 4, shape=(4, 1, 1))}
        assert found(body, x="float[N,C,H,W]", arrays=four)[0].gamma.size == 4
        both = NORMAL + "g = Mul(n, two4)\ny = Add(g, beta)"
        # What the second does to four channels is no part of the algebra.
        assert all(
            "3" not in str(one.y.name) for one in found(both, x="float[N,C,H,W]", arrays=four)
        )

    def test_the_mean_subtracted_first(self):
        body = "u = GlobalAveragePool(x)\nd = Sub(x, u)\n" + Y.replace("(x", "(d").replace(
            " x)", " d)"
        )
        lines = Lines(body, arrays=ARRAYS)
        trace = lines.tracer.trace(lines.frame, lines.values["d"])
        (miss,) = matching.find(trace, lines.constants, lines.shapes, lines.order)
        assert "the mean is subtracted first" in miss.reason

    def test_group_normalisation(self):
        body = "v = Reshape(x, groups)\nq = Mul(v, v)\nm = ReduceMean(q, a2)\ne = Add(m, half)\n"
        body += "r = Sqrt(e)\nn = Div(v, r)\nz = Reshape(n, back)\ny = Sigmoid(z)"
        arrays = ARRAYS | {"groups": ints(0, 3, 40), "back": ints(0, 6, 5, 4)}
        lines = Lines(body, x="float[N,6,5,4]", arrays=arrays)
        frame = Frame(("N", 3, 40), 1)
        trace = lines.tracer.trace(frame, lines.values["v"])
        (miss,) = matching.find(trace, lines.constants, lines.shapes, lines.order)
        assert "group normalisation" in miss.reason

    def test_rms_norm_over_the_last_axis(self):
        """(N, T, W) with a scale along W: neither FRN nor a near miss."""
        body = (
            "q = Mul(x, x)\nm = ReduceMean(q, a2)\ne = Add(m, half)\nr = Sqrt(e)\nn = Div(x, r)\n"
        )
        assert (
            found(body + "y = Mul(n, wide)", x="float[N,3,4]", arrays={"wide": floats(1, 2, 3, 4)})
            == []
        )
        assert the_match(body + "y = Sigmoid(n)", x="float[N,3,4]").y.name == "n"

    def test_another_element_type(self):
        lines = Lines(NORMAL, arrays=ARRAYS)
        lines.values["x"].type = None
        lines.model.graph.inputs[0].type = None
        for value in lines.values.values():
            value.type = None
        (miss,) = matching.find(lines.trace, lines.constants, lines.shapes, lines.order)
        assert "not known to be float" in miss.reason

    def test_another_rank(self):
        x = "float[N,3,A,B,C,D]"
        body = NORMAL.replace("GlobalAveragePool(q)", "ReduceMean(q, plane)")
        assert "has rank 6" in reason(body, x=x, arrays={"plane": ints(2, 3, 4, 5)})

    def test_nothing_at_all(self):
        assert found("y = Relu(x)") == []
        assert found(ROOT) == []

    def test_axes_that_no_transpose_gives(self):
        body = "q = Mul(x, x)\nm = ReduceMean<keepdims = 0>(q, hw)\nu = Unsqueeze(m, a2)\n"
        body += "e = Add(u, half)\nr = Sqrt(e)\nd = Mul(x, two)\nf = Reshape(d, line)\n"
        body += "n = Div(f, r)"
        arrays = {"line": ints(0, 0, -1)}
        assert "is not a transpose" in reason(body, arrays=arrays)

    def test_a_comparison_may_come_to_its_tensor_last(self):
        lines = Lines(Y + "c = Less(y, half)\nt = Where(c, half, y)", arrays=ARRAYS)
        compare = lines.values["c"].producer()
        compare.replace_input_with(0, lines.values["x"])
        compare.replace_input_with(0, lines.values["y"])
        where = lines.values["t"].producer()
        assert matching.only_user(lines.values["y"]) is where


class TestParts:
    def test_permutation(self):
        frame = Frame(("N", 3, "H", "W"), 1)
        full = frame.full
        assert matching._permutation(frame, full, full) == (0, 1, 2, 3)
        moved = ((0,), (2,), (3,), (1,))
        assert matching._permutation(frame, full, moved) == (0, 2, 3, 1)
        assert matching._permutation(frame, moved, full) == (0, 3, 1, 2)
        assert matching._permutation(frame, full, ((0,), (1,), (2, 3))) is None
        assert matching._permutation(frame, full, ((0,), (1,), (2,), (2,))) is None

    def test_permutation_of_axes_of_size_1(self):
        """Each is taken once."""
        frame = Frame((1, 3, 1, 5), 1)
        assert matching._permutation(frame, frame.full, ((1,), (), (3,), ())) == (1, 0, 3, 2)

    @pytest.mark.parametrize(
        ("dims", "channel", "layout", "position"),
        [
            (("N", 3, "H", "W"), 1, ((0,), (1,), (2,), (3,)), 1),
            (("N", 3, "H", "W"), 1, ((0,), (2,), (3,), (1,)), 3),
            (("N", 3, "H", "W"), 1, ((1,), (0,), (2,), (3,)), None),
            (("N", 3, "H", "W"), 1, ((0,), (1, 2), (3,)), None),
            (("N", 1, "H", "W"), 1, ((0,), (2,), (3,), (1,)), 3),
            (("N", 1, "H", "W"), 1, ((0,), (2,), (), (3,)), 2),
            (("N", 1, "H", "W"), 1, ((0,), (2,), (3,)), None),
            ((1, 3, "H", "W"), 1, ((), (1,), (2,), (3,)), 1),
        ],
    )
    def test_where_the_channel_axis_is(self, dims, channel, layout, position):
        assert matching._channel_position(Frame(dims, channel), layout) == position
