"""benchmarks/gpu on a CPU: every stage at toy sizes, and what becomes of stages that fail."""

import importlib
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

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
        *("environment", "correctness", "sanitizer", "tests", "bandwidth", "sweep", "profiler"),
        *("operators", "exported", "unet", "resnet50", "peers"),
    }
    skipped = {name for name, stage in stages.items() if stage["status"] == "skipped"}
    assert skipped <= {"sanitizer", "tests", "profiler", "exported", "unet", "peers"}, stages
    assert all(stages[name]["status"] == "ok" for name in set(stages) - skipped)
    assert "## Targets" in printed


def test_correctness_covers_every_kernel_and_variant(dry_run):
    result = dry_run[0]["correctness"]["result"]
    assert result["failures"] == []
    assert result["complete"]
    assert set(result["kernels"]) == {
        *("planned", "nchw_tile", "nchw_plane", "nhwc", "nhwc_scalar", "strided")
    }


def test_measurements_are_there(dry_run):
    stages = dry_run[0]
    assert stages["environment"]["result"]["copy"]["kernel_gbps"]["median"] > 0
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
    network = [{"dtype": "float16", "batch": 64, "over_relu": 1.2}]
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
