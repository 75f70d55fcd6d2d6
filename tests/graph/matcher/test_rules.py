"""Which rule is asked, and what becomes of a node that none is for."""

import numpy as np
from matcher_graphs import Lines, index, ints

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.rules import evaluate, evaluate_unknown
from frn_onnx.graph.matcher.values import Context, Sizes

ARRAYS = {"hw": ints(2, 3), "i2": index(2), "k": ints(4, 6)}
MEAN = "q = Mul(x, x)\nm = ReduceMean(q, hw)\n"


def lines(body: str, **more) -> Lines:
    return Lines(body, arrays=ARRAYS, **more)


def test_another_domain_is_none():
    assert lines("y = other.Mul(x, half)").known() is None


def test_an_op_without_a_rule_is_none():
    assert lines("y = Sigmoid(x)").known() is None


def test_several_outputs_are_none():
    assert lines("y, z = Mul(x, half)").known("y") is None


def test_the_old_broadcast_is_none():
    """Before opset 7, an attribute said how two tensors meet."""
    assert lines("y = Mul<broadcast = 1, axis = 1>(x, half)", opset=6).known() is None


def test_constants_are_folded():
    node = next(iter(lines("y = Add(half, quarter)").model.graph))
    made = lines("y = Add(half, quarter)")
    context = Context(made.frame, made.constants, made.shapes)
    found = evaluate(context, node, [np.asarray(0.5), np.asarray(0.25)])
    assert found == 0.75


def test_sizes_have_rules_of_their_own_and_then_those_of_forms():
    assert isinstance(lines("s = Shape(x)\nh = Gather(s, i2)").known(), Sizes)
    body = MEAN + "s = Shape(x)\nh = Gather(s, i2)\nf = Cast<to = 1>(h)\n"
    # A sum over H, divided by H, is the mean over H.
    total = body.replace("ReduceMean(q, hw)", "ReduceSum(q, a2)") + "d = Div(m, f)"
    found = Lines(total, arrays=ARRAYS | {"a2": ints(2)}).form()
    assert (found.nu_power, found.sizes.powers) == (1, ())
    assert "over axes (2,) of x only" in found.flaw
    assert lines(body + "r = Sqrt(f)").form().sizes.powers == ((2, 0.5),)


class TestUnknown:
    """x**2 averaged, and something added of which nothing is known."""

    def found(self, body: str):
        return lines(body, inputs=("float[1,3,1,1] u",)).form()

    def test_an_epsilon_that_is_not_constant_is_a_near_miss(self):
        for node in ("Add(m, u)", "Add(u, m)", "Sum(m, u)"):
            found = self.found(MEAN + f"a = {node}")
            assert found.flaw == f"{fm.NOT_CONSTANT}: 'u'"
            assert found.over == {2, 3}

    def test_an_older_flaw_stays(self):
        found = self.found(MEAN + "f = Max(m, half)\nr = Pow(f, two)\na = Add(m, u)\nb = Add(a, u)")
        assert found.flaw == f"{fm.NOT_CONSTANT}: 'u'"
        node = next(iter(lines("a = Add(x, half)").model.graph))
        flawed = lines(MEAN + "e = Add(m, half)").form().but(flaw="old")
        assert evaluate_unknown(node, [flawed, None]).flaw == "old"

    def test_of_anything_else_is_none(self):
        assert self.found("a = Add(x, u)") is None
        assert self.found(MEAN + "a = Mul(m, u)") is None
        assert self.found("q = Mul(x, x)\na = Add(q, u)") is None
        assert self.found(MEAN + "a = other.Add(m, u)") is None
        assert self.found(MEAN + "e = Add(m, half)\nr = Sqrt(e)\na = Add(r, u)") is None

    def test_of_nothing_known_is_none(self):
        node = next(iter(lines("a = Add(x, half)").model.graph))
        assert evaluate_unknown(node, [None, None]) is None
        assert evaluate_unknown(node, [None, np.ones(1)]) is None
