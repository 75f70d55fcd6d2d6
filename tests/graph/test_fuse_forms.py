"""Every way of writing FRN that is this function is fused, in every layout."""

import dataclasses

import graph_models
import numpy as np
import opsets
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params, assert_fused, data, expected
from onnx import TensorProto

from frn_onnx.graph.fusion import fuse

NCHW, NHWC, NCW = LAYOUTS[0], LAYOUTS[1], LAYOUTS[2]


FORMS: dict[str, type[Build]] = {}


def form(*overrides):
    """Registers a Build subclass with these methods, named after the first of them."""

    def register(cls):
        FORMS[cls.__name__] = cls
        return cls

    return register(overrides[0])


@form
class Paper(Build):
    pass


@form
class OneTimesOverRoot(Build):
    def normal(self):
        return self("Div", self("Mul", self.x, self.scalar(1)), self("Sqrt", self.shifted()))


@form
class Division(Build):
    def normal(self):
        return self("Div", self.x, self("Sqrt", self.shifted()))


@form
class OneOverRoot(Build):
    def inverse(self):
        return self("Div", self.scalar(1), self("Sqrt", self.shifted()))


@form
class PowerMinusHalf(Build):
    def inverse(self):
        return self("Pow", self.shifted(), self.scalar(-0.5))


@form
class PowerHalf(Build):
    def normal(self):
        return self("Div", self.x, self("Pow", self.shifted(), self.scalar(0.5)))


@form
class RootOfReciprocal(Build):
    def inverse(self):
        return self("Sqrt", self("Reciprocal", self.shifted()))


@form
class SquareByPower(Build):
    def square(self):
        return self("Pow", self.x, self.scalar(2))


@form
class SquareOfScaled(Build):
    """mean((x / 4)**2) * 16, against overflow."""

    def square(self):
        quarter = self("Mul", self.x, self.scalar(0.25))
        return self("Mul", quarter, quarter)

    def shifted(self):
        nu2 = self("Mul", self.nu2(), self.scalar(16))
        return self("Add", nu2, self.scalar(self.params.epsilon))


@form
class EpsilonInsideTheMean(Build):
    def square(self):
        return self("Add", super().square(), self.scalar(self.params.epsilon))

    def shifted(self):
        return self.nu2()


@form
class EpsilonTwice(Build):
    def shifted(self):
        half = self.scalar(self.params.epsilon / 2)
        return self("Add", half, self("Add", self.nu2(), half))


@form
class EpsilonAbsolute(Build):
    """Abs of a (1,) variable, as XSeg and TensorFlow Addons have it."""

    def shifted(self):
        variable = self.const(np.array([-self.params.epsilon], self.dtype))
        return self("Add", self.nu2(), self("Abs", variable))


@form
class EpsilonFromChain(Build):
    """Abs, Concat, Reshape, Expand, as jax2onnx has it."""

    def shifted(self):
        variable = self("Abs", self.const(np.array([self.params.epsilon], self.dtype)))
        ones = self.const(np.ones(1, np.int64))
        shape = self("Concat", ones, *[ones] * (self.layout.rank - 1), axis=0)
        return self("Add", self.nu2(), self("Expand", self("Reshape", variable, shape), shape))


@form
class EpsilonScaledOut(Build):
    """sqrt(4 * nu2 + 4 * epsilon) / 2."""

    def inverse(self):
        four = self.scalar(4)
        sum_ = self("Add", self("Mul", four, self.nu2()), self.scalar(4 * self.params.epsilon))
        return self("Div", self.scalar(2), self("Sqrt", sum_))


@form
class FloorBelowEpsilon(Build):
    """max(nu2 + epsilon, tiny) never takes the second."""

    def shifted(self):
        return self("Max", super().shifted(), self.scalar(self.params.epsilon / 2))


@form
class AbsoluteStatistic(Build):
    def shifted(self):
        return self("Abs", super().shifted())


@form
class ReversedNegativeAxes(Build):
    def nu2(self):
        axes = [axis - self.layout.rank for axis in self.layout.axes][::-1]
        return self.reduce("ReduceMean", self.square(), axes)


@form
class OneMeanPerAxis(Build):
    def nu2(self):
        result = self.square()
        for axis in self.layout.axes:
            result = self.reduce("ReduceMean", result, [axis])
        return result


@form
class DimensionsDropped(Build):
    def nu2(self):
        dropped = self.reduce("ReduceMean", self.square(), self.layout.axes, keepdims=0)
        return self("Unsqueeze", dropped, self.const(np.array(self.layout.axes, np.int64)))


@form
class DimensionsDroppedAndReshaped(Build):
    def inverse(self):
        dropped = self.reduce("ReduceMean", self.square(), self.layout.axes, keepdims=0)
        shifted = self("Add", dropped, self.scalar(self.params.epsilon))
        shape = [1] * self.layout.rank
        shape[0], shape[self.layout.channel] = 0 if self.layout.channel == 1 else -1, 3
        root = self("Sqrt", self("Reshape", shifted, self.const(np.array(shape, np.int64))))
        return self("Reciprocal", root)


@form
class SumOverCount(Build):
    """The number of terms from the shape, whatever it is at run time."""

    def nu2(self):
        sum_ = self.reduce("ReduceSum", self.square(), self.layout.axes)
        sizes = self("Gather", self("Shape", self.x), self.const(np.array(self.layout.axes)))
        count = self("ReduceProd", sizes, keepdims=0)
        kind = TensorProto.DOUBLE if self.dtype == np.float64 else TensorProto.FLOAT
        return self("Div", sum_, self("Cast", count, to=kind))


@form
class SumOfSquares(Build):
    def nu2(self):
        sum_ = self.reduce("ReduceSumSquare", self.x, self.layout.axes)
        count = None
        for axis in self.layout.axes:
            size = self("Gather", self("Shape", self.x), self.const(np.array(axis)))
            count = size if count is None else self("Mul", count, size)
        kind = TensorProto.DOUBLE if self.dtype == np.float64 else TensorProto.FLOAT
        return self("Mul", sum_, self("Reciprocal", self("Cast", count, to=kind)))


@form
class ExpandedStatistic(Build):
    def normal(self):
        return self("Mul", self.x, self("Expand", self.inverse(), self("Shape", self.x)))


@form
class IdentityEverywhere(Build):
    def __call__(self, op_type, *inputs, **attributes):
        name = super().__call__(op_type, *inputs, **attributes)
        return super().__call__("Identity", name)


@form
class GammaInTheSmallTensor(Build):
    def affine(self):
        small = self("Mul", self.gamma, self.inverse())
        return self("Add", self("Mul", self.x, small), self.beta)


@form
class GammaOverRoot(Build):
    """The order the op's own body has."""

    def affine(self):
        small = self("Div", self.gamma, self("Sqrt", self.shifted()))
        return self("Add", self("Mul", self.x, small), self.beta)


@form
class GammaFirst(Build):
    def affine(self):
        return self("Add", self("Mul", self("Mul", self.gamma, self.x), self.inverse()), self.beta)


@form
class GammaDividesRoot(Build):
    def affine(self):
        small = self("Div", self("Sqrt", self.shifted()), self.gamma)
        positive = np.all(self.params.gamma != 0)
        assert positive
        return self("Add", self("Div", self.x, small), self.beta)


@form
class BetaInsideGamma(Build):
    """gamma * (normal + beta / gamma)."""

    def affine(self):
        inner = self.const(self.layout.param(self.params.beta / self.params.gamma))
        return self("Mul", self.gamma, self("Add", self.normal(), inner))


@form
class BetaSubtracted(Build):
    def affine(self):
        return self("Sub", self("Mul", self.gamma, self.normal()), self("Neg", self.beta))


@form
class NormalSubtracted(Build):
    def affine(self):
        return self("Sub", self.beta, self("Mul", self("Neg", self.gamma), self.normal()))


@form
class VariadicSum(Build):
    def affine(self):
        return self("Sum", self("Mul", self.gamma, self.normal()), self.beta)


@form
class ParametersReshaped(Build):
    """(C,) parameters with a Reshape node each."""

    def __init__(self, layout, params, **options):
        super().__init__(layout, params, **options)
        shape = self.const(np.array(layout.param(params.gamma).shape, np.int64))
        for name in ("gamma", "beta", "tau"):
            flat = self.const(getattr(params, name))
            setattr(self, name, self("Reshape", flat, shape))


@form
class ParametersFullRank(Build):
    """(1, C, 1, 1) parameters, transposed from (1, 1, 1, C)."""

    def __init__(self, layout, params, **options):
        super().__init__(layout, params, **options)
        last = layout.rank - 1
        perm = list(range(last))
        perm.insert(layout.channel, last)
        for name in ("gamma", "beta", "tau"):
            values = getattr(params, name).reshape((1,) * last + (-1,))
            setattr(self, name, self("Transpose", self.const(values), perm=perm))


@form
class ReluAndShift(Build):
    """relu(y - tau) + tau."""

    def y(self):
        return self("Add", self("Relu", self("Sub", self.affine(), self.tau)), self.tau)


@form
class ReluFoldedShift(Build):
    """The same as tf2onnx folds it: relu(gamma * normal + (beta - tau)) + tau."""

    def affine(self):
        folded = self.const(self.layout.param(self.params.beta - self.params.tau))
        return self("Add", self("Mul", self.gamma, self.normal()), folded)

    def y(self):
        return self("Add", self("Relu", self.affine()), self.tau)


@form
class WhereGreater(Build):
    def y(self):
        affine = self.affine()
        return self("Where", self("Greater", affine, self.tau), affine, self.tau)


@form
class WhereLess(Build):
    def y(self):
        affine = self.affine()
        return self("Where", self("LessOrEqual", affine, self.tau), self.tau, affine)


@form
class WhereTauFirst(Build):
    def y(self):
        affine = self.affine()
        return self("Where", self("Less", self.tau, affine), affine, self.tau)


@form
class MaxOfThree(Build):
    def y(self):
        least = self.scalar(np.min(self.params.tau) - 1)
        return self("Max", least, self.affine(), self.tau)


@form
class ScaledAfterThreshold(Build):
    """2 * max(y / 2, tau / 2)."""

    def y(self):
        two = self.scalar(2)
        half = self("Max", self("Div", self.affine(), two), self("Div", self.tau, two))
        return self("Mul", half, two)


@form
class RootMeanSquareByNorm(Build):
    """(l2(x) ** 2) / N."""

    def nu2(self):
        norm = self.reduce("ReduceL2", self.x, self.layout.axes)
        sizes = self("Gather", self("Shape", self.x), self.const(np.array(self.layout.axes)))
        kind = TensorProto.DOUBLE if self.dtype == np.float64 else TensorProto.FLOAT
        count = self("Cast", self("ReduceProd", sizes, keepdims=0), to=kind)
        return self("Div", self("Mul", norm, norm), count)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("name", FORMS)
def test_form(name, layout, rng):
    params = Params.random(rng)
    graph = FORMS[name](layout, params)
    assert_fused(graph.model(graph.y()), data(rng, layout), params, layout)


@pytest.mark.parametrize("name", FORMS)
def test_form_static_shape(name, rng):
    params = Params.random(rng)
    graph = FORMS[name](NHWC, params, static=True)
    assert_fused(graph.model(graph.y()), data(rng, NHWC), params, NHWC)


@pytest.mark.parametrize("opset", [13, 17, 18, 21, 23])
def test_opset(opset, rng):
    opsets.needs(opset)
    params = Params.random(rng)
    graph = Build(NCHW, params, opset=opset)
    graph.ir_version = 11 if opset == 23 else 8
    assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)


def test_double(rng):
    params = Params.random(rng, dtype=np.float64)
    graph = Build(NCHW, params)
    graph.params = dataclasses.replace(params, epsilon=np.float64(0.375))
    assert_fused(graph.model(graph.y()), data(rng, NCHW, np.float64), graph.params, NCHW)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-9, [1e-3, 2.5e-4, 3e-5], [0.0, 1e-3, 0.25]])
def test_an_epsilon_that_only_float64_holds(rng, epsilon):
    """The op's epsilon is a float32; x is scaled so that it need not be rounded."""
    params = Params.random(rng, dtype=np.float64)
    graph = Build(NCHW, params)
    graph.params = dataclasses.replace(params, epsilon=np.asarray(epsilon))
    value = graph.const(NCHW.param(epsilon) if np.ndim(epsilon) else np.float64(epsilon))
    graph.shifted = lambda: graph("Add", graph.nu2(), value)
    model = graph.model(graph.y())
    x = 1e-3 * rng.normal(0.2, 1, NCHW.shape)
    result = fuse(model)
    assert len(result.fused) == 1
    exact = expected(x, graph.params, NCHW)
    got = graph_models.run(result.model, {"x": x})[0]
    np.testing.assert_allclose(got, exact, rtol=1e-13, atol=1e-14)


def test_an_epsilon_that_float32_has_no_number_for(rng):
    graph = Build(NCHW, Params.random(rng, dtype=np.float64))
    graph.shifted = lambda: graph("Add", graph.nu2(), graph.scalar(1e60))
    result = fuse(graph.model(graph.y()))
    assert result.fused == []
    assert "is inf in float32" in result.skipped[0].reason
