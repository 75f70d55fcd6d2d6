"""The repository for Triton: its files, its configuration, what is refused."""

import hashlib
import json
import os
import shutil
import time
from pathlib import Path

import environments
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from serving import example_models

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.runtime.library import get_library_path
from frn_onnx.serving import pbtxt, triton
from frn_onnx.serving.model import Model
from frn_onnx.serving.signature import Signature, TensorSpec
from frn_onnx.serving.triton import write_repository
from frn_onnx.serving.triton_config import client_config

PARSE = environments.ROOT / "tests" / "serving" / "scripts" / "parse_config.py"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_complete_entry(tmp_path):
    source = example_models.frn(tmp_path)
    entry = write_repository(source, tmp_path / "repo")
    assert entry.folder == tmp_path / "repo" / "frn"
    assert entry.files == ("libfrn_onnx_ops.so", "1/model.onnx", "config.pbtxt")
    found = {p.relative_to(entry.folder).as_posix() for p in entry.folder.rglob("*") if p.is_file()}
    assert found == set(entry.files)
    assert digest(entry.folder / "1" / "model.onnx") == digest(source)
    library = entry.folder / "libfrn_onnx_ops.so"
    assert digest(library) == digest(Path(get_library_path()))
    text = (entry.folder / "config.pbtxt").read_text()
    assert 'op_library_filename: ["/models/frn/libfrn_onnx_ops.so"]' in text
    assert entry.command.startswith("docker run --rm --gpus all -p 8000:8000")
    assert f"-v {tmp_path}/repo:/models:ro" in entry.command


def test_written_again_replaces_it(tmp_path):
    source = example_models.frn(tmp_path)
    write_repository(source, tmp_path / "repo", max_batch=4)
    entry = write_repository(source, tmp_path / "repo", max_batch=8)
    assert "max_batch_size: 8" in (entry.folder / "config.pbtxt").read_text()
    assert not list(entry.folder.rglob(".*"))


def test_two_that_write_an_entry_at_once(tmp_path, monkeypatch):
    """The second one writes its files while the first one copies the library."""
    source, copy = example_models.frn(tmp_path), shutil.copyfile

    def slow(file, part):
        copy(file, part)
        if file == Path(get_library_path()):
            monkeypatch.setattr(shutil, "copyfile", copy)
            write_repository(source, tmp_path / "repo", max_batch=4)

    monkeypatch.setattr(shutil, "copyfile", slow)
    entry = write_repository(source, tmp_path / "repo", max_batch=8)
    assert "max_batch_size: 8" in (entry.folder / "config.pbtxt").read_text()
    assert not list(entry.folder.rglob(".*"))


def test_without_frn_there_is_no_library(tmp_path):
    entry = write_repository(example_models.linear(tmp_path), tmp_path / "repo")
    assert entry.files == ("1/model.onnx", "config.pbtxt")
    assert "model_operations" not in (entry.folder / "config.pbtxt").read_text()


def test_cpu_needs_no_gpu(tmp_path):
    entry = write_repository(
        example_models.frn(tmp_path), tmp_path / "repo", instance_kind="cpu", count=3
    )
    text = (entry.folder / "config.pbtxt").read_text()
    assert "kind: KIND_CPU\n  count: 3" in text
    assert "--gpus" not in entry.command
    assert entry.notes == ()


def test_a_library_without_cuda_is_said(tmp_path, monkeypatch):
    from frn_onnx.serving import triton

    path = example_models.frn(tmp_path)
    monkeypatch.setattr(triton, "build_info", lambda: {"cuda": None})
    (note,) = write_repository(path, tmp_path / "repo").notes
    assert "built without CUDA: FRN will run as standard ops on the GPU" in note
    monkeypatch.setattr(triton, "build_info", lambda: {"cuda": "12.9"})
    assert write_repository(path, tmp_path / "repo").notes == ()


def test_external_data_comes_along(tmp_path):
    weights = np.arange(4096, dtype=np.float32).reshape(4, 1024)
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "large",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1024])],
            [numpy_helper.from_array(weights, "w")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    source = tmp_path / "large.onnx"
    onnx.save(model, source, save_as_external_data=True, location="large.weights")
    entry = write_repository(source, tmp_path / "repo")
    assert "1/large.weights" in entry.files
    import onnxruntime

    session = onnxruntime.InferenceSession(str(entry.folder / "1" / "model.onnx"))
    x = np.eye(4, dtype=np.float32)
    np.testing.assert_array_equal(session.run(None, {"x": x})[0], weights)


def test_samples_that_touch_each_other_are_not_batched(tmp_path):
    path = example_models.batch_mean(tmp_path)
    entry = write_repository(path, tmp_path / "repo")
    assert "max_batch_size: 0" in (entry.folder / "config.pbtxt").read_text()
    assert "Triton will not put requests together: 2 samples" in entry.notes[-1]
    with pytest.raises(ArgumentError, match="max_batch is 8, and the model's samples cannot"):
        write_repository(path, tmp_path / "repo", max_batch=8)


def test_as_many_samples_are_tried_as_are_asked_for(tmp_path):
    path = example_models.looks_back(tmp_path, rows=40)
    with pytest.raises(ArgumentError, match=r"max_batch is 64, and .*64 samples at once change"):
        write_repository(path, tmp_path / "repo", max_batch=64)


def test_a_model_that_takes_long_gets_no_more_than_was_tried_or_asked_for(tmp_path, monkeypatch):
    run, sizes = Model.run, []

    def slow(self, feeds, outputs):
        sizes.append(len(feeds["x"]))
        time.sleep(0.01)
        return run(self, feeds, outputs)

    monkeypatch.setattr(Model, "run", slow)
    monkeypatch.setattr(triton, "PATIENCE_SECONDS", 0.3)
    path = example_models.linear(tmp_path)
    entry = write_repository(path, tmp_path / "repo")
    tried = max(sizes)
    assert 2 <= tried < 20
    assert f"max_batch_size: {tried}\n" in (entry.folder / "config.pbtxt").read_text()
    assert (
        f"at most {tried} samples together, as many as were tried here in 0.3 s"
        in (entry.notes[-1])
    )
    entry = write_repository(path, tmp_path / "repo", max_batch=np.int64(40))
    assert max(sizes) == 40
    assert "max_batch_size: 40\n" in (entry.folder / "config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"library_path": "lib.so"}, "must be absolute.*received 'lib.so'"),
        ({"instance_kind": "tpu"}, "one of gpu, cpu, received 'tpu'"),
        ({"count": 1.5}, "count must be an integer, received 1.5"),
        ({"count": 0}, "count must be at least 1, received 0"),
        ({"max_batch": -1}, "max_batch must be at least 0, received -1"),
        ({"name": "a/b"}, "the name of a model must be"),
    ],
)
def test_bad_arguments(tmp_path, arguments, expected):
    with pytest.raises(ArgumentError, match=expected):
        write_repository(example_models.linear(tmp_path), tmp_path / "repo", **arguments)
    assert not (tmp_path / "repo").exists()


def test_bad_model_writes_nothing(tmp_path):
    with pytest.raises(ModelError):
        write_repository(example_models.sequence_output(tmp_path), tmp_path / "repo")
    assert not (tmp_path / "repo").exists()


def test_a_sample_to_warm_up_with(tmp_path, monkeypatch):
    """Of one sample and of the largest batch; random only where any value is valid."""
    linear = write_repository(
        example_models.linear(tmp_path), tmp_path / "repo", max_batch=4, warmup=True
    )
    text = (linear.folder / "config.pbtxt").read_text()
    assert text.count("random_data: true") == 2
    assert 'name: "batch_1"' in text
    assert 'name: "batch_4"\n  batch_size: 4' in text
    mean = write_repository(example_models.batch_mean(tmp_path), tmp_path / "repo", warmup=True)
    assert 'name: "sample"\n  batch_size: 0' in (mean.folder / "config.pbtxt").read_text()
    lookup = write_repository(example_models.lookup(tmp_path), tmp_path / "repo", warmup=True)
    assert "zero_data: true" in (lookup.folder / "config.pbtxt").read_text()

    def run(self, feeds, outputs):
        raise RuntimeError("no such samples")

    monkeypatch.setattr(Model, "run", run)
    with pytest.raises(ModelError, match="no sample to warm the model up with: it fails on a rand"):
        write_repository(tmp_path / "linear.onnx", tmp_path / "repo", warmup=True)


def test_weights_outside_of_the_folder_are_refused(tmp_path, monkeypatch):
    source = example_models.linear(tmp_path)
    monkeypatch.setattr(triton, "external_files", lambda _: [source.parent / ".." / "weights"])
    with pytest.raises(ModelError, match="must be in the model's folder"):
        write_repository(source, tmp_path / "repo")


def test_text_format_escapes():
    text = pbtxt.render({"name": 'a"b\\ä\n', "flag": True, "empty": {}, "dims": []})
    assert text == 'name: "a\\"b\\\\ä\\n"\nflag: true\nempty {\n}\ndims: []\n'


@pytest.mark.clients
def test_configurations_are_tritons_own_message(tmp_path):
    """Every option in Triton's ModelConfig: an unknown field or value would be refused."""
    repo = tmp_path / "repo"
    written = [
        write_repository(
            example_models.frn(tmp_path),
            repo,
            library_path="/opt/ops.so",
            max_batch=16,
            count=2,
            warmup=True,
        ),
        write_repository(example_models.lookup(tmp_path), repo, instance_kind="cpu", warmup=True),
        write_repository(example_models.every_datatype(tmp_path), repo, warmup=True),
        write_repository(example_models.batch_mean(tmp_path), repo, warmup=True),
        write_repository(example_models.texts(tmp_path), repo, max_batch=0),
    ]
    output = environments.run("clients", PARSE, *[e.folder / "config.pbtxt" for e in written])
    frn, lookup, every, mean, texts = map(json.loads, output.splitlines())
    assert frn == {
        "name": "frn",
        "backend": "onnxruntime",
        "max_batch_size": 16,
        "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": ["3", "5", "7"]}],
        "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": ["3", "5", "7"]}],
        "instance_group": [{"kind": "KIND_GPU", "count": 2}],
        "dynamic_batching": {},
        "model_operations": {"op_library_filename": ["/opt/ops.so"]},
        "model_warmup": [
            {
                "name": f"batch_{size}",
                "batch_size": size,
                "inputs": {
                    "X": {"data_type": "TYPE_FP32", "dims": ["3", "5", "7"], "random_data": True}
                },
            }
            for size in (1, 16)
        ],
    }
    assert lookup["input"] == [
        {"name": "index", "data_type": "TYPE_INT64", "dims": ["1"], "reshape": {}}
    ]
    assert lookup["model_warmup"][0]["inputs"]["index"]["zero_data"] is True
    assert {i["data_type"] for i in every["input"]} == {
        f"TYPE_{name}" for name in example_models.DATATYPES
    }
    assert "max_batch_size" not in mean
    assert mean["input"][0]["dims"] == ["-1", "4"]
    assert "dynamic_batching" not in mean
    assert mean["model_warmup"][0]["inputs"]["x"]["dims"] == ["1", "4"]
    assert texts["input"][0] == {
        "name": "in_text",
        "data_type": "TYPE_STRING",
        "dims": ["-1", "2"],
    }


@pytest.mark.clients
def test_the_check_can_fail(tmp_path):
    bad = tmp_path / "config.pbtxt"
    bad.write_text('name: "x"\nmax_batchsize: 3\n')
    with pytest.raises(AssertionError, match="max_batchsize"):
        environments.run("clients", PARSE, os.fspath(bad))


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((-1, 3, 224, 224), "FORMAT_NCHW"),
        ((-1, 1, -1, -1), "FORMAT_NCHW"),
        ((-1, 224, 224, 3), "FORMAT_NHWC"),
        ((-1, -1, -1, 4), "FORMAT_NHWC"),
        ((-1, 3, 224, 3), "FORMAT_NONE"),
        ((-1, 16, 32, 64), "FORMAT_NONE"),
        ((-1, 3), "FORMAT_NONE"),
    ],
)
def test_clients_hear_where_the_channels_are(shape, expected):
    spec = TensorSpec("x", "FP32", shape)
    config = client_config(Signature("m", "1", {"x": spec}, {"x": spec}), 8, "gpu")
    assert config["input"][0]["format"] == expected
    assert config["instance_group"][0]["kind"] == "KIND_GPU"
