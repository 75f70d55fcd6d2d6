"""What is computed from x: which nodes are followed, and the roles of x's axes."""

import pytest
from matcher_graphs import Lines, floats, ints

from frn_onnx.graph.matcher.anchor import Anchor

ARRAYS = {"hw": ints(2, 3), "a1": ints(1), "a12": ints(1, 2), "a3": ints(3), "all": ints(1, 2, 3)}
ARRAYS |= {"gamma": floats(1, 2, 4, shape=(3, 1, 1)), "nhw": ints(0, 2, 3), "none": ints()}


def lines(body: str, **more) -> Lines:
    return Lines(body, arrays=ARRAYS, **more)


class TestTrace:
    def test_follows_what_sees_only_x_and_constants(self):
        made = lines(
            "a = Mul(x, gamma)\nb = Add(a, half)\nc = Add(b, u)\nd = Add(c, x)", inputs=("float u",)
        )
        assert {value.name for value in made.trace.known} == {"x", "a", "b"}
        assert made.trace.root.name == "x"
        assert made.trace.frame is made.frame

    def test_a_node_is_evaluated_once_all_it_needs_is_known(self):
        """In the order of the graph, whichever way leads there first."""
        made = lines(
            "q = Mul(x, x)\nm = GlobalAveragePool(q)\ne = Add(m, half)\nr = Sqrt(e)\ny = Div(x, r)"
        )
        assert made.form("y").nu_power == -0.5
        assert made.form("y").epsilon == 0.5

    def test_form_is_none_for_what_is_none(self):
        made = lines("s = Shape(x)\nt = Sigmoid(x)")
        assert made.trace.form(made.values["s"]) is None
        assert made.trace.form(made.values["t"]) is None
        assert made.trace.form(made.values["x"]).is_x

    def test_statistics(self):
        body = (
            "q = Mul(x, x)\nm = GlobalAveragePool(q)\ns = Add(m, half)\nr = Sqrt(s)\ny = Div(x, r)"
        )
        made = lines(body)
        assert {value.name for value in made.trace.statistics()} == {"r", "y"}

    def test_from_another_root(self):
        made = lines("s = Sigmoid(x)\nq = Mul(s, s)")
        trace = made.tracer.trace(made.frame, made.values["s"])
        assert trace.form(made.values["q"]).x_power == 2

    def test_sizes_that_another_input_has_in_common(self):
        """An exporter may take H and W from the model's input."""
        body = "t = Sigmoid(u)\ns = Shape(u)\nc = ReduceProd<keepdims = 0>(s)\n"
        body += "f = Cast<to = 1>(c)\ny = Mul(x, f)"
        assert lines(body, inputs=("float[H,W] u",)).form().sizes.powers == ((2, 1), (3, 1))

    def test_a_constant_repeated_to_sizes_that_another_input_has_in_common(self):
        """gamma.expand_as(u) * x: no node before Mul sees x."""
        for repeated in ("Expand(gamma, s)", "ConstantOfShape<value = float[1] {2.0}>(s)"):
            body = f"s = Shape(u)\ng = {repeated}\ny = Mul(g, x)"
            form = lines(body, inputs=("float[N,3,H,W] u",)).form()
            assert (form.x_power, form.scale.shape) == (1, (3,) if "gamma" in repeated else ())
            assert lines(body, inputs=("float[M,3,H,W] u",)).form() is None


class TestFrame:
    def frame(self, body: str, x: str = "float[N,3,H,W]", rank: int | None = None, at: str = "m"):
        made = lines(body, x=x)
        node = made.values[at].producer()
        return made.tracer.frame(Anchor(node, ()), made.values["x"], rank)

    @pytest.mark.parametrize(
        ("body", "channel"),
        [
            ("q = Mul(x, x)\nm = ReduceMean(q, hw)", 1),
            ("q = Mul(x, x)\nm = ReduceMean(q, a12)", 3),
            ("q = Mul(x, x)\nm = GlobalAveragePool(q)", 1),
            ("q = Mul(x, x)\nm = ReduceMean(q, nhw)", 1),
            ("t = Transpose<perm = [0, 2, 3, 1]>(x)\nq = Mul(t, t)\nm = ReduceMean(q, a12)", 1),
            ("q = Mul(x, x)\na = ReduceMean(q, a12)\nm = ReduceMean(a, a1)", 3),
            # No axis but the batch is left, or two.
            ("q = Mul(x, x)\nm = ReduceMean(q, all)", None),
            ("q = Mul(x, x)\nm = ReduceMean(q, a3)", None),
        ],
    )
    def test_the_axis_that_is_left_is_the_channel(self, body, channel):
        frame = self.frame(body)
        assert frame.dims == ("N", 3, "H", "W")
        assert frame.channel == channel

    @pytest.mark.parametrize(
        ("x", "body", "channel"),
        [
            # An axis of size 1 counts as averaged over, and as the channel where no other is left.
            ("float[N,3,H,1]", "q = Mul(x, x)\nm = ReduceMean(q, a12)", 3),
            ("float[N,3,1,1]", "q = Mul(x, x)\nm = ReduceMean(q, a3)", 1),
            ("float[N,1,H,W]", "q = Mul(x, x)\nm = ReduceMean(q, all)", 1),
            ("float[1,3,H,W]", "q = Mul(x, x)\nm = ReduceMean(q, all)", None),
            ("float[N,1,1,5]", "q = Mul(x, x)\nm = ReduceMean(q, a3)", 1),
        ],
    )
    def test_axes_of_size_1(self, x, body, channel):
        assert self.frame(body, x).channel == channel

    def test_the_reduction_need_not_see_x(self):
        assert self.frame("s = Sigmoid(x)\nm = ReduceMean(s, hw)") is None

    def test_of_rank_2_there_is_none(self):
        assert self.frame("q = Mul(x, x)\nm = ReduceMean(q, a1)", "float[N,C]") is None

    def test_over_axes_that_are_not_known_there_is_none(self):
        body = "q = Mul(x, x)\nm = ReduceMean<noop_with_empty_axes = 1>(q, none)"
        assert self.frame(body) is None

    def test_a_rank_that_is_supposed(self):
        made = lines("v = other.Op(x)\nq = Mul(v, v)\nm = ReduceMean(q, hw)")
        anchor = Anchor(made.values["m"].producer(), ())
        assert made.tracer.frame(anchor, made.values["v"]) is None
        frame = made.tracer.frame(anchor, made.values["v"], 4)
        assert (frame.dims, frame.channel) == ((None,) * 4, 1)
        # What is known is not supposed.
        assert made.tracer.frame(anchor, made.values["q"], 4) is not None
