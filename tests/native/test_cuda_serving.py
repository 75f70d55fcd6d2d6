"""A served model on a GPU, whose runs are recorded; the rest is serving/test_cuda_graphs.py.

Without a GPU the same runs are made on the CPU, where nothing is recorded.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import onnx
import ort_models
import pytest
from cuda_cases import check, feeds_for
from native_cases import make_x

from frn_onnx.serving import cuda_graphs
from frn_onnx.serving.cuda_graphs import CudaGraphs, RoundedUp
from frn_onnx.serving.model import Model
from frn_onnx.serving.options import ModelOptions
from frn_onnx.serving.probe import probe

AXES = (2, 3)


class OnCpu(CudaGraphs):
    """Answers are copies, as a GPU's are: on the CPU they are what the next run writes."""

    def __init__(self, session):
        super().__init__(session, "cpu")

    def _run(self, *arguments):
        return {name: array.copy() for name, array in super()._run(*arguments).items()}


class Served:
    """A model of one FRN, served; its parameters are in the file."""

    def __init__(self, device, folder, rng, dtype="float32", *, side=40, cuda_graph=True):
        self._rng, self._dtype, self._shape = rng, np.dtype(dtype), (16, side, side)
        feeds = feeds_for(rng, (1, *self._shape), AXES, dtype)
        self._params = {name: array for name, array in feeds.items() if name != "X"}
        model = ort_models.frn_model(x=["N", *self._shape], axes=AXES, channels=16, dtype=dtype)
        del model.graph.input[1:]
        for name, array in self._params.items():
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        path = folder / f"{dtype}.onnx"
        onnx.save(model, path)
        on_gpu = device == "cuda"
        options = ModelOptions(path, device=device, cuda_graph=cuda_graph and on_gpu)
        self.model = Model(options)
        if cuda_graph and not on_gpu:
            self.model._graphs = OnCpu(self.model._session)

    def draw(self, samples):
        return make_x(self._rng, (samples, *self._shape), self._dtype)

    def run(self, x):
        return self.model.run({"X": x}, ["Y"])["Y"]

    def check(self, y, x):
        check(y, {"X": x, **self._params}, AXES)

    def run_and_check(self, samples):
        x = self.draw(samples)
        self.check(self.run(x), x)


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.cuda), "cpu"])
def serve(request, tmp_path, rng):
    """Makes a served model: (dtype, side, cuda_graph)."""
    return partial(Served, request.param, tmp_path, rng)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_runs_of_several_shapes(serve, dtype):
    """Each is run as it comes, recorded and replayed, with values of its own."""
    served = serve(dtype)
    inputs = [served.draw(samples) for samples in (2, 5, 2, 5, 5, 2, 1, 2)]
    for y, x in zip([served.run(x) for x in inputs], inputs, strict=True):
        served.check(y, x)


def test_shapes_beyond_the_most_have_no_graph(serve, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_MOST_GRAPHS", 2)
    served = serve()
    for samples in (1, 2, 3, 3, 2, 3, 1):
        served.run_and_check(samples)


@pytest.mark.parametrize("cuda_graph", [False, True])
def test_large_requests(serve, cuda_graph):
    """Runs that give memory of the CPU back, and one of no sample between them."""
    served = serve(side=400, cuda_graph=cuda_graph)  # 10 MB a sample
    for samples in (1, 1, 0, 1):
        served.run_and_check(samples)


def test_a_start(serve):
    """The server's own: alone, together, what is recorded then, and what comes."""
    served = serve()
    probed = probe(served.model, most=12)
    assert probed.rows == 12
    rounded = RoundedUp(served.model.run, probed.rows)
    rounded.warm_up(probed.sample, ["Y"])
    for samples in (1, 3, 8, 9, 12, 13, 5):
        x = served.draw(samples)
        served.check(rounded.run({"X": x}, ["Y"])["Y"], x)


def test_models_side_by_side(serve):
    """One records while others run: all of it is done by one thread."""
    models = [serve(dtype) for dtype in ("float32", "float16")]
    cases = [(served := models[i % 2], served.draw(1 + i % 3)) for i in range(24)]
    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(served.run, x) for served, x in cases]
        for run, (served, x) in zip(runs, cases, strict=True):
            served.check(run.result(), x)
