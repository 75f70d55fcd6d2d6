"""What many tests start from: random parameters, the formula to build on, a model full of FRN."""

import graph_models
import onnx
import pytest
from fuse_builds import Build
from fuse_models import LAYOUTS, Params


@pytest.fixture
def params(rng):
    return Params.random(rng)


@pytest.fixture
def graph(params):
    """In NCHW."""
    return Build(LAYOUTS[0], params)


@pytest.fixture
def everywhere(rng):
    """FRN in the main graph, a subgraph and a function."""
    return graph_models.parse(graph_models.EVERYWHERE, rng)


@pytest.fixture
def cnn(rng):
    return graph_models.parse(graph_models.CNN, rng)


@pytest.fixture
def external(cnn, tmp_path):
    """A file whose weights are in external data; returns the path and the model."""
    path = tmp_path / "model.onnx"
    copy = onnx.ModelProto()
    copy.CopyFrom(cnn)
    onnx.save(copy, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path
