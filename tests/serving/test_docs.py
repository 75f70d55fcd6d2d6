"""docs/serving.md against the code: options, metrics, statuses, and examples that run."""

import argparse
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

import environments
import numpy as np
import pytest
from serving import example_models, processes

from frn_onnx.cli import serve, triton
from frn_onnx.serving import errors
from frn_onnx.serving.metrics import FIGURES

TEXT = (environments.ROOT / "docs" / "serving.md").read_text()
SCRIPTS = environments.ROOT / "tests" / "serving" / "scripts"
X = [[1.0, -2.0, 0.5, 3.0]]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_every_option_is_documented():
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    serve.add_parser(subparsers)
    triton.add_parser(subparsers)
    for command in subparsers.choices.values():
        for action in command._actions:
            for option in action.option_strings:
                if option.startswith("--") and option != "--help":
                    assert f"`{option}" in TEXT or f" {option}" in TEXT, option


def test_every_module_has_its_place():
    listed = TEXT.split("## Where things are")[1]
    for module in (environments.ROOT / "frn_onnx" / "serving").glob("[!_]*"):
        if module.is_file():
            assert module.name in listed


def test_every_metric_and_status_is_documented():
    for name, (kind, *_) in FIGURES.items():
        assert f"`{name}{'_total' if kind == 'counter' else ''}`" in TEXT
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.RequestError):
            assert f"\n| {error.status} | " in TEXT
            assert not error.rejection or f"`{error.rejection}`" in TEXT


def test_the_table_is_generated_from_the_results(tmp_path, monkeypatch):
    """What ``bench_serving.py --render`` would write is what is there."""
    monkeypatch.syspath_prepend(environments.ROOT / "benchmarks")
    from serving_report import render

    (tmp_path / "docs" / "images").mkdir(parents=True)
    (tmp_path / "docs" / "serving.md").write_text(TEXT)
    results = environments.ROOT / "benchmarks" / "results" / "serving.json"
    render(json.loads(results.read_text()), tmp_path)
    assert (tmp_path / "docs" / "serving.md").read_text() == TEXT


@pytest.mark.ray
def test_the_kuberay_example_is_rays_own(tmp_path):
    (text,) = (block for block in blocks("yaml") if "RayService" in block)
    inner = text.split("serveConfigV2: |\n")[1].split("  rayClusterConfig:")[0]
    path = tmp_path / "config.yaml"
    path.write_text(inner)
    output = environments.run("ray", SCRIPTS / "validate_ray_config.py", path)
    config = json.loads(output.splitlines()[-1])
    assert [a["name"] for a in config["applications"]] == ["front", "resnet20"]


@pytest.mark.frameworks
@pytest.mark.parametrize(
    ("name", "command", "request_body"),
    [
        ("fastapi", "-m uvicorn fastapi_app:app --port {port}", X),
        ("bentoml", "-m bentoml serve bentoml_app:Model --host 127.0.0.1 --port {port}", {"x": X}),
        ("litserve", "litserve_app.py", {"x": X}),
    ],
)
def test_examples_of_other_servers_run(tmp_path, name, command, request_body):
    (code,) = (block for block in blocks("python") if block.startswith(f"# {name}_app.py"))
    port = processes.free_port()
    (tmp_path / f"{name}_app.py").write_text(code.replace("port=8000", f"port={port}"))
    example_models.linear(tmp_path).rename(tmp_path / "model.onnx")
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [environments.python("frameworks"), *command.format(port=port).split()],
            cwd=tmp_path,
            env={
                "PATH": f"{environments.python('frameworks').parent}:/usr/bin:/bin",
                "PYTHONPATH": str(environments.ROOT),
                "HOME": str(tmp_path),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        answer = post(f"http://127.0.0.1:{port}/predict", request_body, process, tmp_path / "log")
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # LitServe has workers that outlive it
        process.wait(30)
    example_models.assert_linear(np.float32(answer["y"] if name == "litserve" else answer), X)


def post(url, body, process, log):
    """The answer in JSON, as soon as the server gives one."""
    end = time.monotonic() + 120
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    while process.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read()) from error
        except OSError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-3000:])
