"""What a rule sees: constants and sizes as forms, stated shapes, and nodes that break the rules."""

import numpy as np
import pytest
from matcher_graphs import Lines, floats, ints

from frn_onnx.graph.matcher import values
from frn_onnx.graph.matcher.axes import Frame, Size
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.values import Comparison, Context, Sizes

FRAME = Frame(("N", 3, "H", "W"), 1)
OPEN_C = Frame(("N", "C", "H", "W"), 1)
NO_CHANNEL = Frame(("N", 3, "H", "W"))
X = Form(axes=FRAME.full, scale=np.ones(()), x_power=1)
GAMMA = np.array([1.0, 2, 4]).reshape(3, 1, 1)


def context(lines: Lines) -> Context:
    return Context(lines.frame, lines.constants, lines.shapes)


class TestAsForm:
    def test_a_form_is_itself(self):
        assert values.as_form(FRAME, X, ()) is X

    def test_a_parameter(self):
        form = values.as_form(FRAME, GAMMA, FRAME.full)
        np.testing.assert_array_equal(form.scale, [1, 2, 4])
        assert form.axes == ((1,), (), ())
        assert form.is_constant

    def test_with_more_axes_than_the_tensor_beside(self):
        form = values.as_form(FRAME, GAMMA[None, None], FRAME.full)
        assert form.axes == ((), (), (1,), (), ())

    def test_a_number(self):
        form = values.as_form(FRAME, np.full((1, 1), 0.5), FRAME.full)
        assert (form.scale, form.axes) == (0.5, ((), ()))
        assert form.scale.dtype == np.float64

    def test_along_another_axis_is_none(self):
        assert values.as_form(FRAME, np.array([1.0, 2]), FRAME.full) is None

    def test_while_the_channel_is_not_known_any_factor_will_do(self):
        form = values.as_form(NO_CHANNEL, GAMMA, FRAME.full)
        assert (form.scale, form.axes) == (1, ())

    def test_a_size(self):
        form = values.as_form(FRAME, Sizes((Size(3, ((2, 1),)),), 1), FRAME.full)
        assert (form.scale, form.sizes, form.axes) == (3, Size(1, ((2, 1),)), ((),))
        assert values.as_form(FRAME, Sizes((Size(3),), 0), ()).axes == ()

    @pytest.mark.parametrize("entries", [(None,), (Size(1), Size(2)), ()])
    def test_several_sizes_are_none(self, entries):
        assert values.as_form(FRAME, Sizes(entries, 1), ()) is None

    def test_anything_else_is_none(self):
        assert values.as_form(FRAME, None, ()) is None
        assert values.as_form(FRAME, Comparison(X, X, True), ()) is None


class TestPair:
    def test_forms_and_the_axes_of_the_result(self):
        lines = Lines("y = Relu(x)")
        a, b, axes = values.pair(context(lines), [GAMMA, X])
        assert b is X
        np.testing.assert_array_equal(a.scale, [1, 2, 4])
        assert axes == FRAME.full

    def test_of_other_than_two_is_none(self):
        lines = Lines("y = Relu(x)")
        assert values.pair(context(lines), [X]) is None
        assert values.pair(context(lines), [X, X, X]) is None
        assert values.pair(context(lines), [X, None]) is None
        assert values.pair(context(lines), [None, X]) is None

    def test_that_do_not_meet_is_none(self):
        lines = Lines("y = Relu(x)")
        turned = X.but(axes=((0,), (1,), (3,), (2,)))
        assert values.pair(context(lines), [X, turned]) is None


class TestStatedShape:
    def test_numbers_names_and_others(self):
        lines = Lines("y = Relu(u)", inputs=("float[N,7,H,k] u",))
        shape = context(lines).stated_shape(lines.values["u"])
        assert shape == [Size(1, ((0, 1),)), Size(7), Size(1, ((2, 1),)), None]

    def test_of_unknown_rank_is_none(self):
        lines = Lines("y = other.Unknown(x)\nz = Relu(y)")
        assert context(lines).stated_shape(lines.values["y"]) is None


class TestSizes:
    def test_the_only_entry(self):
        assert Sizes((Size(3),), 0).one == Size(3)
        assert Sizes((Size(3), Size(4)), 1).one is None
        assert Sizes((), 1).one is None


class TestNodes:
    def node(self, body: str, **more):
        return next(iter(Lines(body, **more).model.graph))

    def test_axes_argument(self):
        node = self.node("y = ReduceMean<axes = [2, -1]>(x)", opset=13)
        assert values.axes_argument(node, [X]) == [2, -1]
        node = self.node("y = ReduceMean(x, axes)", arrays={"axes": ints(2, 3)})
        assert values.axes_argument(node, [X, ints(2, 3)]) == [2, 3]
        with pytest.raises(ValueError, match="the axes of a ReduceMean are not known"):
            values.axes_argument(node, [X, None])
        assert values.axes_argument(self.node("y = ReduceMean(x)"), [X]) is None

    def test_axes_of_another_type_are_not_known(self):
        node = self.node("y = Squeeze<axes = 2>(x)", opset=11)
        with pytest.raises(LookupError):
            values.axes_argument(node, [X])

    def test_is_given(self):
        node = self.node("y = Clip<max = 6.0>(x)", opset=6)
        assert values.is_given(node, 2, "max")
        assert not values.is_given(node, 1, "min")
        node = self.node("y = Clip(x, , one)")
        assert values.is_given(node, 2, "max")
        assert not values.is_given(node, 1, "min")

    @pytest.mark.parametrize("error", [IndexError, KeyError, TypeError, ValueError])
    def test_a_node_that_breaks_its_specification_is_none(self, error):
        def rule(context, node, args):
            raise error

        assert values.apply(rule, None, None, []) is None
        assert values.apply(lambda context, node, args: X, None, None, []) is X

    def test_a_fault_of_a_rule_is_not_hidden(self):
        def rule(context, node, args):
            raise RuntimeError("a fault")

        with pytest.raises(RuntimeError, match="a fault"):
            values.apply(rule, None, None, [])


def test_of_an_open_channel_a_parameter_has_its_own_count():
    np.testing.assert_array_equal(
        values.as_form(OPEN_C, floats(1, 2, shape=(2, 1, 1)), OPEN_C.full).scale, [1, 2]
    )
