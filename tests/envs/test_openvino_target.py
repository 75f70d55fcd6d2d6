"""Primitives for OpenVINO, in OpenVINO: right, from the smallest values to the largest."""

import environments
import numpy as np
import onnx
import ort_models
import pytest
import tolerances
from runtimes import run

from frn_onnx import op, reference
from frn_onnx.graph.lowering import lower

# Squares of the first are not normal numbers; sums of those of the last just fit into float32.
SCALES = np.float32([1e-19, 1e-15, 1, 1e10, 1e18])


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
@pytest.mark.parametrize(
    ("stated", "axes"),
    [((5, 4, 9, 11), (2, 3)), (("N", 4, "H", "W"), (-1, -2)), (("N", "H", "W", 4), (1, 2))],
)
def test_values_of_every_size(stated, axes, epsilon, rng, tmp_path):
    last = axes == (1, 2)
    shape = (5, 9, 11, 4) if last else (5, 4, 9, 11)
    params = rng.normal(size=(3, 4, *((1,) * (0 if last else 2)))).astype(np.float32)
    model = ort_models.frn_model(x=stated, axes=axes, channels=4, epsilon=epsilon)
    ort_models.with_constants(model, dict(zip(op.INPUTS[1:4], params, strict=True)))
    onnx.save(lower(model, "primitives", target="openvino"), tmp_path / "model.onnx")
    x = rng.normal(size=shape).astype(np.float32) * SCALES.reshape(5, 1, 1, 1)
    np.save(tmp_path / "x.npy", x)
    said = environments.run(
        "runtimes", run.PROGRAMS, "openvino", tmp_path / "model.onnx", tmp_path / "x.npy"
    )
    y = np.array(said.split(), np.float32).reshape(shape)
    options = {"epsilon": epsilon, "axes": axes}
    # ReduceL2's root, the count's, their quotient and its square.
    bound = tolerances.frn_bound(x, *params, **options, roundings=4)
    tolerances.assert_within(y, reference.frn(x, *params, **options), bound)
