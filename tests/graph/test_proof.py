"""The proof of each fused node alone: right ones pass, a wrong one is named."""

import dataclasses

import graph_models
import numpy as np
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params
from onnx import TensorProto

from frn_onnx.graph import rewrite
from frn_onnx.graph.proof import prove

NCHW, NHWC = LAYOUTS[0], LAYOUTS[1]


def two_layers(rng, layout=NCHW, **options):
    graph = Build(layout, Params.random(rng), **options)
    graph.x = graph("Tanh", graph.y())
    return graph, graph.model(graph.y())


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_each_node_is_proved(rng, layout):
    _, model = two_layers(rng, layout)
    proofs = prove(model)
    assert [p.report.ok for p in proofs] == [True, True]
    assert len({p.name for p in proofs}) == 2
    assert all(set(p.replaced) <= {n.name for n in model.graph.node} for p in proofs)
    assert all(0 < output.max_abs < 1e-5 for p in proofs for output in p.report.outputs)
    assert all(len(p.report.samples) == 2 for p in proofs)


@pytest.mark.parametrize("parameter", ["gamma", "beta", "tau", "epsilon"])
def test_a_wrong_parameter_is_found(rng, parameter, monkeypatch):
    """The second node alone is given another parameter than the graph has."""
    right = rewrite.Rewriter.apply
    calls = []

    def wrong(self, match):
        calls.append(match)
        if len(calls) == 2:
            value = getattr(match, parameter) + np.array([0, 0.01, 0])
            match = dataclasses.replace(match, **{parameter: value})
        return right(self, match)

    monkeypatch.setattr(rewrite.Rewriter, "apply", wrong)
    _, model = two_layers(rng)
    assert [p.report.ok for p in prove(model)] == [True, False]


def test_a_wrong_layout_is_found(rng, monkeypatch):
    right = rewrite.Rewriter.apply

    def wrong(self, match):
        return right(self, dataclasses.replace(match, axes=(1, 3)))

    monkeypatch.setattr(rewrite.Rewriter, "apply", wrong)
    graph = Build(NHWC, Params.random(rng))
    graph.inputs.clear()
    graph.input("x", ["N", 3, 3, 3])
    (proof,) = prove(graph.model(graph.y()))
    assert not proof.report.ok


def test_casts_and_transposes_belong_to_the_node(rng):
    graph = Build(NCHW, Params.random(rng))
    graph.inputs.clear()
    half = graph.input("half", NCHW.dynamic, np.float16)
    graph.x = graph("Cast", half, to=TensorProto.FLOAT)
    last = graph("Transpose", graph.affine(), perm=[0, 2, 3, 1])
    tau = graph.const(graph.params.tau)
    (proof,) = prove(graph.model(graph("Max", last, tau)))
    assert proof.report.ok


def test_sizes_from_the_model_input(rng):
    """H and W read from the model's input, whose sizes x shares by name."""
    graph = Build(NCHW, Params.random(rng))
    image = graph.input("image", ["N", 1, "H", "W"])

    def nu2():
        sizes = graph("Gather", graph("Shape", image), graph.const(np.array([2, 3])))
        count = graph("Cast", graph("ReduceProd", sizes, keepdims=0), to=TensorProto.FLOAT)
        return graph("Div", graph.reduce("ReduceSum", graph.square(), (2, 3)), count)

    graph.nu2 = nu2
    (proof,) = prove(graph.model(graph.y()))
    assert proof.report.ok
    assert "image" in proof.report.samples[0]


def test_old_opset(rng):
    """The nodes are opset 11; the node alone is run in a newer one."""
    _, model = two_layers(rng, opset=11)
    assert [p.report.ok for p in prove(model)] == [True, True]


def test_inside_a_subgraph(rng):
    text = """
    <ir_version: 8, opset_import: ["": 17]>
    m (float[N,3,H,W] x, bool c) => (float[N,3,H,W] y) <float[3,1,1] gamma, float epsilon>
    {
      y = If (c) <
        then_branch = yes () => (float[N,3,H,W] t) {
          square = Mul (x, x)
          nu2 = GlobalAveragePool (square)
          shifted = Add (nu2, epsilon)
          root = Sqrt (shifted)
          normal = Div (x, root)
          t = Mul (gamma, normal)
        },
        else_branch = no () => (float[N,3,H,W] e) { e = Neg (x) }>
    }
    """
    (proof,) = prove(graph_models.parse(text, rng))
    assert proof.report.ok
