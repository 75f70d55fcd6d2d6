"""Whatever surrounds FRN nodes, moving them changes no number, and adds no Transpose."""

import collections

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import transpose_graphs

from frn_onnx import op
from frn_onnx.graph import lower
from frn_onnx.graph.edit import FreeNames
from frn_onnx.graph.forms import form_of, set_form
from frn_onnx.graph.fusion import fuse_in_place
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.sites import frn_sites
from frn_onnx.graph.transposes import arrange


def kinds(model: ir.Model) -> collections.Counter:
    return collections.Counter(node.op_type for node in model.graph.all_nodes())


def run(model: onnx.ModelProto, feeds: dict) -> list[np.ndarray]:
    """Node by node as written: ONNX Runtime has an optimiser of Transposes of its own."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    if form_of(model) == "custom":
        model = lower(model, "portable")
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    ).run(None, feeds)


def check(seed: int, layout: str = "auto", *, open_sizes: bool = False) -> int:
    """Returns how many Transposes went."""
    graph = transpose_graphs.RandomGraph(seed, open_sizes=open_sizes)
    expected = run(graph.model, graph.feeds)
    model = ir.from_proto(graph.model)
    before = kinds(model)
    unnamed = sum(not node.name for node in model.graph.all_nodes())
    arrange(model, layout, Constants(model), Shapes(model, []), FreeNames(model))
    after = kinds(model)
    assert after[op.OP_TYPE] == before[op.OP_TYPE]
    assert sum(not node.name for node in model.graph.all_nodes()) <= unnamed
    result = ir.to_proto(model)
    if layout == "auto":
        assert after["Transpose"] <= before["Transpose"]
    else:
        for site in frn_sites(model):
            axes, _ = site.attributes()
            assert op.channel_axis(axes) == (1 if layout == "NCHW" else len(axes) + 1)
    onnx.checker.check_model(lower(result, "portable"), full_check=True)
    names = [value.name for value in graph.model.graph.output]
    assert [value.name for value in result.graph.output] == names
    for a, b in zip(expected, run(result, graph.feeds), strict=True):
        # Sums are taken in another order.
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * np.abs(a).max(initial=1))
    return before["Transpose"] - after["Transpose"]


@pytest.mark.parametrize("layout", ["auto", "NCHW", "NHWC"])
def test_random_graphs_of_standard_ops(layout):
    """From the nodes that fuse finds FRN in, Reshapes among them that stand for Transposes."""
    reshapes = 0
    for seed in (*range(1000, 1015), 1138):
        graph = transpose_graphs.RandomGraph(seed)
        plain = lower(graph.model, "primitives")
        fused = ir.from_proto(plain)
        fuse_in_place(fused, layout)
        set_form(fused, "portable")
        result = ir.to_proto(fused)
        onnx.checker.check_model(result, full_check=True)
        reshapes += any(node.op_type == "Reshape" for node in result.graph.node)
        for a, b in zip(run(plain, graph.feeds), run(result, graph.feeds), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * np.abs(a).max(initial=1))
    assert reshapes > 3


@pytest.mark.parametrize("open_sizes", [False, True])
@pytest.mark.parametrize("layout", ["auto", "NCHW", "NHWC"])
def test_random_graphs(layout, open_sizes):
    gone = [check(seed, layout, open_sizes=open_sizes) for seed in range(20)]
    if layout == "auto":
        assert sum(gone) > 20
