"""However FRN is associated, ordered, cast and wrapped, it fuses; with one step changed, not."""

import dataclasses

import numpy as np
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params, assert_fused, data
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from frn_onnx.graph.fusion import fuse

PROPERTY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
)


class Shuffled(Build):
    """FRN with every choice there is drawn from hypothesis: the same function each time."""

    def __init__(self, draw, layout, params):
        self.draw, self.wrapping, self.full = draw, False, {"x"}
        super().__init__(layout, params)

    def choose(self, *options):
        return self.draw(st.sampled_from(options))

    def __call__(self, op_type, *inputs, **attributes):
        name = super().__call__(op_type, *inputs, **attributes)
        if self.full & set(inputs) and attributes.get("keepdims") != 0:
            self.full.add(name)
        floats = {"Mul", "Add", "Sub", "Div", "Sqrt", "Reciprocal", "Pow", "Max", "ReduceMean"}
        if self.wrapping or op_type not in floats or self.draw(st.integers(0, 3)):
            return name
        self.wrapping = True
        wraps = (self.cast, self.identity, self.neutral)
        if name in self.full:
            wraps += (self.transposes, self.squeezes)
        name = self.choose(*wraps)(name)
        self.wrapping = False
        return name

    # What can be put around any tensor without changing it.

    def identity(self, x):
        return self("Identity", x)

    def cast(self, x):
        wide = self("Cast", x, to=TensorProto.DOUBLE)
        return self("Cast", wide, to=TensorProto.FLOAT)

    def transposes(self, x):
        perm = self.draw(st.permutations(range(self.layout.rank)))
        moved = self("Transpose", x, perm=list(perm))
        return self("Transpose", moved, perm=[int(i) for i in np.argsort(perm)])

    def squeezes(self, x):
        axis = self.const(np.array([self.draw(st.integers(0, self.layout.rank))]))
        return self("Squeeze", self("Unsqueeze", x, axis), axis)

    def neutral(self, x):
        op_type, value = self.choose(("Mul", 1), ("Add", 0), ("Div", 1), ("Sub", 0), ("Pow", 1))
        if op_type in ("Mul", "Add") and self.draw(st.booleans()):
            return self(op_type, self.scalar(value), x)
        return self(op_type, x, self.scalar(value))

    # Sums and products in any order and association.

    def combine(self, op_type, terms):
        terms = list(terms)
        while len(terms) > 1:
            i, j = self.draw(st.permutations(range(len(terms))))[:2]
            made = self(op_type, terms[i], terms[j])
            terms = [t for k, t in enumerate(terms) if k not in (i, j)] + [made]
        return terms[0]

    def split(self, values):
        """Two constants whose sum is ``values``."""
        part = np.asarray(values) * np.float32(0.25)
        return self.const(part), self.const(np.asarray(values) - part)

    # The pieces.

    def square(self):
        kind = self.choose("mul", "pow", "scaled")
        if kind == "mul":
            return self("Mul", self.x, self.x)
        if kind == "pow":
            return self("Pow", self.x, self.scalar(2))
        return self.combine("Mul", [self.x, self.x, self.scalar(4), self.scalar(0.25)])

    def nu2(self):
        axes = list(self.draw(st.permutations(self.layout.axes)))
        axes = [axis - self.layout.rank if self.draw(st.booleans()) else axis for axis in axes]
        kind = self.choose("mean", "one by one", "sum", "dropped")
        if kind == "mean":
            return self.reduce("ReduceMean", self.square(), axes)
        if kind == "one by one":
            result = self.square()
            for axis in axes:
                result = self.reduce("ReduceMean", result, [axis])
            return result
        if kind == "sum":
            sum_ = self.reduce("ReduceSum", self.square(), axes)
            shape = self("Shape", self.x)
            sizes = [self("Gather", shape, self.const(np.array(axis))) for axis in axes]
            count = sizes[0]
            for size in sizes[1:]:
                count = super().__call__("Mul", count, size)
            return self("Div", sum_, self("Cast", count, to=TensorProto.FLOAT))
        dropped = self.reduce("ReduceMean", self.square(), axes, keepdims=0)
        return self("Unsqueeze", dropped, self.const(np.array(self.layout.axes)))

    def shifted(self):
        if self.draw(st.booleans()):
            return self.combine("Add", [self.nu2(), self.scalar(self.params.epsilon)])
        return self.combine("Add", [self.nu2(), *self.split(np.float32(self.params.epsilon))])

    def roots(self):
        """What x is multiplied and divided by: the product is 1 / sqrt(nu2 + epsilon)."""
        shifted = self.shifted()
        kind = self.choose("reciprocal", "one over", "power", "power half", "quarters")
        if kind == "reciprocal":
            return [self("Reciprocal", self("Sqrt", shifted))], []
        if kind == "one over":
            return [self("Div", self.scalar(1), self("Sqrt", shifted))], []
        if kind == "power":
            return [self("Pow", shifted, self.scalar(-0.5))], []
        if kind == "power half":
            return [], [self("Pow", shifted, self.scalar(0.5))]
        quarter = self("Sqrt", self("Sqrt", shifted))
        return [], [quarter, quarter]

    def affine(self):
        times, over = self.roots()
        scale = self.choose(1.0, 0.5, -2.0)
        factors = [self.x, self.const(self.layout.param(self.params.gamma) / np.float32(scale))]
        factors += times
        if scale != 1:
            factors.append(self.scalar(scale))
        if over:
            denominator = self.combine("Mul", over)
            place = self.draw(st.integers(0, len(factors) - 1))
            factors[place] = self("Div", factors[place], denominator)
        product = self.combine("Mul", factors)
        return self.combine("Add", [product, *self.split(self.layout.param(self.params.beta))])

    def y(self):
        kind = self.choose("none", "max", "relu", "where", "scaled")
        affine = self.affine()
        if kind == "none":
            self.params = dataclasses.replace(self.params, tau=None)
            return affine
        if kind == "max":
            return self("Max", *self.draw(st.permutations([affine, self.tau])))
        if kind == "relu":
            return self("Add", self("Relu", self("Sub", affine, self.tau)), self.tau)
        if kind == "where":
            return self("Where", self("Less", affine, self.tau), self.tau, affine)
        two = self.scalar(2)
        half = self("Max", self("Mul", affine, self.scalar(0.5)), self("Div", self.tau, two))
        return self("Mul", half, two)


@PROPERTY
@given(draw=st.data(), layout=st.sampled_from(LAYOUTS), seed=st.integers(0, 1000))
def test_every_way_of_writing_it_fuses(draw, layout, seed):
    rng = np.random.default_rng(seed)
    graph = Shuffled(draw.draw, layout, Params.random(rng))
    model = graph.model(graph.y())
    # Each node rounds once; each rounding of the statistic counts at most once in y.
    assert_fused(model, data(rng, layout), graph.params, layout, roundings=len(graph.nodes))


class Perturbed(Shuffled):
    """The same with one step changed so that the function is another one."""

    def __init__(self, draw, layout, params, change):
        self.change = change
        super().__init__(draw, layout, params)

    def neutral(self, x):
        # An epsilon of 0 that is added is an epsilon.
        return self.identity(x) if self.change == "no epsilon" else super().neutral(x)

    def square(self):
        square = super().square()
        if self.change == "fourth power":
            return self("Mul", square, square)
        if self.change == "cube":
            return self("Mul", square, self.x)
        if self.change == "mean of x":
            return self.x
        return square

    def nu2(self):
        if self.change == "axis left out" and len(self.layout.axes) > 1:
            return self.reduce("ReduceMean", self.square(), self.layout.axes[1:])
        if self.change in ("axis left out", "over the batch"):
            return self.reduce("ReduceMean", self.square(), (0, *self.layout.axes))
        if self.change == "over the channels":
            return self.reduce("ReduceMean", self.square(), range(1, self.layout.rank))
        if self.change == "maximum":
            axes = self.const(np.array(self.layout.axes))
            return self("ReduceMax", self.square(), axes)
        return super().nu2()

    def shifted(self):
        if self.change == "floor":
            return self("Max", self.nu2(), self.scalar(self.params.epsilon))
        if self.change == "epsilon outside":
            return self.nu2()
        if self.change == "no epsilon":
            return self.nu2()
        if self.change == "exponential":
            return self("Exp", super().shifted())
        return super().shifted()

    def roots(self):
        if self.change == "epsilon outside":
            root = self("Add", self("Sqrt", self.shifted()), self.scalar(self.params.epsilon))
            return [], [root]
        if self.change == "no root":
            return [], [self.shifted()]
        if self.change == "cube root":
            return [self("Pow", self.shifted(), self.scalar(-1 / 3))], []
        if self.change == "root of the wrong sign":
            return [self("Sqrt", self.shifted())], []
        if self.change == "offset root":
            times, over = super().roots()
            return [self("Add", t, self.scalar(0.5)) for t in times], [
                self("Add", o, self.scalar(0.5)) for o in over
            ]
        if self.change == "absolute x":
            times, over = super().roots()
            self.x = self("Abs", self.x)
            return times, over
        return super().roots()


CHANGES = [
    "fourth power",
    "cube",
    "mean of x",
    "axis left out",
    "over the batch",
    "over the channels",
    "maximum",
    "floor",
    "epsilon outside",
    "no epsilon",
    "exponential",
    "no root",
    "cube root",
    "root of the wrong sign",
    "offset root",
    "absolute x",
]


@pytest.mark.parametrize("change", CHANGES)
@settings(PROPERTY, max_examples=12)
@given(draw=st.data(), layout=st.sampled_from(LAYOUTS))
def test_no_change_of_it_fuses(change, draw, layout):
    graph = Perturbed(draw.draw, layout, Params.random(np.random.default_rng(0)), change)
    model = graph.model(graph.y())
    result = fuse(model, form="custom")
    assert result.fused == []
    assert [n.op_type for n in result.model.graph.node] == [n.op_type for n in model.graph.node]
