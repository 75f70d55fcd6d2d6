"""The pieces of FRN one at a time: thresholds, parameters, statistics."""

import dataclasses

import graph_models
import numpy as np
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params, assert_fused, bound, data, expected, op_types

from frn_onnx.graph.fusion import fuse

NCHW, NHWC, NCW = LAYOUTS[0], LAYOUTS[1], LAYOUTS[2]


class TestThreshold:
    def test_relu(self, rng):
        params = dataclasses.replace(Params.random(rng), tau=np.zeros(3, np.float32))
        graph = Build(NCHW, params)
        model = graph.model(graph("Relu", graph.affine()))
        assert_fused(model, data(rng, NCHW), params, NCHW)

    @pytest.mark.parametrize("opset", [10, 11, 18])
    def test_clip_from_below(self, rng, opset):
        params = dataclasses.replace(Params.random(rng), tau=np.full(3, -0.3, np.float32))
        graph = Build(NCHW, params, opset=opset)
        affine = graph.affine()
        if opset < 11:
            model = graph.model(graph("Clip", affine, min=float(np.float32(-0.3))))
            result = fuse(model, form="custom")
            assert op_types(result.model) == ["FilterResponseNormalization"]
            assert result.fused[0].has_tau
            return
        model = graph.model(graph("Clip", affine, graph.scalar(-0.3)))
        if opset >= 13:
            assert_fused(model, data(rng, NCHW), params, NCHW)
        assert len(fuse(model, form="custom").fused) == 1

    def test_clip_from_above_stays(self, rng):
        params = dataclasses.replace(Params.random(rng), tau=None)
        graph = Build(NCHW, params)
        clipped = graph("Clip", graph.affine(), graph.scalar(0), graph.scalar(6))
        custom = fuse(graph.model(clipped), form="custom")
        assert op_types(custom.model) == ["FilterResponseNormalization", "Clip"]
        assert not custom.fused[0].has_tau

    def test_scalar(self, rng):
        params = dataclasses.replace(Params.random(rng), tau=np.full(3, 0.2, np.float32))
        graph = Build(NHWC, params)
        model = graph.model(graph("Max", graph.affine(), graph.scalar(0.2)))
        assert_fused(model, data(rng, NHWC), params, NHWC)

    def test_none(self, rng):
        params = dataclasses.replace(Params.random(rng), tau=None)
        graph = Build(NHWC, params)
        result = assert_fused(graph.model(graph.affine()), data(rng, NHWC), params, NHWC)
        assert not result.fused[0].has_tau

    def test_of_the_whole_activation_stays_outside(self, rng):
        """The TLU of TensorFlow Addons has a tau of shape (H, W, C)."""
        graph = Build(NHWC, Params.random(rng), static=True)
        tau = graph.const(rng.normal(size=(5, 4, 3)).astype(np.float32))
        result = fuse(graph.model(graph("Max", graph.affine(), tau)), form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization", "Max"]

    def test_affine_stays_outside(self, rng):
        """max(y, alpha * y + tau)."""
        graph = Build(NCHW, Params.random(rng))
        affine = graph.affine()
        alpha = graph.const(NCHW.param(rng.normal(size=3).astype(np.float32)))
        other = graph("Add", graph("Mul", alpha, affine), graph.tau)
        result = fuse(graph.model(graph("Max", affine, other)), form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization", "Mul", "Add", "Max"]

    @pytest.mark.parametrize("activation", ["Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSwish"])
    def test_activation_stays_outside(self, rng, activation):
        graph = Build(NCHW, Params.random(rng))
        result = fuse(graph.model(graph(activation, graph.affine())), form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization", activation]

    @pytest.mark.parametrize("threshold", [False, True])
    def test_swish_after(self, rng, threshold):
        graph = Build(NCHW, Params.random(rng))
        y = graph.y() if threshold else graph.affine()
        result = fuse(graph.model(graph("Mul", y, graph("Sigmoid", y))), form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization", "Sigmoid", "Mul"]
        assert result.fused[0].has_tau == threshold

    def test_where_of_something_else_stays(self, rng):
        """where(y > tau, y, other) is a threshold only if other is tau."""
        graph = Build(NCHW, Params.random(rng))
        affine = graph.affine()
        where = graph("Where", graph("Greater", affine, graph.tau), affine, graph.beta)
        result = fuse(graph.model(where), form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization", "Greater", "Where"]

    def test_negative_factor_after_it_stays(self, rng):
        """-max(y, tau) is a minimum."""
        graph = Build(NCHW, Params.random(rng))
        result = fuse(graph.model(graph("Neg", graph.y())), form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization", "Neg"]


class TestParameters:
    def test_neither_gamma_nor_beta(self, rng):
        params = Params(np.ones(3, np.float32), np.zeros(3, np.float32), None, np.float32(0.37))
        graph = Build(NHWC, params)
        assert_fused(graph.model(graph.normal()), data(rng, NHWC), params, NHWC)

    def test_neither_in_a_residual_block_of_rank_3(self, rng):
        """Over the last axis like RMS norm, but no scale of that axis follows."""
        graph = Build(NCW, Params(np.ones(3, np.float32), np.zeros(3), None, np.float32(0.37)))
        model = graph.model(graph("Add", graph.normal(), graph.x))
        result = fuse(model, form="custom")
        assert op_types(result.model) == ["ResidualFilterResponseNormalization"]

    def test_beta_only(self, rng):
        params = dataclasses.replace(Params.random(rng), gamma=np.ones(3, np.float32), tau=None)
        graph = Build(NHWC, params)
        model = graph.model(graph("Add", graph.normal(), graph.beta))
        assert_fused(model, data(rng, NHWC), params, NHWC)

    def test_scalars(self, rng):
        params = Params(
            np.full(3, 1.5, np.float32), np.full(3, -0.25, np.float32), None, np.float32(0.37)
        )
        graph = Build(NCHW, params)
        scaled = graph("Mul", graph.scalar(1.5), graph.normal())
        model = graph.model(graph("Add", scaled, graph.scalar(-0.25)))
        assert_fused(model, data(rng, NCHW), params, NCHW)

    @pytest.mark.parametrize("layout", [NCHW, NHWC], ids=["NCHW", "NHWC"])
    def test_epsilon_per_channel(self, rng, layout):
        epsilon = np.array([0.01, 1.0, 3.0], np.float32)
        params = dataclasses.replace(Params.random(rng), epsilon=epsilon)
        graph = Build(layout, params)
        graph.scalar = lambda value: graph.const(layout.param(value))
        result = assert_fused(graph.model(graph.y()), data(rng, layout), params, layout)
        assert result.fused[0].epsilon == pytest.approx(0.01)

    def test_epsilon_equal_in_all_channels_is_the_attribute(self, rng):
        params = dataclasses.replace(Params.random(rng), epsilon=np.full(3, 0.5, np.float32))
        graph = Build(NCHW, params)
        graph.scalar = lambda value: graph.const(NCHW.param(value))
        result = assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)
        (node,) = [n for n in result.model.graph.node if n.op_type.startswith("Filter")]
        assert len(node.input) == 4

    def test_zero_gamma(self, rng):
        params = Params.random(rng)
        params.gamma[1] = 0
        graph = Build(NCHW, params)
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_one_channel(self, rng):
        layout = NCHW
        params = Params.random(rng, channels=1)
        graph = Build(layout, params)
        graph.inputs.clear()
        graph.input("x", ["N", 1, "H", "W"])
        x = data(rng, layout)[:, :1]
        assert_fused(graph.model(graph.y()), x, params, layout)

    @pytest.mark.parametrize("shape", [(1, 3, 1, 1), (1, 3, 5, 4), (2, 3, 1, 4), (2, 1, 5, 4)])
    def test_axes_of_size_one(self, rng, shape):
        """An axis of size 1 fits anywhere; it must not be taken for another."""
        params = Params.random(rng, channels=shape[1])
        graph = Build(NCHW, params)
        graph.inputs.clear()
        graph.input("x", shape)
        x = (rng.normal(size=shape) + 0.5).astype(np.float32)
        assert_fused(graph.model(graph.y()), x, params, NCHW)


class TestStatistic:
    def test_global_average_pool(self, rng):
        params = Params.random(rng)
        for layout in (NCW, NCHW, LAYOUTS[4]):
            graph = Build(layout, params)
            graph.nu2 = lambda g=graph: g("GlobalAveragePool", g.square())
            assert_fused(graph.model(graph.y()), data(rng, layout), params, layout)

    def test_average_pool_over_the_plane(self, rng):
        params = Params.random(rng)
        graph = Build(NCHW, params, static=True)
        graph.nu2 = lambda: graph("AveragePool", graph.square(), kernel_shape=[5, 4])
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_global_lp_pool(self, rng):
        params = Params.random(rng)
        graph = Build(NCHW, params, static=True)

        def nu2():
            norm = graph("GlobalLpPool", graph.x, p=2)
            return graph("Div", graph("Pow", norm, graph.scalar(2)), graph.scalar(20))

        graph.nu2 = nu2
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_sum_over_static_count(self, rng):
        params = Params.random(rng)
        graph = Build(NHWC, params, static=True)

        def nu2():
            sum_ = graph.reduce("ReduceSum", graph.square(), NHWC.axes)
            return graph("Mul", sum_, graph.scalar(1 / 20))

        graph.nu2 = nu2
        result = assert_fused(graph.model(graph.y()), data(rng, NHWC), params, NHWC)
        # 20 * float32(1/20) is 1: gamma is not to be touched by its rounding.
        gamma = next(t for t in result.model.graph.initializer if t.name.endswith("gamma"))
        assert np.array_equal(np.frombuffer(gamma.raw_data, np.float32), params.gamma)

    def test_flattened_plane(self, rng):
        """x reshaped to (N, C, H * W), normalised there, and reshaped back."""
        params = Params.random(rng)
        graph = Build(NCHW, params)
        flat = graph("Reshape", graph.x, graph.const(np.array([0, 0, -1])))
        nu2 = graph.reduce("ReduceMean", graph("Mul", flat, flat), [-1])
        root = graph("Sqrt", graph("Add", nu2, graph.scalar(params.epsilon)))
        back = graph("Reshape", graph("Div", flat, root), graph("Shape", graph.x))
        graph.normal = lambda: back
        result = assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)
        assert result.fused[0].axes == (2, 3)

    def test_statistic_of_the_transposed_input(self, rng):
        """The mean in NHWC of an NCHW tensor, taken back to NCHW."""
        params = Params.random(rng)
        graph = Build(NCHW, params)

        def nu2():
            last = graph("Transpose", graph.x, perm=[0, 2, 3, 1])
            mean = graph.reduce("ReduceMean", graph("Mul", last, last), [1, 2])
            return graph("Transpose", mean, perm=[0, 3, 1, 2])

        graph.nu2 = nu2
        assert_fused(graph.model(graph.y()), data(rng, NCHW), params, NCHW)

    def test_between_transposes(self, rng):
        """NCHW outside, NHWC inside: the transposes go with the rest."""
        params = Params.random(rng)
        graph = Build(NHWC, params)
        graph.inputs.clear()
        outer = graph.input("outer", NCHW.dynamic)
        graph.x = graph("Transpose", outer, perm=[0, 2, 3, 1])
        model = graph.model(graph("Transpose", graph.y(), perm=[0, 3, 1, 2]))
        result = assert_fused(model, data(rng, NCHW), params, NCHW)
        assert result.fused[0].layout == "NCHW"

    def test_transpose_before_the_threshold(self, rng):
        """tf2onnx at a graph output: NCHW, Add, Transpose, Max with a (C,) tau."""
        params = Params.random(rng)
        graph = Build(NCHW, params)
        last = graph("Transpose", graph.affine(), perm=[0, 2, 3, 1])
        model = graph.model(graph("Max", last, graph.const(params.tau)))
        result = fuse(model, form="portable")
        assert op_types(result.model) == ["FilterResponseNormalization", "Transpose"]
        assert result.fused[0].has_tau
        x = data(rng, NCHW)
        (y,) = graph_models.run(result.model, {"x": x})
        np.testing.assert_array_less(
            np.abs(y - expected(x, params, NCHW).transpose(0, 2, 3, 1)),
            bound(x, params, NCHW).transpose(0, 2, 3, 1),
        )

    @pytest.mark.parametrize("shape", [(5, 4), (5, 1), (4,), (1,)])
    def test_rms_normalization_over_the_plane(self, rng, shape):
        """Opset 23."""
        params = Params.random(rng)
        graph = Build(NCHW, params, opset=23)
        graph.ir_version = 11
        ones = graph.const(np.ones(shape, np.float32))
        graph.normal = lambda: graph(
            "RMSNormalization", graph.x, ones, axis=2, epsilon=float(params.epsilon)
        )
        model = graph.model(graph.y())
        result = fuse(model, form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization"]
        assert result.fused[0].epsilon == pytest.approx(float(params.epsilon))
        x = data(rng, NCHW)
        (y,) = graph_models.run(fuse(model).model, {"x": x})
        assert np.all(np.abs(y - expected(x, params, NCHW)) <= bound(x, params, NCHW))

    def test_moved_by_a_reshape_to_a_number_of_channels(self, rng):
        """x has an unknown number of channels; (N, C, 1, 1) becomes (-1, 1, 1, 3)."""
        params = Params.random(rng)
        graph = Build(NHWC, params)
        graph.inputs.clear()
        outer = graph.input("outer", ["N", "C", "H", "W"])
        graph.x = graph("Transpose", outer, perm=[0, 2, 3, 1])

        def nu2():
            pooled = graph("GlobalAveragePool", graph("Mul", outer, outer))
            return graph("Reshape", pooled, graph.const(np.array([-1, 1, 1, 3])))

        graph.nu2 = nu2
        model = graph.model(graph("Transpose", graph.y(), perm=[0, 3, 1, 2]))
        assert_fused(model, data(rng, NCHW), params, NCHW)

    def test_standard_ops_by_their_full_name(self, rng):
        params = Params.random(rng)
        graph = Build(NCHW, params)
        graph.gamma = graph("Abs", graph("Neg", graph.gamma))
        model = graph.model(graph.y())
        model.opset_import[0].domain = "ai.onnx"
        result = fuse(model, form="custom")
        assert op_types(result.model) == ["FilterResponseNormalization"]
