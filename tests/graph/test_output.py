"""Writing model files: nothing is lost, and nothing is half written."""

import os
import stat

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from frn_onnx.errors import ModelError
from frn_onnx.graph import model_io, weight_files


def test_bad_paths(cnn, tmp_path):
    with pytest.raises(ModelError, match=r"the folder .*missing does not exist"):
        model_io.save(cnn, tmp_path / "missing" / "model.onnx")
    with pytest.raises(ModelError, match="this is a folder"):
        model_io.save(cnn, tmp_path)


def test_what_is_no_file_is_not_replaced(cnn, tmp_path):
    """As root /dev/null would become a file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(ModelError, match=r"pipe: expected the path of a file, this is a"):
            model_io.save(cnn, tmp_path / name)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(cnn, tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(ModelError, match="no permission to write"):
            model_io.save(cnn, tmp_path / "model.onnx")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_inputs_are_not_overwritten(cnn, external):
    folder = external.parent
    (folder / "link.onnx").symlink_to(external)
    for output in (external, folder / "." / "model.onnx", folder / "link.onnx"):
        with pytest.raises(ModelError, match=r"would overwrite the input .*model.onnx"):
            model_io.check_output(output, external)
    with pytest.raises(ModelError, match="would overwrite"):
        model_io.check_output(folder / "weights.bin", external)
    model_io.save(cnn, folder / "a", external_data=True)
    os.replace(folder / "a", folder / "b")
    with pytest.raises(ModelError, match="would overwrite"):
        model_io.check_output(folder / "a", folder / "b")
    model_io.check_output(folder / "new.onnx", external, cnn, folder / "b")


def test_nothing_is_written_into_an_input_that_is_a_folder(tmp_path):
    folder = tmp_path / "saved_model"
    (folder / "variables").mkdir(parents=True)
    (tmp_path / "elsewhere").touch()
    (folder / "saved_model.pb").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to(folder)
    outputs = ("saved_model.pb", "model.onnx", "variables/model.onnx")
    for output in (*(folder / name for name in outputs), tmp_path / "link" / "model.onnx"):
        with pytest.raises(ModelError, match=r"in the folder that is the input, .*saved_model"):
            model_io.check_output(output, str(folder))
    model_io.check_output(tmp_path / "saved_model.onnx", folder)


def test_a_failure_leaves_the_old_file(cnn, tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_io.Path, "write_bytes", full)
    with pytest.raises(ModelError, match="cannot be written: No space left on device"):
        model_io.save(cnn, path)
    monkeypatch.setattr(weight_files, "write", full)
    with pytest.raises(ModelError, match="No space left"):
        model_io.save(cnn, path, external_data=True)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_a_failure_between_the_files_leaves_both(cnn, tmp_path, monkeypatch):
    """Weights of the one and nodes of the other would be a valid file of neither."""
    path = tmp_path / "model.onnx"
    model_io.save(cnn, path, external_data=True)
    old = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert set(old) == {"model.onnx", "model.onnx.data"}
    for tensor in cnn.graph.initializer:
        more = numpy_helper.to_array(tensor) + 1
        tensor.CopyFrom(numpy_helper.from_array(more, tensor.name))
    for place, name in ((model_io.Path, "write_bytes"), (weight_files, "write")):
        with monkeypatch.context() as patch:

            def full(*_):
                raise OSError(28, "No space left on device")

            patch.setattr(place, name, full)
            with pytest.raises(ModelError, match="No space left"):
                model_io.save(cnn, path, external_data=True)
        assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == old


def test_a_disk_that_takes_all_but_the_last_bytes(tmp_path):
    """NumPy writes those when it closes its stream, and does not look whether it could."""
    resource = pytest.importorskip("resource")
    size = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (18_000, size[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            weight_files.write([ir.tensor(np.zeros(5_000, np.float32))], tmp_path / "weights")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, size)


def test_who_writes_the_same_file_at_once_writes_all_of_it(tmp_path):
    """Two threads, or two containers, in which processes have the same number."""
    path = tmp_path / "model.onnx"
    with model_io.replacing(path) as first:
        first.write_text("first")
        with model_io.replacing(path) as second:
            second.write_text("second")
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_too_large_without_its_weights(tmp_path, monkeypatch):
    constant = numpy_helper.from_array(np.zeros(2000, np.float32))
    node = helper.make_node("Constant", [], ["y"], value=constant)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2000])
    model = helper.make_model(helper.make_graph([node], "g", [], [y]))
    monkeypatch.setattr(model_io, "LIMIT_BYTES", 4000)
    with pytest.raises(ModelError, match=r"larger than 2 GiB.*Constant nodes"):
        model_io.save(model, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_permissions_are_those_of_any_new_file(cnn, tmp_path):
    model_io.save(cnn, tmp_path / "model.onnx")
    (tmp_path / "other").write_bytes(b"")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_permissions_of_a_file_that_is_replaced_stay(cnn, tmp_path):
    path = tmp_path / "model.onnx"
    path.touch()
    path.chmod(0o600)
    model_io.save(cnn, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    content = path.read_bytes()
    path.chmod(0o444)
    (tmp_path / "link").symlink_to(path)
    for name in ("model.onnx", "link"):
        with pytest.raises(ModelError, match=r"model.onnx: the file is read-only; choose another"):
            model_io.save(cnn, tmp_path / name)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o444
