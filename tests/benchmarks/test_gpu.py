"""benchmarks/gpu on a CPU: every stage at toy sizes, and what becomes of stages that fail."""

import importlib
import json
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

GPU = Path(__file__).parents[2] / "benchmarks" / "gpu"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the emulator needs ucontext")


@pytest.fixture
def modules(monkeypatch):
    """benchmarks/gpu's own modules, importable."""
    monkeypatch.syspath_prepend(str(GPU))


@pytest.fixture
def report(modules):
    return importlib.import_module("report")


@pytest.fixture(scope="module")
def dry_run(tmp_path_factory):
    """The files of a dry run, by stage, and what it printed."""
    out = tmp_path_factory.mktemp("gpu")
    command = [sys.executable, GPU / "run.py", "--dry-run", "--out", out]
    result = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr[-4000:]}"
    return {path.stem: json.loads(path.read_text()) for path in out.glob("*.json")}, result.stdout


def test_every_stage_runs(dry_run):
    stages, printed = dry_run
    assert set(stages) == {
        *("environment", "correctness", "sanitizer", "tests", "wheel", "bandwidth", "sweep"),
        "profiler",
        *("operators", "exported", "unet", "resnet50", "peers"),
    }
    skipped = {name for name, stage in stages.items() if stage["status"] == "skipped"}
    assert skipped <= {"sanitizer", "wheel", "profiler", "exported", "unet", "peers"}, stages
    assert all(stages[name]["status"] == "ok" for name in set(stages) - skipped)
    assert stages["tests"]["result"]["tests"] > 300
    assert "## Targets" in printed


def test_correctness_covers_every_kernel_and_variant(dry_run):
    result = dry_run[0]["correctness"]["result"]
    assert result["failures"] == []
    assert result["complete"]
    kernels = ("planned", "nchw_tile", "nchw_plane", "nhwc", "nhwc_scalar", "strided")
    assert set(result["kernels"]) == {*kernels, *(f"{name}, residual" for name in kernels)}


def test_measurements_are_there(dry_run):
    stages = dry_run[0]
    assert stages["environment"]["result"]["copy"]["kernel_gbps"]["median"] > 0
    for stage in ("bandwidth", "sweep", "operators"):
        assert {row["residual"] for row in stages[stage]["result"]["rows"]} == {False, True}
    for row in stages["bandwidth"]["result"]["rows"]:
        assert row["ms"]["median"] > 0
        assert row["of_copy"] > 0
    for row in stages["sweep"]["result"]["rows"]:
        assert row["plans"]
        assert not row["refused"]
        assert row["regret"] >= 1
    settings = {
        (row["dtype"], row["prefer_nhwc"], row["cuda_graph"])
        for row in stages["resnet50"]["result"]["rows"]
    }
    assert len(settings) == 8
    for row in stages["resnet50"]["result"]["rows"]:
        assert row["operators"]["plugin"]["ResidualFilterResponseNormalization"] == 16


def test_constants_are_found_again(modules, tmp_path):
    """Sweeps of a device whose constants are others than the planner's."""
    fit, context = (importlib.import_module(name) for name in ("fit", "context"))
    planner = fit.Planner(tmp_path)
    h200 = [132, 2048, 32, 233472, 232448, 62914560, 4814, 16]
    true = {**planner.constants}
    true |= {"kStart": 1.7, "kMemoryShare": 0.9, "kClusterStart": 6.0}
    planner.set(true)
    problems = [
        *(context.Problem(batch, 256, 56, "NHWC", "float16") for batch in (1, 4)),
        context.Problem(1, 512, 28, "NHWC", "float32", residual=True),
        context.Problem(1, 512, 28, "NCHW", "float32"),
    ]
    tensors = [fit.Tensor(p, h200, planner.estimates(p, h200)) for p in problems]
    planner.set(planner.constants)
    regret, distance = fit.judge(planner, tensors)
    planner.set(fit.fit(planner, tensors))
    better, closer = fit.judge(planner, tensors)
    assert regret > 0.1
    assert better < 0.2 * regret
    assert closer < 0.3 * distance


@pytest.mark.usefixtures("modules")
def test_the_published_prediction_is_that_of_the_measurements():
    predict = importlib.import_module("predict")
    norms = predict.norms()
    assert [sum(kind == k for k, *_ in norms) for kind in ("relu", "addition", "nothing")] == [
        *(33, 16, 4)
    ]
    folders = [GPU.parent / "results" / "gpu" / gpu for gpu in ("h200", "h100")]
    assert predict.predict(folders) in (GPU / "README.md").read_text()


def test_a_sweep_is_read_for_a_fit(modules, dry_run, tmp_path):
    """All that was measured is what today's planner would choose from."""
    fit = importlib.import_module("fit")
    stages, _ = dry_run
    for name in ("environment", "sweep"):
        (tmp_path / f"{name}.json").write_text(json.dumps(stages[name]))
    planner = fit.Planner(tmp_path)
    tensors = fit.read(tmp_path, planner.kernels())
    assert [tensor.problem.residual for tensor in tensors] == [
        row["residual"] for row in stages["sweep"]["result"]["rows"]
    ]
    for tensor in tensors:
        assert tensor.measured
        assert set(tensor.measured) <= set(planner.estimates(tensor.problem, tensor.device))


def test_a_dead_stage_gets_its_file_and_the_next_one_runs(tmp_path):
    """Without a compiler no harness can be built: the stage fails, says why, and that is all."""
    command = [sys.executable, GPU / "run.py", "--dry-run", "--out", tmp_path / "out"]
    command += ["--build", tmp_path / "build", "--stages", "bandwidth", "sanitizer"]
    result = subprocess.run(
        command, capture_output=True, text=True, env={"CXX": "no-such-compiler", "PATH": ""}
    )
    assert result.returncode == 1
    assert "failed: bandwidth" in result.stderr
    failed = json.loads((tmp_path / "out" / "bandwidth.json").read_text())
    assert failed["status"] == "failed"
    assert "no-such-compiler was not found" in failed["reason"]
    assert json.loads((tmp_path / "out" / "sanitizer.json").read_text())["status"] == "skipped"


def test_verdicts(report):
    bandwidth = [{"megabytes": 30, "of_copy": 0.95}, {"megabytes": 1, "of_copy": 0.1}]
    operators = [{"batch": 8, "speedup": 6.0}, {"batch": 1, "speedup": 2.0}]
    times = {"plugin": {"median": 1.2}, "relu": {"median": 1.0}}
    network = [{"dtype": "float16", "batch": 64, "ms": times}]
    stages = {
        name: {"result": {"rows": rows}}
        for name, rows in (
            ("bandwidth", bandwidth),
            ("operators", operators),
            ("resnet50", network),
        )
    }
    stages["unet"] = {"result": {"over_relu": 1.05, "of_original": 0.3}}
    verdicts = [verdict for _, verdict in report.verdicts(stages)]
    assert verdicts == ["met", "met", "missed: 1.20", "met: 1.05", "missed: 0.30"]
    bandwidth[0]["of_copy"] = 0.89
    assert report.verdicts(stages)[0][1] == "missed: 1 of 1 shapes are under it"
    assert {verdict for _, verdict in report.verdicts({})} == {"not measured"}


@pytest.mark.parametrize("gpu", ["h100", "h200"])
def test_published_tables_are_those_of_the_measurements(report, gpu):
    folder = GPU.parent / "results" / "gpu" / gpu
    assert (folder / "README.md").read_text() == report.page(folder)


def test_a_stage_that_lacks_its_tool_fails(tmp_path):
    """Only a dry run may leave out what needs a GPU."""
    command = [sys.executable, GPU / "run.py", "--out", tmp_path, "--stages", "exported"]
    env = {**os.environ, "FRN_GPU_WORK": ""}
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    assert result.returncode == 1
    assert "failed: exported" in result.stderr


def test_a_dry_run_is_not_taken_for_a_measurement(tmp_path):
    """Stages that are there already are not run again; a dry run's do not count."""
    done = {"stage": "bandwidth", "status": "ok", "dry_run": True, "seconds": 1.0, "result": {}}
    for call, expected in (("--dry-run", "done before"), ("--call=B", "bandwidth: failed")):
        for name in ("bandwidth", "sweep", "profiler"):
            (tmp_path / f"{name}.json").write_text(json.dumps(done))
        command = [sys.executable, GPU / "run.py", "--out", tmp_path, "--call=B", call]
        command += ["--build", tmp_path / "build"]
        env = {"PATH": "", "CUDACXX": "no-such-compiler"}
        result = subprocess.run(command, capture_output=True, text=True, env=env)
        assert expected in result.stdout


def test_a_trimmed_library_keeps_one_architecture(tmp_path, modules):
    trim = importlib.import_module("trim")
    codes = {75: b"old" * 8, 90: b"new" * 8}
    library = fat_library([codes, {90: b"special!"}])
    trimmed = trim.trim(library, 90)
    assert len(trimmed) == len(library)
    assert codes[90] in trimmed
    assert codes[75] not in trimmed
    assert b"special" not in trimmed
    with pytest.raises(ValueError, match="no device code for sm_80"):
        trim.trim(library, 80)


def test_a_kit_takes_no_old_wheel(tmp_path, modules, monkeypatch, capsys):
    kit = importlib.import_module("kit")
    dist, taken = tmp_path / "dist", tmp_path / "taken"
    dist.mkdir()
    monkeypatch.setattr(kit, "ROOT", tmp_path)
    monkeypatch.setattr(kit, "_changed", lambda: 1000)
    for name in ("0.1.0", "0.1.0+cu13"):
        (dist / f"frn_onnx-{name}-cp312-cp312-manylinux_2_28_x86_64.whl").touch()
    cuda = dist / "frn_onnx-0.1.0+cu13-cp312-cp312-manylinux_2_28_x86_64.whl"
    kit.add_wheel("3.13", taken)
    assert "no wheel with CUDA for Python 3.13" in capsys.readouterr().out
    os.utime(cuda, (999, 999))
    kit.add_wheel("3.12", taken)
    assert "no wheel of this commit with CUDA" in capsys.readouterr().out
    assert not taken.exists()
    os.utime(cuda, (1000, 1000))
    kit.add_wheel("3.12", taken)
    assert [path.name for path in taken.iterdir()] == [cuda.name]


def fat_library(containers: list[dict[int, bytes]]) -> bytes:
    """An ELF file with a section of fat binaries, laid out as nvcc lays them out."""
    body = b""
    for codes in containers:
        entries = b""
        for architecture, code in codes.items():
            header = struct.pack("<HHIQ", 2, 257, 64, len(code)) + bytes(12)
            entries += (header + struct.pack("<I", architecture)).ljust(64, b"\0") + code
        body += struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(entries)) + entries
        body = body.ljust(-(-len(body) // 8) * 8, b"\0")
    names = b"\0.nv_fatbin\0.shstrtab\0"
    start = 64 + len(body)
    table = start + len(names)
    elf = bytearray(64)
    struct.pack_into("<Q", elf, 0x28, table)
    struct.pack_into("<HH", elf, 0x3C, 3, 2)
    sections = [(0, 0, 0), (1, 64, len(body)), (12, start, len(names))]
    headers = b"".join(
        struct.pack("<IIQQQQ", n, 1, 0, 0, at, size).ljust(64, b"\0") for n, at, size in sections
    )
    return bytes(elf) + body + names + headers


@pytest.mark.usefixtures("modules")
def test_weights_left_out_come_back_the_same_for_each_name():
    weights = importlib.import_module("weights")
    rng = np.random.default_rng(0)
    values = {name: rng.normal(0, 0.1, (64, 128)).astype(np.float16) for name in ("a", "b")}
    made = [numpy_helper.from_array(v, name) for name, v in values.items()]
    small = numpy_helper.from_array(np.arange(4, dtype=np.float32), "gamma")
    graph = helper.make_graph([], "weights", [], [], [*made, small])
    model = helper.make_model(graph)
    weights.leave_out(model)
    assert model.ByteSize() < 2000
    weights.draw_again(model)
    a, b, gamma = map(numpy_helper.to_array, model.graph.initializer)
    assert a.dtype == np.float16
    assert a.shape == (64, 128)
    assert not np.array_equal(a, b)
    assert a.std() == pytest.approx(0.1, rel=0.05)
    np.testing.assert_array_equal(gamma, np.arange(4))


@pytest.mark.usefixtures("modules")
def test_one_bad_row_does_not_cost_the_others():
    context = importlib.import_module("context")
    here = context.Context(dry_run=True, deadline=math.inf, build=Path())
    result = context.collect(here, [1, 0, 2], lambda item: {"inverse": 1 / item})
    assert [row["inverse"] for row in result["rows"]] == [1.0, 0.5]
    assert result["failures"] == [{"case": "0", "what": "ZeroDivisionError: division by zero"}]
    assert result["complete"]
    late = context.Context(dry_run=True, deadline=-math.inf, build=Path())
    assert not context.collect(late, [1], lambda item: {})["complete"]
