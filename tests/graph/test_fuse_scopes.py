"""FRN in subgraphs and in functions."""

import graph_models
import numpy as np
import onnx
from fuse_models import frn_nodes, node_parameters, op_types
from onnx import numpy_helper

from frn_onnx import op
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.half import convert

FRN = op.OP_TYPE

SUBGRAPHS = """
<ir_version: 8, opset_import: ["": 17]>
subgraphs (float[N,3,H,W] x, bool c) => (float[N,3,H,W] y, float[N,3,H,W] z)
<float[3,1,1] gamma, float[3,1,1] beta, float[3,1,1] tau, float epsilon>
{
  square = Mul (x, x)
  y = If (c) <
    then_branch = yes () => (float[N,3,H,W] t) {
      nu2 = GlobalAveragePool (square)
      shifted = Add (nu2, epsilon)
      root = Sqrt (shifted)
      normal = Div (x, root)
      scaled = Mul (gamma, normal)
      affine = Add (scaled, beta)
      t = Max (affine, tau)
    },
    else_branch = no () => (float[N,3,H,W] e) { e = Neg (x) }>
  trips = Constant <value = int64 {3}> ()
  always = Constant <value = bool {1}> ()
  z = Loop (trips, always, x) <
    body = body (int64 i, bool cond_in, float[N,3,H,W] state)
      => (bool cond_out, float[N,3,H,W] next) {
      cond_out = Identity (cond_in)
      s = Mul (state, state)
      m = ReduceMean <axes = [-1, -2]> (s)
      a = Add (m, epsilon)
      r = Sqrt (a)
      n = Div (state, r)
      k = Mul (gamma, n)
      next = Add (k, beta)
    }>
}
"""


FUNCTIONS = """
<ir_version: 8, opset_import: ["": 17, "local": 1]>
functions (float[N,3,H,W] x) => (float[N,3,H,W] y)
<float[3,1,1] gamma, float[3,1,1] beta, float[3,1,1] tau, float[3,1,1] other>
{
  a = local.Block (x, gamma, beta, tau)
  b = local.Outer (a, other, beta, tau)
  y = local.Plain (b)
}
<domain: "local", opset_import: ["": 17]>
Block (u, g, b, t) => (v) {
  s = Mul (u, u)
  m = GlobalAveragePool (s)
  epsilon = Constant <value = float {0.37}> ()
  shifted = Add (m, epsilon)
  r = Sqrt (shifted)
  n = Div (u, r)
  k = Mul (g, n)
  l = Add (k, b)
  v = Max (l, t)
}
<domain: "local", opset_import: ["": 17, "local": 1]>
Outer (u, g, b, t) => (v) { w = Neg (u) v = local.Block (w, g, b, t) }
<domain: "local", opset_import: ["": 17]>
Plain (u) => (v) { m = GlobalAveragePool (u) v = Mul (u, m) }
"""


class TestScopes:
    def test_if_and_loop(self, rng):
        model = graph_models.parse(SUBGRAPHS, rng)
        result = fuse(model)
        assert [f.has_tau for f in result.fused] == [True, False]
        onnx.checker.check_model(result.model, full_check=True)
        branch = result.model.graph.node[0].attribute[0].g
        assert [n.op_type for n in branch.node] == [FRN]
        x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
        for c in (True, False):
            feeds = {"x": x, "c": np.array(c)}
            before, after = graph_models.run(model, feeds), graph_models.run(result.model, feeds)
            for a, b in zip(before, after, strict=True):
                np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)

    def test_parameters_that_go_through_a_loop(self, rng):
        """JAX and TensorFlow hand them to the body, which hands them on."""
        text = SUBGRAPHS.replace("z = Loop", "z, u = Loop")
        text = text.replace("(trips, always, x)", "(trips, always, x, gamma)")
        text = text.replace("float[N,3,H,W] state)", "float[N,3,H,W] state, float[3,1,1] g)")
        text = text.replace("float[N,3,H,W] next)", "float[N,3,H,W] next, float[3,1,1] h)")
        text = text.replace("k = Mul (gamma, n)", "k = Mul (g, n) h = Identity (g)")
        model = graph_models.parse(text, rng)
        result = fuse(model)
        assert (len(result.fused), result.skipped) == (2, [])
        onnx.checker.check_model(result.model, full_check=True)
        feeds = {"x": rng.normal(size=(2, 3, 5, 4)).astype(np.float32), "c": np.array(True)}
        before, after = graph_models.run(model, feeds), graph_models.run(result.model, feeds)
        for a, b in zip(before, after, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)

    def test_functions_that_hold_frn_are_inlined(self, rng):
        model = graph_models.parse(FUNCTIONS, rng)
        result = fuse(model)
        assert op_types(result.model) == [FRN, "Neg", FRN, "Plain"]
        assert {f.name for f in result.model.functions} == {"Plain", FRN}
        gammas = [node_parameters(result.model, n).gamma for n in frn_nodes(result.model)]
        tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        assert np.array_equal(gammas[0], tensors["gamma"].reshape(-1))
        assert np.array_equal(gammas[1], tensors["other"].reshape(-1))
        x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32)
        (a,), (b,) = (graph_models.run(m, {"x": x}) for m in (model, result.model))
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)

    def test_functions_that_nothing_calls(self, rng):
        """They were looked for FRN in without end."""
        model = graph_models.parse(FUNCTIONS, rng)
        model.graph.node[0].op_type, model.graph.node[1].op_type = "Plain", "Plain"
        del model.graph.node[0].input[1:], model.graph.node[1].input[1:]
        result = fuse(model)
        assert result.fused == []
        assert {f.name for f in result.model.functions} == {"Block", "Outer", "Plain"}
        assert len(convert(model).functions) == 0

    def test_functions_without_frn_stay(self, rng):
        text = FUNCTIONS.replace("r = Sqrt (shifted)", "r = Exp (shifted)")
        model = graph_models.parse(text, rng)
        result = fuse(model)
        assert result.fused == []
        assert {f.name for f in result.model.functions} == {"Block", "Outer", "Plain"}
        assert op_types(result.model) == op_types(model)
