"""The embedded host under clients that are not ours: tritonclient, and schemathesis."""

import json
import os
import re
import subprocess

import environments
import pytest
from serving import example_models, processes

SCRIPTS = environments.ROOT / "tests" / "serving" / "scripts"
pytestmark = pytest.mark.clients


def test_tritonclient(tmp_path):
    path = example_models.linear(tmp_path)
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
    ) as server:
        output = environments.run(
            "clients", SCRIPTS / "triton_client.py", f"127.0.0.1:{server.port}"
        )
    assert output == "ok\n"


@pytest.mark.parametrize("model", ["linear", "batch_mean"])
def test_perf_analyzer(tmp_path, model):
    """Triton's load generator, which asks for the configuration and the statistics."""
    environment = environments.python("perf-analyzer").parents[1]
    (library,) = environment.glob("lib/*/site-packages/nvidia/cuda_runtime/lib")
    command = [environment / "bin" / "perf_analyzer", "-m", model, "-i", "http"]
    command += ["--shape", "x:2,4"] if model == "batch_mean" else ["-b", "3"]
    command += ["-p", "500", "-r", "3", "-s", "1000", "--concurrency-range", "2", "-u"]
    path = getattr(example_models, model)(tmp_path)
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
    ) as server:
        result = subprocess.run(
            [*command, f"127.0.0.1:{server.port}"],
            env={**os.environ, "LD_LIBRARY_PATH": str(library)},
            capture_output=True,
            text=True,
            timeout=100,
        )
    if "error while loading shared libraries" in result.stderr:
        pytest.skip(result.stderr.strip())
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"Server:\s+Inference count: [1-9]", result.stdout), result.stdout
    (requests, runs, samples) = (
        int(re.search(rf"{name} count: (\d+)", result.stdout)[1])
        for name in ("Successful request", "Execution", "Inference")
    )
    assert 0 < runs <= requests + 2
    assert samples >= requests * (2 if model == "batch_mean" else 3) - 6
    assert {r["status"] for r in server.records()} == {200}


# A schema cannot say that the number of elements is the product of the shape, nor that the header
# is the length of the JSON part: a request may fit the schema and be refused all the same.
EXCLUDED = "positive_data_acceptance"


@pytest.mark.parametrize("model", ["linear", "two_inputs"])
def test_schemathesis(tmp_path, model):
    """Requests made from the OpenAPI description, valid and broken ones: never a 5xx."""
    path = getattr(example_models, model)(tmp_path)
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
    ) as server:
        output = environments.run(
            "clients",
            "-m",
            "schemathesis.cli",
            "run",
            f"http://127.0.0.1:{server.port}/openapi.json",
            f"--exclude-checks={EXCLUDED}",
            "--max-examples=30",
            "--seed=1",
            timeout=300,
        )
        assert server.request("GET", f"/v2/models/{model}/ready")[0] == 200
    assert not [r for r in server.records() if r.get("status", 0) >= 500]
    assert re.search(r"generated, \d+ passed", output), output


def test_the_description_is_written_from_the_model(tmp_path):
    path = example_models.two_inputs(tmp_path)
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
    ) as server:
        description = json.loads(server.request("GET", "/openapi.json")[2])
    assert "/v2/models/two_inputs/versions/1/infer" in description["paths"]
    infer = description["paths"]["/v2/models/two_inputs/infer"]["post"]
    assert set(infer["responses"]) >= {"200", "400", "404", "408", "413", "415", "500", "503"}
