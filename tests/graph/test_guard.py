"""What stands between a comparison that fails and a file: the reason, and the ways out."""

import graph_models
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from frn_onnx.cli import main
from frn_onnx.errors import ArgumentError, DependencyError, ModelError, VerificationError
from frn_onnx.graph import fuse_file as module
from frn_onnx.graph import runners
from frn_onnx.graph.fuse_file import fuse_file

pytest.importorskip("onnxruntime")

# A label with a place in a table of its own: no random number is 1234.
PICKY = """
<ir_version: 8, opset_import: ["": 18]>
picky (float[N, 3, H, W] x, int64[N] label) => (float[N, 3, H, W] y) <float[3,1,1] gamma>
{
  base = Constant <value_int = 1234> ()
  place = Sub (label, base)
  table = Constant <value_floats = [0.5, 1.5]> ()
  row = Gather (table, place)
  axes = Constant <value_ints = [2, 3]> ()
  square = Mul (x, x)
  nu2 = ReduceMean (square, axes)
  epsilon = Constant <value_float = 0.1> ()
  shifted = Add (nu2, epsilon)
  root = Sqrt (shifted)
  normal = Div (x, root)
  scaled = Mul (normal, gamma)
  ones = Constant <value_ints = [1, 2, 3]> ()
  factor = Unsqueeze (row, ones)
  y = Mul (scaled, factor)
}
"""
INPUTS = {"x": np.ones((2, 3, 4, 5), np.float32), "label": np.array([1234, 1235])}


@pytest.fixture
def picky(rng, tmp_path):
    path = tmp_path / "picky.onnx"
    onnx.save(graph_models.parse(PICKY, rng), path)
    return path


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "fused.onnx"
    yield path
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(("fused", ".fused", "tmp"))]


def test_no_random_input_suits(picky, target):
    expected = (
        r"(?s)picky.onnx cannot be verified: no made-up input suits .*--inputs FILE.npz.*"
        r"Nothing was written.*compare=False \(--no-verify\): then nothing has shown that it"
    )
    with pytest.raises(VerificationError, match=expected):
        fuse_file(picky, target)


def test_inputs_that_suit(picky, tmp_path):
    given, fused = tmp_path / "inputs.npz", tmp_path / "out.onnx"
    np.savez(given, **INPUTS)
    assert fuse_file(picky, fused, inputs=INPUTS).report.samples == [
        {"x": (2, 3, 4, 5), "label": (2,)}
    ]
    fused.unlink()
    assert main(["fuse", str(picky), "-o", str(fused), "--inputs", str(given)]) == 0
    assert fused.exists()


def test_inputs_that_do_not_fit(picky, target, tmp_path, capsys):
    given = tmp_path / "inputs.npz"
    np.savez(given, x=INPUTS["x"], label=INPUTS["label"] + 0.5)
    assert main(["fuse", str(picky), "-o", str(target), "--inputs", str(given)]) == 1
    assert "'label' is int64, received an array of float64" in capsys.readouterr().err
    with pytest.raises(ArgumentError, match="each of the inputs x, label, received x"):
        fuse_file(picky, target, inputs={"x": INPUTS["x"]})
    with pytest.raises(VerificationError, match=r"(?s)does not run on.*--no-verify"):
        fuse_file(picky, target, inputs={**INPUTS, "label": np.array([0, 1])})


def test_inputs_are_read_before_any_work(picky, target, monkeypatch):
    monkeypatch.setattr(module, "fuse_loaded", None)
    with pytest.raises(ModelError, match=r"missing\.npz: not a readable"):
        fuse_file(picky, target, inputs="missing.npz")
    with pytest.raises(ArgumentError, match=r"--inputs .*compare=False \(--no-verify\) compares"):
        fuse_file(picky, target, inputs=INPUTS, compare=False)


def test_models_that_onnx_runtime_does_not_run(rng, target, tmp_path, monkeypatch):
    other = graph_models.parse(PICKY, rng)
    other.graph.node.append(helper.make_node("RoiAlign", ["y"], ["z"], domain="mmdeploy"))
    other.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    other.opset_import.append(helper.make_opsetid("mmdeploy", 1))
    text = graph_models.parse(PICKY, rng)
    for values in (text.graph.input, text.graph.output):
        values.append(helper.make_tensor_value_info("id", TensorProto.STRING, None))
        values[-1].name = values[-1].name if values is text.graph.input else "id_out"
    text.graph.node.append(helper.make_node("Identity", ["id"], ["id_out"]))
    for i, model in enumerate((other, text)):
        onnx.save(model, tmp_path / f"{i}.onnx")
        with pytest.raises(VerificationError, match=r"(?s)cannot be verified.*--no-verify"):
            fuse_file(tmp_path / f"{i}.onnx", target)
    without = tmp_path / "unproven.onnx"
    assert fuse_file(tmp_path / "0.onnx", without, compare=False).report is None


def test_no_runtime_to_compare_with(picky, target, monkeypatch):
    def missing(*args, **kwargs):
        raise runners.missing_dependency("onnxruntime", "cpu", "Running an ONNX model")

    monkeypatch.setattr(runners, "_session", missing)
    with pytest.raises(DependencyError, match=r"(?s)pip install .*compare=False \(--no-verify\)"):
        fuse_file(picky, target)


def test_noise_that_cannot_be_compared(rng, target, tmp_path, monkeypatch):
    text = PICKY.replace("place = Sub (label, base)", "place = Sub (label, label)")
    text = text.replace("y = Mul (scaled, factor)", "n = RandomNormalLike (x) y = Add (scaled, n)")
    source = tmp_path / "noisy.onnx"
    onnx.save(graph_models.parse(text, rng), source)
    assert fuse_file(source, tmp_path / "proven.onnx").report.ok
    monkeypatch.setattr("frn_onnx.graph.noise.seeds", lambda a, b: None)
    with pytest.raises(VerificationError, match=r"(?s)outputs cannot be compared with.*from run"):
        fuse_file(source, target)
