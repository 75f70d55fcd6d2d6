"""Loading a model: its signature, its device, and whether its samples may run together."""

import time

import numpy as np
import onnxruntime as ort
import pytest
from serving import example_models
from serving.example_models import load

from frn_onnx.errors import ArgumentError, DependencyError, ModelError, PluginError
from frn_onnx.serving import datatypes
from frn_onnx.serving import model as model_module
from frn_onnx.serving import service as service_module
from frn_onnx.serving.errors import RecordingError
from frn_onnx.serving.metrics import Metrics
from frn_onnx.serving.model import Model
from frn_onnx.serving.options import ModelOptions
from frn_onnx.serving.probe import probe
from frn_onnx.serving.service import ServedModel


def test_name_is_that_of_the_file_or_chosen(tmp_path):
    path = example_models.linear(tmp_path)
    assert load(path).signature.name == "linear"
    assert load(path, name="v2.0-a").signature.name == "v2.0-a"
    for name in ("", "a/b", "..", "a b", "-x", "ä", "x" * 129):
        with pytest.raises(ArgumentError, match=r"the name of a model must be.*--name"):
            load(path, name=name)


def test_bad_arguments(tmp_path):
    path = example_models.linear(tmp_path)
    with pytest.raises(ArgumentError, match="must be one of auto, cpu, cuda, received 'gpu'"):
        load(path, device="gpu")
    with pytest.raises(ArgumentError, match="at least 0, received -1"):
        load(path, threads=-1)
    with pytest.raises(ModelError, match="no model file at"):
        load(tmp_path / "nope.onnx")
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"ONNX Runtime cannot load.*broken\.onnx"):
        load(broken)
    for options in ({"max_batch": 0}, {"max_queue": 0}):
        with pytest.raises(ArgumentError, match="must be at least 1, received 0"):
            ModelOptions(path, **options)


def test_cuda_without_cuda_is_an_error_with_its_cure(tmp_path):
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    with pytest.raises(DependencyError, match=r"pip install 'frn_onnx\[gpu\]'"):
        load(example_models.linear(tmp_path), device="cuda")


@pytest.mark.cuda
def test_cuda(tmp_path):
    model = load(example_models.frn(tmp_path), device="cuda")
    assert model.provider == "CUDAExecutionProvider"


def test_only_tensors_can_be_served(tmp_path):
    with pytest.raises(ModelError, match=r"its output 'y' is a seq\(tensor\(float\)\)"):
        load(example_models.sequence_output(tmp_path))


def test_an_input_of_any_rank_is_no_scalar(tmp_path):
    """ONNX Runtime's Python API gives both the shape []."""
    with pytest.raises(ModelError, match=r"its input 'x' has no shape; export the model with one"):
        load(example_models.negated(tmp_path, has_rank=False))
    scalar = load(example_models.negated(tmp_path, has_rank=True))
    assert scalar.run({"x": np.array(2, np.float32)}, ["y"])["y"] == -2
    assert probe(scalar).shapes == {"x": ()}


def test_an_output_of_any_rank_is_no_scalar(tmp_path):
    """Its rank is that of the first answer; its samples may run together as those of others."""
    options = ModelOptions(example_models.output_of_any_rank(tmp_path))
    served = ServedModel(options, Metrics())
    served.close()
    (output,) = served.signature.metadata()["outputs"]
    assert output["shape"] == [-1, -1]
    assert served.max_batch == 32


def test_a_scalar_in_onnx_runtimes_own_format(tmp_path):
    path = tmp_path / "negated.ort"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(example_models.negated(tmp_path, has_rank=True), options)
    assert load(path).run({"x": np.array(2, np.float32)}, ["y"])["y"] == -2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_batch": 1.5}, r"max_batch must be an integer, received 1\.5"),
        ({"max_queue": True}, "max_queue must be an integer, received True"),
        ({"threads": "x"}, "threads must be an integer, received 'x'"),
        ({"gpu_mem_limit_mb": "1"}, "gpu_mem_limit_mb must be an integer, received '1'"),
        ({"max_wait": "1"}, "max_wait must be a number, received '1'"),
        ({"run_timeout": None}, "run_timeout must be a number, received None"),
        ({"max_wait": float("nan")}, "max_wait must be more than 0 seconds, received nan"),
        ({"threads": -1}, "threads must be at least 0, received -1"),
    ],
)
def test_options_of_another_type(options, text):
    with pytest.raises(ArgumentError, match=text):
        ModelOptions("model.onnx", **options)
    assert type(ModelOptions("model.onnx", max_wait=1, max_batch=np.int64(4)).max_batch) is int


@pytest.mark.parametrize(
    "name", ["linear", "images", "frn", "every_datatype", "two_inputs", "lookup", "texts"]
)
def test_models_that_stack(tmp_path, name):
    result = probe(load(getattr(example_models, name)(tmp_path)))
    assert result.stacks, result.reason


def test_models_that_do_not_stack(tmp_path):
    fixed = probe(load(example_models.linear(tmp_path, batch=2)))
    assert not fixed.stacks
    assert "fixed length" in fixed.reason
    mixing = probe(load(example_models.batch_mean(tmp_path)))
    assert not mixing.stacks
    assert "change each other's output 'y'" in mixing.reason


@pytest.mark.parametrize(
    ("name", "at_once"),
    [("looks_back", 32), ("centred_above_a_threshold", 2), ("raw_beside_centred", 2)],
)
def test_samples_that_touch_each_other_where_it_hardly_shows(tmp_path, name, at_once):
    """A row far off; only inputs as images have them; small numbers beside large ones."""
    result = probe(load(getattr(example_models, name)(tmp_path)))
    assert not result.stacks
    assert f"{at_once} samples at once change each other's output 'y'" in result.reason


def test_no_more_samples_run_at_once_than_were_tried(tmp_path):
    """The row that a model looks back to may lie outside of a smaller batch."""
    path = example_models.looks_back(tmp_path, rows=20)
    assert probe(load(path), most=20).rows == 20
    assert not probe(load(path), most=21).stacks
    served = ServedModel(ModelOptions(path, max_batch=20), Metrics())
    served.close()
    assert served.max_batch == 20
    assert served.batching == "up to 20 samples"
    assert probe(load(example_models.images(tmp_path)), 32, 7 * 3 * 32 * 32 * 4).rows == 7


def test_a_model_that_takes_long_is_tried_with_fewer_samples(tmp_path, monkeypatch):
    run = Model.run

    def slow(self, feeds, outputs):
        time.sleep(0.01 * len(feeds["x"]))
        return run(self, feeds, outputs)

    monkeypatch.setattr(Model, "run", slow)
    monkeypatch.setattr(service_module, "PATIENCE_SECONDS", 0.5)
    served = ServedModel(ModelOptions(example_models.linear(tmp_path)), Metrics())
    served.close()
    assert 2 <= served.max_batch < 20
    assert served.batching == f"up to {served.max_batch} samples, as many as were tried"


def test_a_constant_output_shows_nothing(tmp_path):
    result = probe(load(example_models.constant(tmp_path)))
    assert not result.stacks
    assert "random samples have one and the same output 'y', which shows nothing" in result.reason


def test_labels_are_not_taken_for_equal_by_chance(tmp_path):
    stacking = 0
    for seed in range(20):
        assert not probe(load(example_models.labels(tmp_path, seed, mixing=True))).stacks
        stacking += probe(load(example_models.labels(tmp_path, seed, mixing=False))).stacks
    assert stacking > 15  # else labels that vary little were drawn


def test_a_model_whose_samples_touch_each_other_is_served_one_request_at_a_time(tmp_path):
    served = ServedModel(ModelOptions(example_models.batch_mean(tmp_path)), Metrics())
    assert served.max_batch == 1
    assert "change each other's" in served.batching
    served.close()


def test_threads_reach_the_session(tmp_path):
    model = load(example_models.linear(tmp_path), threads=3)
    assert model._session.get_session_options().intra_op_num_threads == 3


def test_threads_do_not_spin_between_runs(tmp_path):
    options = load(example_models.linear(tmp_path))._session.get_session_options()
    assert options.get_session_config_entry("session.force_spinning_stop") == "1"


def test_bfloat16_beside_other_types(tmp_path):
    model = load(example_models.every_datatype(tmp_path))
    feeds = {
        name: np.ones((1, 2)).astype(datatypes.NUMPY[spec.datatype])
        for name, spec in model.signature.inputs.items()
    }
    feeds["in_BF16"] = np.array([[0x3F80, 0x7FC0]], np.uint16)
    outputs = model.run(feeds, list(model.signature.outputs))
    for name, array in feeds.items():
        np.testing.assert_array_equal(outputs[f"out_{name[3:]}"], array)


def test_bfloat16_beside_strings_is_an_error(tmp_path):
    with pytest.raises(ModelError, match="cast one of them inside the model"):
        load(example_models.texts(tmp_path, with_bfloat16=True))


def test_a_batch_that_is_too_large_is_told_at_the_start(tmp_path, monkeypatch):
    """A GPU with too little memory takes one sample, and not as many as --max-batch allows."""
    run = Model.run

    def small(self, feeds, outputs):
        if len(feeds["x"]) > 4:
            raise RuntimeError("Failed to allocate memory for requested buffer")
        return run(self, feeds, outputs)

    monkeypatch.setattr(Model, "run", small)
    path = example_models.linear(tmp_path)
    with pytest.raises(ModelError, match="fails on 8, which --max-batch allows"):
        ServedModel(ModelOptions(path, max_batch=8), Metrics())
    served = ServedModel(ModelOptions(path, max_batch=4), Metrics())
    assert served.batcher.pace.expect(4) > 0
    served.close()


def failing(monkeypatch, fails, error=RuntimeError):
    """Has every model fail on such samples."""
    run = Model.run

    def sometimes(self, feeds, outputs):
        if fails(feeds["x"]):
            raise error("no such samples")
        return run(self, feeds, outputs)

    monkeypatch.setattr(Model, "run", sometimes)


@pytest.mark.parametrize(
    ("fails", "reason"),
    [
        (lambda x: True, "it fails on a random sample, so nothing is known: no such samples"),
        (lambda x: len(x) > 1, "it fails on 2 samples at once: no such samples"),
        (lambda x: len(x) == 1 and seen(x), "it fails on a random sample: no such samples"),
    ],
)
def test_what_fails_on_random_samples_does_not_stack(tmp_path, monkeypatch, fails, reason):
    seen.calls = 0
    failing(monkeypatch, fails)
    result = probe(load(example_models.linear(tmp_path)))
    assert (result.stacks, result.reason) == (False, reason)
    assert bool(result.sample) == ("nothing" not in reason)


def seen(x):
    """Whether a sample was run before, by whoever looks for one that the model takes."""
    seen.calls += 1
    return seen.calls > 2


def test_an_answer_of_other_rows_is_no_answer_for_each(tmp_path, monkeypatch):
    run = Model.run

    def first_row(self, feeds, outputs):
        return {name: array[:1] for name, array in run(self, feeds, outputs).items()}

    monkeypatch.setattr(Model, "run", first_row)
    result = probe(load(example_models.linear(tmp_path)))
    assert result.reason == "2 samples at once change each other's output 'y'"


def test_lengths_are_tried_until_one_suits(tmp_path, monkeypatch):
    failing(monkeypatch, lambda x: x.shape[2] != 224)
    assert probe(load(example_models.images(tmp_path)), most=2).shapes == {"x": (1, 3, 224, 224)}


def test_values_that_do_not_suit_a_model_show_nothing(tmp_path, monkeypatch):
    failing(monkeypatch, lambda x: x.max() > 50)
    assert probe(load(example_models.linear(tmp_path))).stacks


@pytest.mark.parametrize("most", [2, 8])
@pytest.mark.parametrize("size", [1, 2])
def test_a_run_that_cannot_be_recorded_is_no_fault_of_a_sample(tmp_path, monkeypatch, most, size):
    failing(monkeypatch, lambda x: len(x) == size, RecordingError)
    with pytest.raises(RecordingError):
        probe(load(example_models.linear(tmp_path)), most=most)


def test_the_run_after_one_with_large_outputs_gives_their_memory_back(tmp_path, monkeypatch):
    shrinks = []

    def run_options(*, shrink=False):
        shrinks.append(shrink)
        return make(shrink=shrink)

    make = model_module._run_options
    model = load(example_models.widened(tmp_path))
    monkeypatch.setattr(model_module, "_run_options", run_options)
    for rows in (1, 30, 1, 1):  # of 2**17 floats each
        model.run({"x": np.ones((rows, 1), np.float32)}, ["y"])
    assert shrinks == [False, False, True, False]


def test_what_is_asked_of_a_gpu_reaches_the_provider(tmp_path, monkeypatch):
    from frn_onnx.runtime import session as sessions

    asked = []

    def session(path, options, providers, fuse):
        asked.append(providers)
        raise RuntimeError("no GPU")

    monkeypatch.setattr(sessions, "InferenceSession", session)
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    path = example_models.linear(tmp_path)
    with pytest.raises(ModelError, match=r"no GPU$"):
        load(path, device="cuda", gpu_mem_limit_mb=512)
    with pytest.raises(ModelError, match="no GPU; a CUDA graph asks for every node in CUDA"):
        load(path, device="cuda", cuda_graph=True)
    (limited, _), (recorded, _) = asked
    assert limited[0] == recorded[0] == "CUDAExecutionProvider"
    assert limited[1]["gpu_mem_limit"] == str(512 * 2**20)
    assert "enable_cuda_graph" not in limited[1]
    assert recorded[1]["enable_cuda_graph"] == "1"


def test_a_gpu_that_does_not_start_is_told(tmp_path, monkeypatch):
    from frn_onnx.runtime import session as sessions

    path = example_models.linear(tmp_path)
    on_cpu = sessions.InferenceSession(path, providers=["CPUExecutionProvider"])
    monkeypatch.setattr(sessions, "InferenceSession", lambda *_, **__: on_cpu)
    monkeypatch.setattr(sessions.ort, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    with pytest.raises(ModelError, match="could not start its CUDA provider and took the CPU"):
        load(path, device="cuda")


def test_a_plugin_that_is_missing_is_no_fault_of_the_file(tmp_path, monkeypatch):
    from frn_onnx.runtime import session as sessions

    def session(*_, **__):
        raise PluginError("the native library is missing")

    monkeypatch.setattr(sessions, "InferenceSession", session)
    with pytest.raises(PluginError, match=r"^the native library is missing$"):
        load(example_models.linear(tmp_path))
