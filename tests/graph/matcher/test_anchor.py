"""Where a search starts: at each reduction, with the tensors that x may be."""

import pytest
from matcher_graphs import Lines, floats, ints

from frn_onnx.graph.matcher.anchor import REDUCTIONS, AnchorFinder
from frn_onnx.graph.matcher.rules import _RULES
from frn_onnx.graph.matcher.rules_statistic import STATISTICS

ARRAYS = {"hw": ints(2, 3), "a2": ints(2), "a3": ints(3), "gamma": floats(1, 2, 4, shape=(3, 1, 1))}
ARRAYS |= {"shape": ints(0, 0, -1)}


def roots(body: str, **more) -> list[str] | None:
    """The names of the candidates for x, of the last node."""
    lines = Lines(body, arrays=ARRAYS, **more)
    node = list(lines.model.graph)[-1]
    anchor = AnchorFinder(lines.constants, lines.shapes).anchor(node)
    if anchor is None:
        return None
    assert anchor.node is node
    return [value.name for value in anchor.roots]


@pytest.mark.parametrize("square", ["Mul(x, x)", "Pow(x, two)"])
@pytest.mark.parametrize("mean", ["ReduceMean(q, hw)", "GlobalAveragePool(q)"])
def test_the_mean_of_a_square(square, mean):
    assert roots(f"q = {square}\nm = {mean}") == ["x"]


@pytest.mark.parametrize("node", ["ReduceSumSquare(x, hw)", "ReduceL2(x, hw)", "GlobalLpPool(x)"])
def test_what_squares_by_itself(node):
    assert roots(f"m = {node}") == ["x"]


def test_a_product_of_other_than_two():
    assert roots('m = Einsum<equation = "nchw,nchw->nc">(x, x)') == ["x"]
    assert roots('m = Einsum<equation = "nchw->nc">(x)') is None
    assert roots('m = Einsum<equation = "nchw,nchw,c->nc">(x, x, gamma)') is None


def test_another_power_is_no_square():
    """What is raised is a candidate as it is, and so is what it was made of."""
    assert roots("c = Sigmoid(x)\nq = Pow(c, three)\nm = GlobalAveragePool(q)") == ["q", "c"]
    assert roots(
        "c = Sigmoid(x)\nq = Pow(c, u)\nm = GlobalAveragePool(q)", inputs=("float u",)
    ) == ["q"]
    assert roots("c = Sigmoid(x)\nq = Pow(c, gamma)\nm = GlobalAveragePool(q)") == ["q", "c"]


def test_a_product_of_two_tensors_is_no_square():
    assert roots("a = Sigmoid(x)\nb = Tanh(x)\nq = Mul(a, b)\nm = GlobalAveragePool(q)") == ["q"]


def test_a_square_of_what_was_moved_and_scaled():
    body = "c = Cast<to = 1>(x)\nt = Transpose<perm = [0, 2, 3, 1]>(c)\ns = Mul(t, half)\n"
    assert roots(body + "q = Mul(s, t)\nm = GlobalAveragePool(q)") == ["x", "t"]
    assert roots(body + "q = Mul(s, s)\nm = GlobalAveragePool(q)") == ["s", "x"]


def test_reshapes_lie_behind_moves():
    body = "a = Sigmoid(x)\nr = Reshape(a, shape)\nt = Transpose<perm = [0, 2, 1]>(r)\n"
    assert roots(body + "q = Mul(t, t)\nm = GlobalAveragePool(q)") == ["a", "r", "t"]


def test_a_slice_may_cut_nothing_off():
    body = "a = Sigmoid(x)\nr = Slice(a, a2, a3)\n"
    assert roots(body + "q = Mul(r, r)\nm = GlobalAveragePool(q)") == ["a", "r"]
    assert roots("q = Mul(x, x)\nr = Slice(q, a2, a3)\nm = GlobalAveragePool(r)") == ["x"]


def test_a_square_that_was_scaled_and_moved_before_the_mean():
    body = "q = Mul(x, x)\ns = Mul(quarter, q)\nc = Cast<to = 1>(s)\nm = GlobalAveragePool(c)"
    assert roots(body) == ["x"]


def test_a_mean_of_a_mean():
    assert roots("q = Mul(x, x)\na = ReduceMean(q, a2)\nm = ReduceMean(a, a3)") == ["x"]
    assert roots("a = Sigmoid(x)\nn = ReduceMean(a, a2)\nm = ReduceMean(n, a3)") == ["n", "a"]


def test_a_narrowing_cast_is_the_end():
    """What it lost, x never had."""
    narrow = "a = Sigmoid(x)\nc = Cast<to = 10>(a)\nq = Mul(c, c)\nm = GlobalAveragePool(q)"
    assert roots(narrow) == ["c"]
    wide = "a = Sigmoid(x)\nc = Cast<to = 1>(a)\nq = Mul(c, c)\nm = GlobalAveragePool(q)"
    assert roots(wide, x="float16[N,3,H,W]") == ["a", "c"]
    assert roots(wide, x="bfloat16[N,3,H,W]") == ["a", "c"]
    double = "a = Sigmoid(x)\nc = Cast<to = 11>(a)\nq = Mul(c, c)\nm = GlobalAveragePool(q)"
    for kind in ("float16", "bfloat16", "float"):
        assert roots(double, x=f"{kind}[N,3,H,W]") == ["a", "c"]
    to_half = "a = Sigmoid(x)\nc = Cast<to = 10>(a)\nq = Mul(c, c)\nm = GlobalAveragePool(q)"
    assert roots(to_half, x="bfloat16[N,3,H,W]") == ["c"]
    assert roots(wide) == ["a", "c"]
    single = "a = Sigmoid(x)\nc = Cast<to = 1>(a)\nq = Mul(c, c)\nm = GlobalAveragePool(q)"
    assert roots(single, x="double[N,3,H,W]") == ["c"]


def test_arithmetic_with_a_constant_on_either_side():
    for node in ("Mul(a, half)", "Mul(half, a)", "Sub(one, a)", "Div(a, two)", "Add(a, one)"):
        body = f"a = Sigmoid(x)\nb = {node}\nm = ReduceL2(b, hw)"
        assert roots(body) == ["b", "a"], node
    body = "a = Sigmoid(x)\nb = Neg(a)\nm = ReduceL2(b, hw)"
    assert roots(body) == ["b", "a"]
    # A number raised to a tensor, and two tensors.
    assert roots("a = Sigmoid(x)\nb = Pow(two, a)\nm = ReduceL2(b, hw)") == ["b"]
    assert roots("a = Sigmoid(x)\nb = Add(a, x)\nm = ReduceL2(b, hw)") == ["b"]


def test_other_domains_are_the_end():
    assert roots("a = other.Cast(x)\nq = Mul(a, a)\nm = GlobalAveragePool(q)") == ["a"]
    assert roots("q = other.Mul(x, x)\nm = GlobalAveragePool(q)") == ["q"]


def test_every_reduction_that_the_rules_know():
    assert set(STATISTICS) <= REDUCTIONS
    assert all(op in _RULES for op in REDUCTIONS)


@pytest.mark.parametrize(
    ("node", "more"),
    [
        ("Reshape(a, shape)", {}),
        ("Flatten(a)", {}),
        ("Squeeze(a, a2)", {}),
        ("Unsqueeze(a, a2)", {}),
        ("Expand(a, shape)", {}),
        ("Identity(a)", {}),
        ("Transpose<perm = [0, 2, 3, 1]>(a)", {}),
        ("Cast<to = 1>(a)", {}),
        ("Abs(a)", {}),
    ],
)
def test_every_way_of_moving_x(node, more):
    body = f"a = Sigmoid(x)\nb = {node}\nq = Mul(b, b)\nm = ReduceSum(q, a2)"
    assert roots(body, **more)[0] == "a"


def test_what_is_constant_is_no_x():
    constant = "a = Neg(gamma)\nq = Mul(a, a)\nm = ReduceSum(q, a2)\n"
    assert roots(constant) is None
    assert roots("q = Mul(x, gamma)\nm = GlobalAveragePool(q)") == ["q", "x"]


def test_a_long_chain_ends():
    body = "v0 = Neg(x)\n" + "".join(f"v{i + 1} = Neg(v{i})\n" for i in range(80))
    assert roots(body + "m = ReduceL2(v80, hw)")[-1] == "v16"
