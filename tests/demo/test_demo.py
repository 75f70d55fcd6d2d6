"""The demo does the main job; shortened here, whole in ``make demo``."""

import json

import onnx
import pytest

pytest.importorskip("keras")
pytest.importorskip("sklearn")

from frn_onnx import demo
from frn_onnx.cli import main


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    epochs = []
    folder = tmp_path_factory.mktemp("demo")
    result = demo.run(
        folder, epochs=4, progress=lambda epoch, accuracy: epochs.append((epoch, accuracy))
    )
    assert [epoch for epoch, _ in epochs] == [1, 2, 3, 4]
    return result


def test_the_network_learns(result):
    assert result.rows[0].name == "Keras"
    assert result.rows[0].accuracy > 0.9


def test_nothing_changes_but_the_speed(result):
    for row in result.rows[1:]:
        assert row.same_predictions
        assert row.accuracy == result.rows[0].accuracy
        # Probabilities of a network of about 20 operations in float32.
        assert row.max_error < 1e-5
        assert row.latency.median_ms > 0


def test_each_layer_is_one_node(result):
    rows = {row.name: row for row in result.rows}
    assert result.layers == 4
    assert rows["portable file, plugin"].nodes < rows["tf2onnx alone"].nodes / 3


def test_files_are_written(result):
    onnx.checker.check_model(str(result.onnx_path), full_check=True)
    assert result.keras_path.stat().st_size > 10_000
    assert result.picture_path.read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in result.onnx_path.parent.iterdir()} == {
        "digits.keras",
        "digits.onnx",
        "digits.png",
    }


def test_command_prints_json(tmp_path, capsys):
    assert main(["demo", "--folder", str(tmp_path / "new"), "--epochs", "1", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["layers"] == 4
    assert (tmp_path / "new" / "digits.onnx").is_file()


def test_command_prints_a_table(tmp_path, capsys):
    assert main(["demo", "--folder", str(tmp_path), "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    for heading in ("accuracy", "same classes", "max error", "nodes", "ms per batch"):
        assert heading in printed


def test_no_epochs(tmp_path, capsys):
    assert main(["demo", "--folder", str(tmp_path / "demo"), "--epochs", "0"]) == 1
    assert "epochs must be at least 1, received 0" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
