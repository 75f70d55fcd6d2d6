"""The folder of prepared models."""

import os
import shutil
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frn_onnx.errors import ModelError
from frn_onnx.runtime import cache as cache_module
from frn_onnx.runtime.cache import Cache


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "made" / "cache")


def put(cache, tmp_path, key, said, content):
    source = tmp_path / f"source {threading.get_ident()}"
    source.mkdir(exist_ok=True)
    (source / "model").write_bytes(content)
    cache.put(key, said, source)


def entries(tmp_path):
    return sorted((tmp_path / "made" / "cache").glob("*"))


def test_what_was_put_comes_back(cache, tmp_path):
    key = cache.key(b"model")
    assert cache.get(key) is None
    put(cache, tmp_path, key, {"blocked": 3, "reason": None}, b"a\nb\x00c")
    said, folder = cache.get(key)
    assert said == {"blocked": 3, "reason": None}
    assert (folder / "model").read_bytes() == b"a\nb\x00c"
    assert entries(tmp_path) == [folder]


def test_the_first_one_stays(cache, tmp_path):
    """Two processes made the same."""
    put(cache, tmp_path, "key", {"number": 1}, b"first")
    put(cache, tmp_path, "key", {"number": 2}, b"second")
    assert cache.get("key")[0] == {"number": 1}
    assert len(entries(tmp_path)) == 1


def test_keys_follow_the_content_and_the_choices(cache, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(_model(1), path)
    keys = [
        cache.key(b"model"),
        cache.key(b"Model"),
        cache.key(b"model", fuse=True),
        cache.key(b"model", fuse=False),
        cache.key(path),
    ]
    assert len(set(keys)) == len(keys)
    assert cache.key(str(path)) == keys[-1]
    onnx.save(_model(2), path)
    assert cache.key(path) != keys[-1]


def test_external_data_are_content(cache, tmp_path):
    path = tmp_path / "model.onnx"
    options = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}
    onnx.save(_model(1), path, **options)
    before = cache.key(path)
    weights = tmp_path / "weights"
    content = bytearray(weights.read_bytes())
    content[5] ^= 1
    weights.write_bytes(content)
    assert cache.key(path) != before


@pytest.fixture
def read(monkeypatch):
    """The files that were read."""
    names = []
    chunks = cache_module._chunks

    def noted(path):
        names.append(path.name)
        return chunks(path)

    monkeypatch.setattr(cache_module, "_chunks", noted)
    return names


def _saved(path):
    """A file with its weights in another one."""
    onnx.save(_model(1), path, save_as_external_data=True, location="weights", size_threshold=0)
    return path


def test_a_file_is_read_once(cache, tmp_path, read, monkeypatch):
    path = _saved(tmp_path / "model.onnx")
    monkeypatch.setattr(cache_module, "_SETTLED_SECONDS", 0)
    key = cache.key(path)
    assert read == ["model.onnx", "weights"]
    assert cache.key(path) == key
    assert cache.key(path, fuse=True) != key
    assert read == ["model.onnx", "weights"]
    elsewhere = tmp_path / "elsewhere.onnx"
    elsewhere.write_bytes(path.read_bytes())
    assert cache.key(elsewhere) == key


@pytest.mark.parametrize("name", ["model.onnx", "weights"])
def test_a_file_that_is_another_is_read_again(cache, tmp_path, read, monkeypatch, name):
    """Of the same size, and with the same time of its last change."""
    path = _saved(tmp_path / "model.onnx")
    monkeypatch.setattr(cache_module, "_SETTLED_SECONDS", 0)
    key = cache.key(path)
    file = tmp_path / name
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.key(path) != key
    file.unlink()
    with pytest.raises((OSError, ModelError)):
        cache.key(path)


def test_what_moves_between_files_is_another_content(cache, tmp_path):
    """Although all bytes, one after the other, are the same."""
    first, second = (numpy_helper.from_array(np.zeros(40, np.float32), name) for name in "ab")
    model = _model(1)
    model.graph.initializer.extend([first, second])
    for tensor in (first, second):
        location = f"{tensor.name}.data"
        stored = next(t for t in model.graph.initializer if t.name == tensor.name)
        stored.ClearField("raw_data")
        stored.data_location = TensorProto.EXTERNAL
        stored.external_data.add(key="location", value=location)
        stored.external_data.add(key="offset", value="0")
        stored.external_data.add(key="length", value="160")
    keys = set()
    for name, pieces in {"one": (b"12", b"3"), "other": (b"1", b"23")}.items():
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        for piece, file in zip(pieces, "ab", strict=True):
            (folder / f"{file}.data").write_bytes(b"".join(bytes([c]) * 160 for c in piece))
        keys.add(cache.key(folder / "model.onnx"))
    assert len(keys) == 2


def test_a_young_file_is_read_again(cache, tmp_path, read):
    """It may change within the time that its file system counts in."""
    path = _saved(tmp_path / "model.onnx")
    assert cache.key(path) == cache.key(path)
    assert read == 2 * ["model.onnx", "weights"]


def test_digests_are_few(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "_SETTLED_SECONDS", 0)
    monkeypatch.setattr(cache_module, "_MOST_DIGESTS", 5)
    for number in range(12):
        path = tmp_path / f"{number}.onnx"
        onnx.save(_model(number), path)
        assert cache.key(path) == cache.key(path)
    assert 0 < len(list((tmp_path / "made" / "cache" / "digests").iterdir())) <= 5


def test_an_entry_is_read_once(cache, tmp_path, read):
    put(cache, tmp_path, "key", {}, b"content")
    assert cache.get("key") is not None
    assert read == ["model"]  # for its checksum, when it was put
    (folder,) = entries(tmp_path)
    os.utime(folder / "model")
    assert cache.get("key") is not None
    assert read == ["model", "model"]


def test_keys_follow_the_runtime(cache, monkeypatch):
    import onnxruntime

    before = cache.key(b"model")
    monkeypatch.setattr(onnxruntime, "__version__", "1.99.0")
    assert cache.key(b"model") != before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs modes of files")
def test_an_entry_is_for_whoever_may_read_the_folder(cache, tmp_path):
    source = tmp_path / "temporary"
    source.mkdir(mode=0o700)
    cache.put("key", {}, source)
    (entry,) = entries(tmp_path)
    assert entry.stat().st_mode == entry.parent.stat().st_mode


def test_a_copied_entry_is_read_once(cache, tmp_path, read):
    put(cache, tmp_path, "key", {"blocked": 3}, b"content")
    shutil.copytree(tmp_path / "made", tmp_path / "copied")
    copied = Cache(tmp_path / "copied" / "cache")
    read.clear()
    for _ in range(2):
        assert copied.get("key")[0] == {"blocked": 3}
        assert read == ["model"]


def test_copied_to_where_several_processes_start(cache, tmp_path, monkeypatch):
    """One finds the entry while another notes in it that its checksums hold."""
    put(cache, tmp_path, "key", {"blocked": 3}, b"content")
    shutil.copytree(tmp_path / "made", tmp_path / "copied")
    copied, found, real = Cache(tmp_path / "copied" / "cache"), [], os.replace

    def replace(*names):
        monkeypatch.setattr(os, "replace", real)
        found.append(copied.get("key"))
        real(*names)

    monkeypatch.setattr(os, "replace", replace)
    found.append(copied.get("key"))
    assert [said for said, _ in found] == [{"blocked": 3}] * 2


def test_what_cannot_be_read_now_is_kept(cache, tmp_path, monkeypatch):
    put(cache, tmp_path, "key", {"blocked": 3}, b"content")

    def fail(_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(cache_module.Path, "read_bytes", fail)
        assert cache.get("key") is None
    assert cache.get("key")[0] == {"blocked": 3}


def test_an_entry_that_is_half_removed_is_replaced(cache, tmp_path):
    put(cache, tmp_path, "key", {"blocked": 3}, b"content")
    (tmp_path / "made" / "cache" / "key" / "frn_onnx.json").unlink()
    assert cache.get("key") is None
    put(cache, tmp_path, "key", {"blocked": 4}, b"content")
    assert cache.get("key")[0] == {"blocked": 4}


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone", "empty", "text", "list", "number"])
def test_a_damaged_entry_is_none_and_is_replaced(cache, tmp_path, caplog, damage):
    key = cache.key(b"model")
    put(cache, tmp_path, key, {"blocked": 3}, b"content")
    (folder,) = entries(tmp_path)
    said, model = folder / "frn_onnx.json", folder / "model"
    {
        "cut": lambda: model.write_bytes(b"conten"),
        "flipped": lambda: model.write_bytes(b"Content"),
        "gone": lambda: model.unlink(),
        "empty": lambda: said.write_bytes(b""),
        "text": lambda: said.write_text("no entry at all"),
        "list": lambda: said.write_text("[]"),
        "number": lambda: said.write_text('{"crc32": 5}'),
    }[damage]()
    assert cache.get(key) is None
    assert str(folder) in caplog.text
    put(cache, tmp_path, key, {"blocked": 4}, b"content")
    assert cache.get(key)[0] == {"blocked": 4}


def test_what_was_not_used_goes_first(tmp_path):
    folder = tmp_path / "made" / "cache"
    cache = Cache(folder, largest=3000)
    for age in range(3):
        put(cache, tmp_path, f"key{age}", {}, bytes(800))
        os.utime(folder / f"key{age}", (1000 + age, 1000 + age))
    assert cache.get("key0") is not None  # used now
    put(cache, tmp_path, "new", {}, bytes(800))
    assert [path.name for path in entries(tmp_path)] == ["key0", "key2", "new"]


def test_what_killed_processes_left_counts(tmp_path):
    folder = tmp_path / "made" / "cache"
    for number in range(5):
        left = folder / f".frn_onnx-{number}" / "key"
        left.mkdir(parents=True)
        (left / "model").write_bytes(bytes(100_000))
    put(Cache(folder, largest=250_000), tmp_path, "new", {}, bytes(800))
    assert len(entries(tmp_path)) == 3


def test_what_is_not_ours_stays(tmp_path):
    folder = tmp_path / "made" / "cache"
    (folder / "weights").mkdir(parents=True)
    (folder / "weights" / "model.onnx").write_bytes(bytes(5000))
    cache = Cache(folder, largest=1000)
    for number in range(3):
        put(cache, tmp_path, f"key{number}", {}, bytes(600))
    assert {path.name for path in entries(tmp_path)} == {"weights", "key2"}


def test_what_is_too_large_is_not_kept(tmp_path):
    cache = Cache(tmp_path / "made" / "cache", largest=100)
    put(cache, tmp_path, "key", {}, bytes(200))
    assert entries(tmp_path) == []


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    cache = Cache(tmp_path / "file" / "cache")
    put(cache, tmp_path, "key", {}, b"content")
    assert cache.get("key") is None
    assert "could not be cached" in caplog.text


@pytest.mark.parametrize(("module", "name"), [(os, "rename"), (shutil, "rmtree")])
def test_what_another_process_has_found_stays(cache, tmp_path, monkeypatch, module, name):
    """It is as fast as can be: between what this one looks at and what it does."""
    real, found = getattr(module, name), []

    def late(*args, **options):
        monkeypatch.setattr(module, name, real)
        put(cache, tmp_path, "key", {"of": "another"}, b"content")
        found.append(cache.get("key"))
        return real(*args, **options)

    monkeypatch.setattr(module, name, late)
    put(cache, tmp_path, "key", {"of": "this"}, b"content")
    found.append(cache.get("key"))  # it may be that nothing was removed
    assert found[0] is not None
    assert found[-1] == found[0]


def test_many_at_once(cache, tmp_path):
    together = threading.Barrier(8)

    def work(number):
        for turn in range(20):
            key = f"key{turn:02}"
            together.wait(60)
            put(cache, tmp_path, key, {"number": number}, bytes([number]) * 50_000)
            found = cache.get(key)
            if found is not None:
                said, folder = found
                seen.append((folder / "model").read_bytes() == bytes([said["number"]]) * 50_000)

    seen: list[bool] = []
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 160
    assert all(seen)
    names = [path.name for path in entries(tmp_path)]
    assert [name for name in names if not name.startswith(".")] == [f"key{i:02}" for i in range(20)]


def _model(seed: int) -> onnx.ModelProto:
    weight = np.random.default_rng(seed).normal(size=(4, 4)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4))],
        [numpy_helper.from_array(weight, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
