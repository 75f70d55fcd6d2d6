"""How sessions start: fused, from a cache, and where files and folders are not as hoped."""

import logging
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from blocked_networks import IMAGE, cnn, run
from onnx import numpy_helper

import frn_onnx
from frn_onnx import op
from frn_onnx.errors import ModelError
from frn_onnx.graph import model_io, tensors
from frn_onnx.graph.lowering import lower
from frn_onnx.runtime import making
from frn_onnx.runtime.blocked import rewriting, trial
from frn_onnx.runtime.blocked.errors import TrialError
from frn_onnx.runtime.cache import Cache

CPU = ["CPUExecutionProvider"]


def test_a_cache_makes_the_second_start_without_the_optimiser(tmp_path, monkeypatch):
    model = cnn()
    folder = tmp_path / "cache"
    first = frn_onnx.InferenceSession(model, providers=CPU, cache=folder)
    assert first.blocked.blocked == 2

    def fail(*_):
        raise AssertionError("the optimiser ran again")

    monkeypatch.setattr(rewriting, "optimise", fail)
    monkeypatch.setenv("FRN_ONNX_CACHE", str(folder))
    second = frn_onnx.InferenceSession(model, providers=CPU)
    assert second.blocked == first.blocked
    np.testing.assert_array_equal(run(second, IMAGE)[0], run(first, IMAGE)[0])


def test_a_cached_model_that_another_process_removes_is_made_again(tmp_path, monkeypatch):
    model, folder = cnn(), tmp_path / "cache"
    first = frn_onnx.InferenceSession(model, providers=CPU, cache=folder)
    get = Cache.get

    def late(*args):
        found = get(*args)
        shutil.rmtree(found[1])
        return found

    monkeypatch.setattr(Cache, "get", late)
    second = frn_onnx.InferenceSession(model, providers=CPU, cache=folder)
    assert second.blocked == first.blocked
    np.testing.assert_array_equal(run(second, IMAGE)[0], run(first, IMAGE)[0])


def test_weights_are_not_looked_through_for_names(tmp_path):
    """A process that reads a mapped file ends where another one writes it anew."""
    path = tmp_path / "model.onnx"
    model = lower(cnn(), "primitives")
    weight = next(w for w in model.graph.initializer if len(w.dims) > 1)
    name = op.OP_TYPE.encode()
    weight.raw_data = name + bytes(len(numpy_helper.to_array(weight).tobytes()) - len(name))
    onnx.save(model, path)
    session = frn_onnx.InferenceSession(path, providers=CPU)
    assert session.blocked.reason == "it has no FRN nodes"


def test_what_a_start_imports(tmp_path):
    """Imports take longer than all else: nothing that only other work needs is among them."""
    path, folder = tmp_path / "model.onnx", tmp_path / "cache"
    onnx.save(cnn(), path)
    code = f"""
    import sys, frn_onnx
    from frn_onnx.runtime import cache
    cache._SETTLED_SECONDS = 0
    session = frn_onnx.InferenceSession({str(path)!r}, providers={CPU!r}, cache={str(folder)!r})
    assert session.blocked.blocked == 2, session.blocked
    print(*sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    for cached in (False, True):
        modules = set(subprocess.check_output(command, text=True).split())
        assert not {"frn_onnx.graph.fusion", "frn_onnx.graph.matcher"} & modules
        assert ("onnx_ir" in modules) is not cached


def test_fuse_when_it_is_opened(tmp_path, caplog):
    caplog.set_level(logging.INFO, "frn_onnx.runtime")
    path = tmp_path / "exported.onnx"
    onnx.save(lower(cnn(), "primitives"), path)
    before = path.read_bytes()
    session = frn_onnx.InferenceSession(path, providers=CPU, fuse=True)
    assert session.blocked.blocked == 2
    assert "in place of 8 nodes" in caplog.text
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    plain = ort.InferenceSession(before, providers=CPU)
    np.testing.assert_allclose(run(session, IMAGE)[0], run(plain, IMAGE)[0], rtol=1e-4, atol=1e-5)
    for arguments in ({"plugin": False}, {"blocked": False}):
        session = frn_onnx.InferenceSession(path, providers=CPU, fuse=True, **arguments)
        y = run(session, IMAGE)[0]
        np.testing.assert_allclose(y, run(plain, IMAGE)[0], rtol=1e-4, atol=1e-5)


def test_fuse_leaves_what_is_no_frn_and_says_so(tmp_path, caplog):
    caplog.set_level(logging.INFO, "frn_onnx.runtime")
    session = frn_onnx.InferenceSession(cnn(), providers=CPU, fuse=True, cache=tmp_path / "cache")
    assert session.blocked.blocked == 2  # which were FRN nodes already


def test_no_temporary_folder_is_no_error(monkeypatch):
    from frn_onnx.runtime import session as sessions

    def fail(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr(sessions.tempfile, "TemporaryDirectory", fail)
    for fuse in (False, True):
        session = frn_onnx.InferenceSession(cnn(), providers=CPU, fuse=fuse)
        assert "temporary folder" in session.blocked.reason
        run(session, IMAGE)


def test_a_full_temporary_folder_is_no_error(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise ModelError("no space left on device")

    monkeypatch.setattr(rewriting, "optimise", fail)
    monkeypatch.setattr(model_io, "save", fail)
    expected = run(frn_onnx.InferenceSession(cnn(), providers=CPU, blocked=False), IMAGE)[0]
    for cache in (None, tmp_path):
        session = frn_onnx.InferenceSession(cnn(), providers=CPU, fuse=True, cache=cache)
        assert "no space" in session.blocked.reason
        np.testing.assert_array_equal(run(session, IMAGE)[0], expected)


@pytest.mark.parametrize("fuse", [False, True])
def test_a_model_that_is_replaced_while_it_is_read(tmp_path, monkeypatch, fuse):
    """Weights that were left in the file are not those of the other one."""
    path, other, cache = tmp_path / "model.onnx", tmp_path / "other.onnx", tmp_path / "cache"
    before = lower(cnn(), "primitives" if fuse else "portable")
    after = onnx.ModelProto()
    after.CopyFrom(before)
    for tensor in after.graph.initializer:
        if len(tensor.dims) > 1:
            array = -numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.save(before, path)
    onnx.save(after, other)
    expected = [
        run(frn_onnx.InferenceSession(model, providers=CPU, blocked=False), IMAGE)[0]
        for model in (before, after)
    ]
    load = making._load

    def replaced(model):
        loaded = load(model)
        if other.exists():
            os.replace(other, path)
        return loaded

    monkeypatch.setattr(making, "_load", replaced)
    for y in (expected[1], expected[0]):
        session = frn_onnx.InferenceSession(path, providers=CPU, fuse=fuse, cache=cache)
        assert session.blocked.blocked == 2
        np.testing.assert_allclose(run(session, IMAGE)[0], y, rtol=1e-4, atol=1e-4)
        onnx.save(before, path)  # taken back: the cache has nothing of the other under its name


def test_weights_that_are_replaced_while_they_are_read(tmp_path, monkeypatch):
    """What was made of them is not kept under the name of those that were there before."""
    path, data = tmp_path / "model.onnx", tmp_path / "model.onnx.data"
    model_io.save(cnn(), path, external_data=True)
    before = data.read_bytes()
    expected = run(frn_onnx.InferenceSession(path, providers=CPU, blocked=False), IMAGE)[0]
    load = making._load

    def replaced(model):
        data.write_bytes((-np.frombuffer(before, np.float32)).tobytes())
        return load(model)

    monkeypatch.setattr(making, "_load", replaced)
    frn_onnx.InferenceSession(path, providers=CPU, cache=tmp_path / "cache")
    monkeypatch.setattr(making, "_load", load)
    data.write_bytes(before)
    session = frn_onnx.InferenceSession(path, providers=CPU, cache=tmp_path / "cache")
    np.testing.assert_allclose(run(session, IMAGE)[0], expected, rtol=1e-4, atol=1e-4)


def test_the_reason_is_of_this_session(tmp_path):
    """And not that of the one that wrote the entry."""
    session = frn_onnx.InferenceSession(cnn(), fuse=True, blocked=False, cache=tmp_path)
    assert "blocked=False" in session.blocked.reason
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = frn_onnx.InferenceSession(cnn(), options, CPU, fuse=True, cache=tmp_path)
    assert "less than all" in session.blocked.reason


def test_a_large_file_is_not_copied_for_few_weights(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    model = cnn()
    onnx.save(model, path, save_as_external_data=True, location="weights", size_threshold=0)
    monkeypatch.setattr(making, "_LARGEST_BYTES", (tmp_path / "weights").stat().st_size + 5000)
    assert frn_onnx.InferenceSession(path, providers=CPU).blocked.reason is None
    os.truncate(tmp_path / "weights", making._LARGEST_BYTES + 1)
    assert "larger than" in frn_onnx.InferenceSession(path, providers=CPU).blocked.reason


def test_links_to_a_model_and_its_weights(tmp_path, monkeypatch):
    """As in Hugging Face's cache: both are links to files of other names in one folder."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / "main"
    blobs.mkdir()
    folder.mkdir(parents=True)
    onnx.save(cnn(), blobs / "1", save_as_external_data=True, location="weights", size_threshold=0)
    os.rename(blobs / "weights", blobs / "2")
    onnx.save(lower(cnn(), "primitives"), blobs / "3")
    (folder / "model.onnx").symlink_to("../../blobs/1")
    (folder / "weights").symlink_to("../../blobs/2")
    (folder / "alone.onnx").symlink_to("../../blobs/3")
    expected = run(frn_onnx.InferenceSession(cnn(), providers=CPU), IMAGE)[0]
    monkeypatch.setattr(tensors, "SMALL_BYTES", 16)  # parameters, too, stay in the file
    for name, fuse in (("model.onnx", False), ("model.onnx", True), ("alone.onnx", True)):
        session = frn_onnx.InferenceSession(folder / name, providers=CPU, fuse=fuse)
        assert session.blocked.blocked == 2
        np.testing.assert_allclose(run(session, IMAGE)[0], expected, rtol=1e-5, atol=1e-6)


def test_the_cache_of_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("FRN_ONNX_CACHE", "~/cache")
    frn_onnx.InferenceSession(cnn(), providers=CPU)
    assert (tmp_path / "cache").is_dir()


def test_a_file_that_is_asked_for_holds_its_weights(tmp_path):
    options = ort.SessionOptions()
    frn_onnx.InferenceSession(cnn(), options, CPU)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    frn_onnx.InferenceSession(cnn(), options, CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["optimised.onnx"]


def test_a_missing_model_is_told_by_onnx_runtime(tmp_path):
    for cache in (None, tmp_path / "cache"):
        with pytest.raises(Exception, match=r"ONNXRuntimeError.*nothing.onnx"):
            frn_onnx.InferenceSession(tmp_path / "nothing.onnx", providers=CPU, cache=cache)


def test_a_failure_that_passes_is_not_kept(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(rewriting, "optimise", fail)
        session = frn_onnx.InferenceSession(cnn(), providers=CPU, cache=tmp_path)
        assert session.blocked.reason
    assert frn_onnx.InferenceSession(cnn(), providers=CPU, cache=tmp_path).blocked.reason is None


def test_a_failed_trial_that_passes_is_tried_again(monkeypatch):
    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    trial._tried.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(trial.tempfile, "TemporaryDirectory", fail)
        with pytest.raises(TrialError, match="No space left"):
            trial.block()
    trial.block()


def test_importing_the_class_imports_no_graph_tools():
    """They take longer than most sessions; only those that change their model need them."""
    code = """
    import sys
    import frn_onnx
    frn_onnx.InferenceSession
    print(sorted({"onnx_ir", "sympy", "frn_onnx.graph"} & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
