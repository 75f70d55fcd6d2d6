"""Runs through tensors that stay where they are: on the CPU, where nothing is recorded."""

import asyncio
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import onnxruntime as ort
import pytest
from onnx import parser
from serving import example_models
from serving.example_models import load

import frn_onnx
from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.serving import cuda_graphs
from frn_onnx.serving import service as service_module
from frn_onnx.serving.cuda_graphs import RUNS_TO_REPLAY, CudaGraphs, RoundedUp
from frn_onnx.serving.metrics import Metrics
from frn_onnx.serving.options import ModelOptions
from frn_onnx.serving.probe import Probe, probe
from frn_onnx.serving.service import ServedModel

MODEL = """
<ir_version: 8, opset_import: ["": 18]>
two (float[N, 3] x, float16[N] w) => (float[N, 3] y, float[N] s)
{
  v = Cast <to = 1> (w)
  axis = Constant <value_ints = [1]> ()
  column = Unsqueeze (v, axis)
  y = Mul (x, column)
  s = ReduceSum <keepdims = 0> (y, axis)
}
"""


@pytest.fixture
def session():
    model = parser.parse_model(MODEL).SerializeToString()
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def check(graphs, rng, samples: int, outputs=("s", "y")) -> str:
    """One run on new values; which graph it asked for."""
    x = rng.normal(size=(3, samples)).astype(np.float32).T  # not contiguous
    w = rng.normal(size=samples).astype(np.float16)
    options = ort.RunOptions()
    result = graphs.run({"w": w, "x": x}, outputs, options)
    y = x * w.astype(np.float32)[:, None]
    expected = {"y": y, "s": y.sum(1)}
    assert list(result) == list(outputs)
    for name in outputs:
        np.testing.assert_allclose(result[name], expected[name], rtol=1e-6, atol=1e-6)
    return options.get_run_config_entry("gpu_graph_id")


def test_each_shape_has_its_graph(session, rng):
    graphs = CudaGraphs(session, "cpu")
    asked = [check(graphs, rng, samples) for samples in (1, 4, 1, 4, 4, 1, 0, 0)]
    assert asked == [
        "-1",
        "-1",
        "1",
        "2",
        "2",
        "1",
        "-1",
        "-1",
    ]  # of no sample there is nothing to record
    assert check(graphs, rng, 4, ["y"]) == "2"


def test_shapes_beyond_the_most_have_none(session, rng, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_MOST_GRAPHS", 2)
    graphs = CudaGraphs(session, "cpu")
    asked = [check(graphs, rng, samples) for samples in (1, 2, 3, 3, 2, 3)]
    assert asked == ["-1", "-1", "-1", "-1", "2", "-1"]


@pytest.fixture
def unrecordable(session):
    class Unrecordable:
        def __getattr__(self, name):
            return getattr(session, name)

        def run_with_iobinding(self, binding, options):
            if options.get_run_config_entry("gpu_graph_id") != "-1":
                raise RuntimeError("operation not permitted when stream is capturing")
            session.run_with_iobinding(binding, options)

    return CudaGraphs(Unrecordable(), "cpu")


def test_a_run_that_cannot_be_recorded_says_so(unrecordable, rng):
    graphs = unrecordable
    check(graphs, rng, 2)
    with pytest.raises(ModelError, match=r"recorded as a CUDA graph.* without: operation not perm"):
        check(graphs, rng, 2)


def test_a_replay_that_fails_is_a_run_that_fails(session, rng):
    graphs = CudaGraphs(session, "cpu")
    for _ in range(2):
        check(graphs, rng, 2)
    options = ort.RunOptions()
    options.terminate = True
    feeds = {"w": np.ones(2, np.float16), "x": np.ones((2, 3), np.float32)}
    with pytest.raises(Exception, match="terminate") as caught:
        graphs.run(feeds, ["y"], options)
    assert not isinstance(caught.value, ModelError)


def test_what_does_not_stack_is_run_as_it_is():
    model = SimpleNamespace(run=object())
    assert service_module._rounded_up(model, Probe(1, "one at a time"), 8) is model.run


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_elsewhere_there_is_no_graph(tmp_path, device):
    with pytest.raises(ArgumentError, match=f"needs device 'cuda', received '{device}'"):
        load(example_models.linear(tmp_path), device=device, cuda_graph=True)


def test_what_python_cannot_keep_on_a_gpu(tmp_path, monkeypatch):
    path = example_models.texts(tmp_path)
    created = frn_onnx.InferenceSession(path, providers=["CPUExecutionProvider"])
    monkeypatch.setattr("frn_onnx.serving.model._session", lambda *_: created)
    with pytest.raises(ModelError, match=r"with --cuda-graph: .* cannot keep BYTES on a GPU"):
        load(path, device="cuda", cuda_graph=True)


def test_such_a_model_is_not_served(tmp_path, unrecordable, monkeypatch):
    (tmp_path / "two.onnx").write_bytes(parser.parse_model(MODEL).SerializeToString())
    model = load(tmp_path / "two.onnx", device="cpu")
    monkeypatch.setattr(model, "_graphs", unrecordable)
    with pytest.raises(ModelError, match="recorded as a CUDA graph"):
        probe(model)


def test_one_thread_makes_all_runs(session, rng):
    """ONNX Runtime keeps a graph for the thread that recorded it: a warm-up's serve requests."""
    made_by = []

    class Watched:
        def __getattr__(self, name):
            return getattr(session, name)

        def run_with_iobinding(self, binding, options):
            made_by.append(threading.current_thread())
            session.run_with_iobinding(binding, options)

    models = [CudaGraphs(Watched(), "cpu") for _ in range(2)]
    with ThreadPoolExecutor(4) as others:
        asked = [check(models[0], rng, 2), check(models[0], rng, 2)]
        asked += [others.submit(check, models[0], rng, 2).result() for _ in range(2)]
        # A shape each: on the CPU an answer is what the next run of the shape writes.
        runs = [others.submit(check, models[i % 2], rng, 3 + i) for i in range(20)]
        assert {run.result() for run in runs} == {"-1"}
    assert asked == ["-1", "1", "1", "1"]
    assert len(set(made_by)) == 1
    assert made_by[0].daemon


def test_a_shape_that_fails_takes_no_graphs_place(session, rng, monkeypatch):
    monkeypatch.setattr(cuda_graphs, "_MOST_GRAPHS", 1)
    graphs = CudaGraphs(session, "cpu")
    bad = {"w": np.zeros(2, np.float16), "x": np.zeros((2, 4), np.float32)}
    with pytest.raises(Exception, match="Got: 4 Expected: 3"):
        graphs.run(bad, ["y"], ort.RunOptions())
    assert [check(graphs, rng, 2) for _ in range(2)] == ["-1", "1"]


@pytest.mark.parametrize(
    ("most", "sizes"),
    [(32, [1, 2, 4, 8, 16, 24, 32]), (20, [1, 2, 4, 8, 16, 20]), (6, [1, 2, 4, 6]), (2, [1, 2])],
)
def test_few_sizes_have_a_graph(most, sizes):
    assert RoundedUp(lambda *_: {}, most).sizes == sizes


class Recorder:
    """Graphs on the CPU, and the samples of each run; answers are copies, as a GPU's are."""

    def __init__(self, session):
        self._graphs = CudaGraphs(session, "cpu")
        self.samples = []

    def run(self, feeds, outputs, options=None):
        self.samples.append(len(feeds["x"]))
        found = self._graphs.run(feeds, outputs, options or ort.RunOptions())
        return {name: array.copy() for name, array in found.items()}


def test_other_numbers_of_samples_are_rounded_up(session, rng):
    recorder = Recorder(session)
    rounded = RoundedUp(recorder.run, 12)
    for samples in (1, 2, 3, 5, 8, 9, 12, 13, 0):
        feeds = {
            "x": rng.normal(size=(samples, 3)).astype(np.float32),
            "w": rng.normal(size=samples).astype(np.float16),
        }
        found = rounded.run(feeds, ["y", "s"])
        y = feeds["x"] * feeds["w"].astype(np.float32)[:, None]
        np.testing.assert_allclose(found["y"], y, rtol=1e-6)
        np.testing.assert_allclose(found["s"], y.sum(1), rtol=1e-5, atol=1e-6)
    assert recorder.samples == [1, 2, 4, 8, 8, 12, 12, 13, 0]


def test_inputs_that_share_no_axis_are_run_as_they_are():
    seen = []
    rounded = RoundedUp(lambda feeds, _: seen.append(feeds) or {}, 8)
    feeds = {"a": np.zeros((3, 2)), "b": np.zeros((5, 2))}
    rounded.run(feeds, [])
    assert seen == [feeds]


def test_a_server_has_recorded_what_it_runs(tmp_path, session, monkeypatch):
    """From the start, and nothing else later; the rows that were added are in no answer."""
    (tmp_path / "two.onnx").write_bytes(parser.parse_model(MODEL).SerializeToString())
    created = frn_onnx.InferenceSession(tmp_path / "two.onnx", providers=["CPUExecutionProvider"])
    recorder = Recorder(session)
    monkeypatch.setattr("frn_onnx.serving.model._session", lambda *_: created)
    monkeypatch.setattr("frn_onnx.serving.model._graphs", lambda *_: recorder)
    options = ModelOptions(tmp_path / "two.onnx", device="cuda", cuda_graph=True, max_batch=16)
    served = ServedModel(options, Metrics())
    try:
        runs = Counter(recorder.samples)
        assert sorted(runs) == [1, 2, 4, 8, 16]
        assert min(runs.values()) >= RUNS_TO_REPLAY
        recorder.samples.clear()
        feeds = {"x": np.ones((5, 3), np.float32), "w": np.arange(5, dtype=np.float16)}
        result = asyncio.run(served.batcher.submit(feeds, ["s"]))
        np.testing.assert_array_equal(result.outputs["s"], 3 * np.arange(5))
        assert recorder.samples == [8]
    finally:
        served.close()


def test_a_start_leaves_the_largest_batch_recorded(tmp_path, rng, session, monkeypatch):
    (tmp_path / "two.onnx").write_bytes(parser.parse_model(MODEL).SerializeToString())
    model = load(tmp_path / "two.onnx", device="cpu")
    graphs = CudaGraphs(session, "cpu")

    class Copying:  # as a GPU does: on the CPU an answer is what the next run writes
        def run(self, *args):
            return {name: array.copy() for name, array in graphs.run(*args).items()}

    monkeypatch.setattr(model, "_graphs", Copying())
    assert probe(model, most=8).rows == 8
    assert [check(graphs, rng, 8) for _ in range(3)] == ["3"] * 3  # after 1 and 2 samples
