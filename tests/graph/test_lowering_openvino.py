"""Primitives written for OpenVINO: the same numbers, by ReduceL2."""

import graph_models
import numpy as np
import onnx
import pytest
import tolerances
from graph_models import frn_nodes

from frn_onnx import reference
from frn_onnx.errors import ArgumentError
from frn_onnx.graph.lowering import lower


def test_primitives_for_openvino(everywhere, rng):
    model = lower(everywhere, "primitives", target="openvino")
    onnx.checker.check_model(model, full_check=True)
    assert "ReduceMean" not in str(model)
    feeds = {"x": rng.normal(1, 3, size=(2, 3, 5, 4)).astype(np.float32), "c": np.array(True)}
    expected = graph_models.run(lower(everywhere, "primitives"), feeds)
    for y, other in zip(graph_models.run(model, feeds), expected, strict=True):
        np.testing.assert_allclose(y, other, rtol=1e-5, atol=1e-5)
    again = lower(model, "custom")
    assert len(frn_nodes(again)) == len(frn_nodes(everywhere))


@pytest.mark.parametrize("opset", [8, 13, 17, 18, 21])
@pytest.mark.parametrize("shape", [(1, 5, 7, 3), ("N", "H", "W", 3)])
def test_primitives_for_openvino_at_every_opset(rng, opset, shape):
    x = rng.normal(1, 3, size=(1, 5, 7, 3)).astype(np.float32)
    model = graph_models.parse(graph_models.ONE_NODE, rng)
    model.opset_import[0].version = opset
    for value in (*model.graph.input[:1], *model.graph.output):
        for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            setattr(dim, "dim_value" if isinstance(size, int) else "dim_param", size)
    made = lower(model, "primitives", target="openvino")
    y = graph_models.run(made, {"x": x})[0]
    params = graph_models.parameters(model)
    given = [params[name] for name in ("gamma", "beta", "tau")]
    expected = reference.frn(x, *given, axes=(1, 2))
    bound = tolerances.frn_bound(x, *given, axes=(1, 2), roundings=4)
    tolerances.assert_within(y, expected, bound)


def test_other_forms_are_not_for_openvino(everywhere):
    with pytest.raises(ArgumentError, match="only the form 'primitives' is written for openvino"):
        lower(everywhere, "portable", target="openvino")
    with pytest.raises(ArgumentError, match="target must be one of onnxruntime, openvino"):
        lower(everywhere, "primitives", target="tensorrt")
