"""A served model on a GPU, whose runs are recorded; the rest is serving/test_cuda_graphs.py."""

import onnx
import ort_models
import pytest
from cuda_cases import check, feeds_for

from frn_onnx.serving.model import Model

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_runs_of_several_shapes(tmp_path, rng, dtype):
    """Each is run as it comes, recorded and replayed, with values of its own."""
    model = ort_models.frn_model(x=["N", 16, 40, 30], axes=(2, 3), channels=16, dtype=dtype)
    onnx.save(model, tmp_path / "model.onnx")
    served = Model(tmp_path / "model.onnx", device="cuda", cuda_graph=True)
    answers = []
    for samples in (2, 5, 2, 5, 5, 2, 1, 2):
        feeds = feeds_for(rng, (samples, 16, 40, 30), (2, 3), dtype)
        answers.append((served.run(feeds, ["Y"])["Y"], feeds))
    for y, feeds in answers:
        check(y, feeds, (2, 3))
