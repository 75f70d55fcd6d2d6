"""The commands: what they print, their exit codes, and that a failure leaves files alone."""

import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op, op_body
from frn_onnx.cli import main
from frn_onnx.runtime import library


@pytest.fixture
def model(tmp_path, rng):
    """The path of a portable file: Conv -> FRN, at unknown H and W."""
    types = {TensorProto.FLOAT}
    weights = {
        "W": rng.normal(size=(4, 3, 3, 3)),
        **{name: rng.normal(size=(4, 1, 1)) for name in op.INPUTS[1:4]},
    }
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["X", "W"], ["conv"], pads=[1, 1, 1, 1], name="conv"),
            op.node(["conv", *op.INPUTS[1:4]], "Y", axes=(2, 3), name="frn"),
        ],
        "conv_frn",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 3, "H", "W_"])],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", 4, "H", "W_"])],
        [numpy_helper.from_array(w.astype(np.float32), name) for name, w in weights.items()],
    )
    path = tmp_path / "model.onnx"
    onnx.save(
        helper.make_model(
            graph,
            functions=[
                op_body.function_proto(opset=18, inputs=4, x_types=types, param_types=types)
            ],
            opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(op.DOMAIN, 1)],
            ir_version=op.FUNCTION_IR_VERSION,
        ),
        path,
    )
    return str(path)


def ops(path):
    return [node.op_type for node in onnx.load(path).graph.node]


def test_importing_the_package_imports_no_framework():
    heavy = "{'tensorflow', 'keras', 'onnxruntime', 'tf2onnx', 'torch'}"
    code = f"import sys, frn_onnx, frn_onnx.cli; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_public_name_is_there():
    import frn_onnx

    for name in frn_onnx.__all__:
        assert getattr(frn_onnx, name) is not None, name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = frn_onnx.nonsense


@pytest.mark.parametrize("arguments", [["--help"], ["--version"]])
def test_help_and_version(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    assert "frn" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["lower", "a.onnx"]])
def test_what_it_does_not_understand_is_exit_2(arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2


def test_files_may_stand_behind_options(monkeypatch, tmp_path):
    from frn_onnx.serving import ray_config

    written = []
    monkeypatch.setattr(ray_config, "write", lambda path, models, *_, **__: written.extend(models))
    command = ["ray-config", "a.onnx", "--port", "1", "n=b.onnx", "-o", "app.yaml", "c.onnx"]
    assert main(command) == 0
    assert [str(options.model) for options in written] == ["a.onnx", "b.onnx", "c.onnx"]
    with pytest.raises(SystemExit, match="2"):
        main([*command, "--nope", "1"])


def test_lower_and_fuse_are_inverse(model, tmp_path, capsys):
    primitives, fused = str(tmp_path / "p.onnx"), str(tmp_path / "f.onnx")
    assert main(["lower", model, "-o", primitives, "--form", "primitives"]) == 0
    assert op.OP_TYPE not in ops(primitives)
    assert main(["fuse", primitives, "-o", fused]) == 0
    assert ops(fused) == ops(model)
    assert main(["verify", model, fused]) == 0
    assert "equal within tolerance" in capsys.readouterr().out


def test_verify_says_where_models_differ(model, tmp_path, capsys):
    changed = onnx.load(model)
    gamma = next(t for t in changed.graph.initializer if t.name == "gamma")
    gamma.CopyFrom(numpy_helper.from_array(1.5 * numpy_helper.to_array(gamma), "gamma"))
    other = str(tmp_path / "other.onnx")
    onnx.save(changed, other)
    assert main(["verify", model, other, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["ok"]
    assert report["outputs"][0]["name"] == "Y"


def test_bench_needs_the_unknown_sizes(model, capsys):
    assert main(["bench", model]) == 1
    assert "--shape X=1,224,224,3" in capsys.readouterr().err
    assert main(["bench", model, "--shape", "X=1,3,8,8", "--seconds", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["speedup"] > 0
    assert main(["bench", model, "--shape", "X=1,5,8,8"]) == 1
    assert "received (1, 5, 8, 8)" in capsys.readouterr().err
    shape = ["--shape", "X=1,3,8,8"]
    assert main(["bench", model, *shape, "--shape", "X=1,3,4,4"]) == 1
    assert "--shape was passed twice for one input" in capsys.readouterr().err
    assert main(["bench", model, *shape, "--seconds", "nan"]) == 1
    assert "seconds must be a number above 0, received nan" in capsys.readouterr().err
    assert main(["bench", model, *shape, "--threads=-3"]) == 1
    assert "threads must be at least 0, received -3" in capsys.readouterr().err


def test_doctor(capsys):
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_a_warning_is_one_line(tmp_path, capsys):
    weight = numpy_helper.from_array(np.array([1e6, -2], np.float32), "w")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, [2])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "m")
    files = [str(tmp_path / "m"), "-o", str(tmp_path / "half.onnx")]
    assert main(["convert", *files, "--to", "float16"]) == 0
    line = capsys.readouterr().err
    assert line.startswith("warning: convert: 'w' holds 1e+06, and 65504 is the largest")
    assert line.count("\n") == 1


def test_doctor_tries_no_provider_without_a_model(capsys):
    assert main(["doctor", "--provider", "CUDAExecutionProvider"]) == 1
    assert "frn-onnx doctor MODEL.onnx --provider CUDA" in capsys.readouterr().err


def test_doctor_prints_brackets(capsys, monkeypatch):
    """Those of an extra are no markup."""
    from frn_onnx.runtime import doctor

    advice = "pip install 'frn_onnx[gpu]' in place of onnxruntime"
    report = doctor.Report((doctor.Check("a[b]", False, advice),))
    monkeypatch.setattr(doctor, "examine", lambda *_: report)
    assert main(["doctor"]) == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert advice in printed
    assert "a[b]" in printed


def test_a_command_that_is_told_to_end_leaves_nothing(tmp_path):
    """SIGTERM in the middle of writing: the file there stays, and no other."""
    output = tmp_path / "out.onnx"
    output.write_bytes(b"before")
    code = f"""
import os, signal, sys
from pathlib import Path
import frn_onnx.cli
from frn_onnx.cli import lower
from frn_onnx.graph import model_io

def run(args):
    with model_io.replacing(Path({str(output)!r})) as temporary:
        temporary.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

lower.run = run
sys.exit(frn_onnx.cli.main(["lower", "x", "-o", "y", "--form", "primitives"]))
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60)
    assert done.returncode == 128 + signal.SIGTERM
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]
    assert output.read_bytes() == b"before"


def test_being_told_to_end_ends_a_run_that_would_go_on(tmp_path):
    model = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["": 17]>
        g (float[N,3] x) => (float[N,3] y) <int64 n = {1000000000000}, bool t = {1}>
        {
          y = Loop (n, t, x) <
            body = b (int64 i, bool c, float[N,3] a) => (bool d, float[N,3] e)
            { d = Identity (c) e = Neg (a) }>
        }""")
    path = str(tmp_path / "endless.onnx")
    onnx.save(model, path)
    code = f"""
import os, signal, sys, threading
import onnxruntime
import frn_onnx.cli

plain = onnxruntime.InferenceSession.run

def run(*args):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    return plain(*args)

onnxruntime.InferenceSession.run = run
sys.exit(frn_onnx.cli.main(["verify", {path!r}, {path!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], timeout=60, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, b"")


def test_doctor_shows_paths_whole(capsys, monkeypatch, tmp_path):
    damaged = tmp_path / f"{'a' * 70}.so"
    damaged.write_text("no library")
    monkeypatch.setattr(library, "_LIBRARY", damaged)
    monkeypatch.setenv("COLUMNS", "70")
    assert main(["doctor"]) == 1
    said = "".join(capsys.readouterr().out.split())
    assert f"couldnotloadthecustom-oplibrary{damaged}:" in said
    cure = "".join(library.REINSTALL.split())
    assert f"damagedorofanothersystem,{cure}" in said


@pytest.mark.parametrize("command", ["lower", "fuse"])
def test_a_failure_leaves_the_output_as_it_was(command, tmp_path, capsys):
    output, bad = tmp_path / "out.onnx", tmp_path / "bad.onnx"
    output.write_bytes(b"precious")
    bad.write_text("this is no model")
    arguments = [command, str(bad), "-o", str(output), "--form", "custom"]
    assert main(arguments) == 1
    assert "bad.onnx" in capsys.readouterr().err
    assert output.read_bytes() == b"precious"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.onnx", "out.onnx"]


@pytest.mark.parametrize("command", ["lower", "fuse"])
def test_the_input_is_never_overwritten(command, model, capsys):
    before = Path(model).read_bytes()
    assert main([command, model, "-o", model, "--form", "custom"]) == 1
    assert "would overwrite the input" in capsys.readouterr().err
    assert Path(model).read_bytes() == before


def test_traceback_is_there_for_who_asks(tmp_path):
    with pytest.raises(Exception, match="nowhere"):
        main(["--traceback", "lower", "nowhere.onnx", "-o", "x.onnx", "--form", "custom"])


def test_inspect_shows_what_is_in_the_file(model, tmp_path, capsys):
    picture = tmp_path / "frn.png"
    assert main(["inspect", model, "--plot", str(picture)]) == 0
    printed = capsys.readouterr().out
    assert "portable" in printed
    assert "NCHW" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["inspect", model, "--node", "frn"]) == 1
    assert "pass --plot FILE as well" in capsys.readouterr().err
    assert main(["inspect", model, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["frn"]) == 1


def test_convert_keeps_the_values(model, tmp_path):
    half = str(tmp_path / "half.onnx")
    assert main(["convert", model, "-o", half, "--to", "float16"]) == 0
    assert "FilterResponseNormalization" in ops(half)
    assert main(["verify", model, half]) == 0


def test_convert_for_a_gpu(model, tmp_path, capsys):
    half = str(tmp_path / "half.onnx")
    command = ["convert", model, "-o", half, "--to", "float16", "--for", "cuda"]
    assert main([*command, "--batch", "0"]) == 1
    assert "batch must be a whole number from 1 on, received 0" in capsys.readouterr().err
    assert main([*command, "--batch", "3", "--no-keep-io-types"]) == 0
    (image,) = onnx.load(half).graph.input
    assert image.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert image.type.tensor_type.shape.dim[0].dim_value == 3


def test_convert_says_what_does_not_take_bfloat16(model, tmp_path, capsys):
    half = tmp_path / "half.onnx"
    assert main(["convert", model, "-o", str(half), "--to", "bfloat16"]) == 1
    assert "does not take bfloat16 at opset 18" in capsys.readouterr().err
    assert not half.exists()


def test_fuse_proves_each_node_alone(model, tmp_path, capsys):
    primitives, fused = str(tmp_path / "p.onnx"), str(tmp_path / "f.onnx")
    assert main(["lower", model, "-o", primitives, "--form", "primitives"]) == 0
    capsys.readouterr()
    assert main(["fuse", primitives, "-o", fused, "--per-node", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [node["layout"] for node in printed["fused"]] == ["NCHW"]
    assert [proof["ok"] for proof in printed["per_node"]] == [True]
    assert printed["verified"]["ok"]
    assert printed["skipped"] == []


def test_fuse_that_changes_values_writes_nothing(model, tmp_path, capsys, monkeypatch):
    """A matcher with a bug: the proof must catch it, and name the node."""
    from frn_onnx.graph.rewrite import Rewriter

    primitives, fused = tmp_path / "p.onnx", tmp_path / "f.onnx"
    assert main(["lower", model, "-o", str(primitives), "--form", "primitives"]) == 0
    right = Rewriter._parameters

    def wrong(self, match, *rest):
        return right(self, dataclasses.replace(match, gamma=1.01 * match.gamma), *rest)

    monkeypatch.setattr(Rewriter, "_parameters", wrong)
    fused.write_bytes(b"precious")
    assert main(["fuse", str(primitives), "-o", str(fused)]) == 1
    error = capsys.readouterr().err
    assert "computes something else" in error
    assert "Furthest off: " in error
    assert fused.read_bytes() == b"precious"
