"""Normalisations that equal FRN up to what is around them."""

import numpy as np
import pytest
from matcher_graphs import Lines, floats, ints

from frn_onnx.graph.matcher import other_norms

ARRAYS = {
    "shape": ints(0, 2, -1),
    "axes": ints(1),
    "wide": floats(1, 2, 3),
    "two": floats(1, 2),
    "long": np.ones((3, 1)),
}


def lines(body: str, **more) -> Lines:
    return Lines(body, arrays=ARRAYS, **more)


class TestScaledWithin:
    def scaled(self, body: str) -> bool:
        made = lines(body, x="float[N,T,3]")
        return other_norms.scaled_within(made.values["y"], made.constants)

    def test_a_scale_along_the_last_axis(self):
        assert self.scaled("y = Relu(x)\nz = Mul(y, wide)")
        assert self.scaled("y = Relu(x)\nz = Mul(wide, y)")
        assert self.scaled("y = Relu(x)\nz = Mul(y, two)")

    @pytest.mark.parametrize(
        "node", ["Mul(y, half)", "Add(y, wide)", "Mul(y, long)", "Mul(y, x)", "Mul(y, y)"]
    )
    def test_others(self, node):
        assert not self.scaled(f"y = Relu(x)\nz = {node}")

    def test_the_last_of_all(self):
        assert not self.scaled("y = Relu(x)")


class TestGrouped:
    def reason(self, body: str):
        made = lines(body)
        return other_norms.grouped(made.values["u"], made.values["y"])

    def test_between_two_reshapes(self):
        body = "u = Reshape(x, shape)\ny = Relu(u)\nz = Reshape(y, shape)"
        assert "group normalisation" in self.reason(body)

    @pytest.mark.parametrize(
        "body",
        [
            "u = Reshape(x, shape)\ny = Relu(u)",
            "u = Reshape(x, shape)\ny = Relu(u)\nz = Relu(y)",
            "u = Relu(x)\ny = Relu(u)\nz = Reshape(y, shape)",
        ],
    )
    def test_others(self, body):
        assert self.reason(body) is None

    def test_of_an_input(self):
        made = lines("y = Relu(x)\nz = Reshape(y, shape)")
        assert other_norms.grouped(made.values["x"], made.values["y"]) is None


class TestCentred:
    def reason(self, body: str):
        return other_norms.centred(lines(body).values["y"])

    @pytest.mark.parametrize(
        "body",
        [
            "m = ReduceMean(x, axes)\ny = Sub(x, m)",
            "m = GlobalAveragePool(x)\ny = Sub(x, m)",
            "m = GlobalAveragePool(x)\nd = Sub(x, m)\ny = Transpose<perm = [0, 2, 3, 1]>(d)",
            "c = Cast<to = 1>(x)\nm = GlobalAveragePool(c)\ny = Sub(x, m)",
            "m = GlobalAveragePool(x)\ne = Identity(m)\nc = Cast<to = 1>(x)\ny = Sub(c, e)",
        ],
    )
    def test_x_less_its_mean(self, body):
        assert "the mean is subtracted first" in self.reason(body)

    @pytest.mark.parametrize(
        "move",
        [
            *("Cast<to = 1>({})", "CastLike({}, one)", "Expand({}, shape)", "Flatten({})"),
            *("Identity({})", "Reshape({}, shape)", "Squeeze({}, axes)", "Unsqueeze({}, axes)"),
            "Transpose<perm = [0, 2, 3, 1]>({})",
        ],
    )
    def test_every_move_is_looked_through(self, move):
        before = f"t = {move.format('x')}\nm = ReduceMean(t, axes)\ny = Sub(x, m)"
        behind = f"m = ReduceMean(x, axes)\nd = Sub(x, m)\ny = {move.format('d')}"
        assert self.reason(before) == self.reason(behind) is not None

    @pytest.mark.parametrize(
        "body",
        [
            "y = Relu(x)",
            "y = Sub(x, half)",
            "m = GlobalAveragePool(x)\ny = Add(x, m)",
            "m = GlobalMaxPool(x)\ny = Sub(x, m)",
            "r = Relu(x)\nm = GlobalAveragePool(r)\ny = Sub(x, m)",
            "m = GlobalAveragePool(x)\ny = Sub(m, x)",
            "g = Gather(x, axes)\nm = GlobalAveragePool(g)\ny = Sub(x, m)",
            "c = ConstantOfShape(x)\nm = GlobalAveragePool(c)\ny = Sub(x, m)",
        ],
    )
    def test_others(self, body):
        assert self.reason(body) is None

    def test_of_an_input(self):
        assert other_norms.centred(lines("y = Relu(x)").values["x"]) is None
