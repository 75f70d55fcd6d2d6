"""Files with float16 in them: whatever they square in, the node squares in float32."""

import dataclasses

import graph_models
import numpy as np
import onnx
import tolerances
from fuse_builds import Build
from fuse_models import (
    LAYOUTS,
    bound,
    data,
    expected,
    op_types,
)
from onnx import TensorProto

from frn_onnx import op
from frn_onnx.graph.fusion import fuse

NCHW, NHWC = LAYOUTS[0], LAYOUTS[1]
FRN = op.OP_TYPE


class TestHalf:
    def half(self, params):
        return dataclasses.replace(
            params,
            **{
                name: getattr(params, name).astype(np.float16)
                for name in ("gamma", "beta", "tau", "epsilon")
            },
        )

    def check(self, model, params, x, left=()):
        result = fuse(model)
        assert sorted(op_types(result.model)) == sorted((FRN, *left))
        onnx.checker.check_model(result.model, full_check=True)
        (y,) = graph_models.run(result.model, {"x": x})
        kind = y.dtype if not left else np.float16
        tolerances.assert_within(y, expected(x, params, NCHW), bound(x, params, NCHW, dtype=kind))
        return result

    def test_all_of_it(self, params, rng):
        params = self.half(params)
        graph = Build(NCHW, params)
        # 300 squared is beyond float16: the graph itself would give gamma * 300 / inf.
        x = (data(rng, NCHW, np.float16) * 100).astype(np.float16)
        self.check(graph.model(graph.y()), params, x)

    def test_float32_statistic(self, params, rng):
        params = self.half(params)
        graph = Build(NCHW, params)

        def nu2():
            wide = graph("Cast", graph.x, to=TensorProto.FLOAT)
            mean = graph.reduce("ReduceMean", graph("Mul", wide, wide), NCHW.axes)
            return graph("Cast", mean, to=TensorProto.FLOAT16)

        graph.nu2 = nu2
        self.check(graph.model(graph.y()), params, data(rng, NCHW, np.float16))

    def test_all_in_float32(self, params, rng):
        """Cast up, everything in float32, cast down: the same with types of its own."""
        graph = Build(NCHW, params)
        graph.inputs.clear()
        half = graph.input("x", NCHW.dynamic, np.float16)
        graph.x = graph("Cast", half, to=TensorProto.FLOAT)
        model = graph.model(graph("Cast", graph.y(), to=TensorProto.FLOAT16))
        self.check(model, params, data(rng, NCHW, np.float16))

    def test_cast_up_and_float32_out(self, params, rng):
        """The result is float32, so x is cast first, as it was."""
        graph = Build(NCHW, params)
        graph.inputs.clear()
        half = graph.input("x", NCHW.dynamic, np.float16)
        graph.x = graph("Cast", half, to=TensorProto.FLOAT)
        x = data(rng, NCHW, np.float16)
        result = fuse(graph.model(graph.y()))
        assert op_types(result.model) == ["Cast", FRN]
        (y,) = graph_models.run(result.model, {"x": x})
        assert y.dtype == np.float32
        tolerances.assert_within(y, expected(x, params, NCHW), bound(x, params, NCHW))

    def test_affine_in_float32(self, params, rng):
        """float16 x and statistic; gamma, beta and tau in float32, and so the result."""
        graph = Build(NCHW, params)
        graph.inputs.clear()
        graph.input("x", NCHW.dynamic, np.float16)
        half = graph.const(np.float16(params.epsilon))
        params = dataclasses.replace(params, epsilon=np.float16(params.epsilon))
        graph.shifted = lambda: graph("Add", graph.nu2(), half)
        normal = graph.normal()
        graph.normal = lambda: graph("Cast", normal, to=TensorProto.FLOAT)
        x = data(rng, NCHW, np.float16)
        result = fuse(graph.model(graph.y()))
        assert op_types(result.model) == ["Cast", FRN]
        (y,) = graph_models.run(result.model, {"x": x})
        tolerances.assert_within(y, expected(x, params, NCHW), bound(x, params, NCHW))

    def test_rounded_input_is_x(self, params, rng):
        """A cast down before FRN is a rounding of x, and stays."""
        params = self.half(params)
        graph = Build(NCHW, params)
        graph.inputs.clear()
        wide = graph.input("x", NCHW.dynamic)
        graph.x = graph("Cast", wide, to=TensorProto.FLOAT16)
        result = fuse(graph.model(graph.y()), form="custom")
        assert op_types(result.model) == ["Cast", FRN]

    def test_epsilon_that_underflowed(self, params, rng):
        """1e-16 is 0 in float16: still added, so still this function, with epsilon 0."""
        params = dataclasses.replace(self.half(params), epsilon=np.float16(1e-16))
        graph = Build(NCHW, params)
        result = fuse(graph.model(graph.y()), form="custom")
        assert result.fused[0].epsilon == 0
