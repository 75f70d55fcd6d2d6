"""The Ray Serve host: its YAML, the same protocol, replicas, shutdown and a killed replica."""

import json
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import environments
import numpy as np
import pytest
from serving import example_models, processes

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.serving import ray_config
from frn_onnx.serving.options import ModelOptions
from frn_onnx.serving.ray_config import Scale

SCRIPTS = environments.ROOT / "tests" / "serving" / "scripts"
X = [[1.0, -2.0, 0.5, 3.0]]


def options(path, **more):
    return ModelOptions(path, **{"threads": 1, **more})


def serve(path, log):
    """The runner as a process; Ray keeps its token in the home folder, so that is a new one."""
    return processes.start(
        *processes.CLI,
        "serve",
        "--ray",
        path,
        python=environments.python("ray"),
        log=log,
        timeout=240,
        env={"HOME": str(log.parent)},
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Three models, one of them with two replicas, and one that is slow and has a short queue."""
    folder = tmp_path_factory.mktemp("ray")
    port = processes.free_port()
    text = ray_config.render([options(example_models.linear(folder))], Scale(2), port=port)
    others = [
        options(example_models.lookup(folder)),
        options(example_models.slow(folder), max_queue=2, max_wait=60),
    ]
    _, _, *applications = ray_config.render(others, Scale()).split("\n- name: ")
    text = "\n- name: ".join([text.rstrip(), *applications])
    path = folder / "app.yaml"
    # Half a CPU for each replica, so that a machine with two holds them all.
    path.write_text(text.replace("num_cpus: 1", "num_cpus: 0.5"))
    with serve(path, folder / "log") as running:
        yield running


@pytest.mark.parametrize(
    ("scale", "expected"),
    [
        ({"replicas": 0}, "replicas must be at least 1, received 0"),
        ({"replicas": 3, "max_replicas": 2}, "at least replicas=3, received 2"),
        ({"num_gpus": -1}, "num_gpus must be at least 0"),
        ({"num_gpus": float("nan")}, "num_gpus must be at least 0"),
    ],
)
def test_bad_scale(scale, expected):
    with pytest.raises(ArgumentError, match=expected):
        Scale(**scale)


def test_bad_models(tmp_path):
    linear = example_models.linear(tmp_path)
    for models, error, expected in (
        ([options(linear), options(linear)], ArgumentError, "the name 'linear' is taken"),
        ([options(linear, name="front")], ArgumentError, "the name 'front' is taken"),
        ([options(linear, threads=0)], ArgumentError, "at least 1, received 0"),
        ([options(linear, device="cuda")], ArgumentError, "pass --num-gpus 1"),
        ([options(tmp_path / "no.onnx")], ModelError, "no model file at"),
    ):
        with pytest.raises(error, match=expected):
            ray_config.render(models, Scale())


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ({"port": 0}, "port must be within 1..65535, received 0"),
        ({"port": 70000}, "port must be within 1..65535, received 70000"),
        ({"max_body_mb": 0}, "must have at least 1 byte, received 0"),
    ],
)
def test_bad_server(tmp_path, address, expected):
    with pytest.raises(ArgumentError, match=expected):
        ray_config.render([options(example_models.linear(tmp_path))], Scale(), **address)


def test_the_model_is_not_overwritten(tmp_path):
    path = example_models.linear(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ModelError, match="would overwrite the input"):
        ray_config.write(path, [options(path)], Scale())
    assert path.read_bytes() == before
    with pytest.raises(ModelError, match="does not exist; create it first"):
        ray_config.write(tmp_path / "no" / "app.yaml", [options(path)], Scale())


def test_replicas_that_grow_are_in_the_yaml(tmp_path):
    path = tmp_path / "app.yaml"
    ray_config.write(path, [options(example_models.linear(tmp_path))], Scale(1, 3))
    text = path.read_text()
    assert "min_replicas: 1\n      max_replicas: 3\n" in text
    assert "target_ongoing_requests: 64" in text


def test_no_limit_is_a_number_in_yaml(tmp_path):
    model = example_models.linear(tmp_path)
    given = options(model, max_wait=math.inf, run_timeout=np.float32(math.inf))
    text = ray_config.render([given], Scale())
    assert "max_wait: .inf" in text
    assert "run_timeout: .inf" in text


def test_written_as_a_whole_or_not_at_all(tmp_path):
    path = tmp_path / "app.yaml"
    path.write_text("mine")
    with pytest.raises(ModelError):
        ray_config.write(path, [options(tmp_path / "no.onnx")], Scale())
    assert path.read_text() == "mine"
    assert os.listdir(tmp_path) == ["app.yaml"]


@pytest.mark.ray
def test_the_yaml_is_rays_own(tmp_path):
    paths = (
        example_models.linear(tmp_path).rename(tmp_path / "1.5.onnx"),
        example_models.frn(tmp_path),
    )
    command = ["ray-config", *paths, "-o", tmp_path / "app.yaml", "--replicas=1"]
    command += ["--max-replicas=4", "--num-gpus=0.5", "--device=cuda", "--threads=3"]
    command += ["--max-batch=8", "--max-batch-mb=5", "--max-queue=50", "--max-wait=2.5", "--fuse"]
    command += ["--run-timeout=9", "--max-body=7", "--gpu-mem-limit=900", "--host=::1", "--port=81"]
    command += ["--cuda-graph"]
    subprocess.run(
        [environments.python("ray"), *processes.CLI, *command],
        check=True,
        env={**os.environ, "PYTHONPATH": str(environments.ROOT)},
    )
    output = environments.run("ray", SCRIPTS / "validate_ray_config.py", tmp_path / "app.yaml")
    config = json.loads(output.splitlines()[-1])
    assert config["http_options"] == {"host": "::1", "port": 81}
    front, linear, frn = config["applications"]
    assert front["route_prefix"] == "/"
    assert (linear["name"], frn["name"]) == ("1.5", "frn")
    assert frn["route_prefix"] == "/v2/models/frn"
    assert frn["import_path"] == "frn_onnx.serving.ray_host:model"
    assert frn["args"] == {
        "model": str(paths[1]),
        "name": "frn",
        "device": "cuda",
        "threads": 3,
        "fuse": True,
        "max_batch": 8,
        "max_batch_mb": 5,
        "max_queue": 50,
        "max_wait": 2.5,
        "run_timeout": 9.0,
        "gpu_mem_limit_mb": 900,
        "cuda_graph": True,
        "max_body_mb": 7,
    }
    (deployment,) = frn["deployments"]
    assert deployment["autoscaling_config"]["min_replicas"] == 1
    assert deployment["autoscaling_config"]["max_replicas"] == 4
    assert deployment["ray_actor_options"] == {"num_cpus": 3, "num_gpus": 0.5}
    assert deployment["max_ongoing_requests"] > 50 + 8


@pytest.mark.ray
def test_a_replica_whose_runs_fail_is_unhealthy(tmp_path):
    result = subprocess.run(
        [
            environments.python("ray"),
            SCRIPTS / "replica_health.py",
            example_models.linear(tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(environments.ROOT)},
    )
    assert result.returncode == 0, result.stderr
    said, end = result.stdout.splitlines()[-2:]
    assert "model 'linear' is not ready: its runs fail" in said
    assert end == "ok"


@pytest.mark.ray
def test_same_protocol(server):
    assert server.request("GET", "/v2/health/ready")[0] == 200
    status, _, index = server.request("POST", "/v2/repository/index")
    assert {(m["name"], m["state"]) for m in json.loads(index)} == {
        ("linear", "READY"),
        ("lookup", "READY"),
        ("slow", "READY"),
    }
    status, message = server.infer("linear", X)
    assert status == 200
    example_models.assert_linear(message["outputs"][0]["data"], X)
    assert server.infer("linear", [[1.0]])[0] == 400
    status, message = server.infer("nope", X)
    assert status == 404
    assert "there is no model 'nope'" in message["error"]
    assert server.request("GET", "/v2/models/linear/versions/2")[0] == 404
    assert b"<!doctype html>" in server.request("GET", "/")[2]


@pytest.mark.ray
@pytest.mark.clients
def test_tritonclient(server):
    address = f"127.0.0.1:{server.port}"
    assert environments.run("clients", SCRIPTS / "triton_client.py", address) == "ok\n"


@pytest.mark.ray
def test_one_bad_request_harms_no_other(server):
    """40 at once, among them some that fail inside the model and some that are refused."""

    def lookup(index):
        entry = {"name": "index", "shape": [1], "datatype": "INT64", "data": [index]}
        body = json.dumps({"inputs": [entry]})
        status, _, answer = server.request("POST", "/v2/models/lookup/infer", body)
        results[index] = status, json.loads(answer)

    results = {}
    indices = list(range(-4, 36))
    threads = [threading.Thread(target=lookup, args=(i,)) for i in indices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # ONNX's Gather takes -4..3 for a table of 4 rows.
    assert {i: results[i][0] for i in indices} == {i: 200 if i < 4 else 500 for i in indices}
    for i in range(-4, 4):
        assert results[i][1]["outputs"][0]["data"] == pytest.approx(example_models.WEIGHTS[i])


@pytest.mark.ray
def test_full_queue_is_503_with_retry_after(server):
    body = json.dumps({"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [1]}]})
    answers = []

    def client():
        answers.append(server.request("POST", "/v2/models/slow/infer", body))

    threads = [threading.Thread(target=client) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [(headers, body) for status, headers, body in answers if status == 503]
    assert {status for status, _, _ in answers} == {200, 503}
    assert all(headers["Retry-After"] == "1" for headers, _ in refused)
    assert b"2 requests are waiting, which is the limit" in refused[0][1]


@pytest.mark.ray
def test_a_replica_killed_under_load_is_replaced(server):
    """Only what the dead replica held may fail, and a new one comes."""
    counts = Counter()
    stop = threading.Event()

    def client():
        while not stop.is_set():
            try:
                counts[server.infer("linear", X)[0]] += 1
            except (OSError, ValueError):
                counts["connection"] += 1

    clients = [threading.Thread(target=client) for _ in range(8)]
    for thread in clients:
        thread.start()
    before = replicas(server)
    time.sleep(2)
    os.kill(min(before), signal.SIGKILL)
    end = time.monotonic() + 90
    while not (len(now := replicas(server)) == 2 and now != before) and time.monotonic() < end:
        time.sleep(0.5)
    time.sleep(2)
    stop.set()
    for thread in clients:
        thread.join()
    failed = sum(counts.values()) - counts[200]
    print(f"{failed} of {sum(counts.values())} requests failed: {dict(counts)}")
    assert len(replicas(server) - before) == 1
    assert counts[200] > 100
    # Each client had one request in flight; each may meet the dead replica again before Ray
    # has noticed.
    assert failed <= 8 * 5


def replicas(server) -> set[int]:
    """The processes of the replicas of the model ``linear``."""
    found = set()
    for process in processes.family(server.process.pid):
        try:
            line = Path(f"/proc/{process}/cmdline").read_text()
        except OSError:
            continue
        if line.startswith("ray::ServeReplica:linear"):
            found.add(process)
    return found


@pytest.mark.ray
def test_replicas_are_no_background_jobs(server):
    """Ray's workers let everything else on a machine go first unless they are told not to."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert {os.getpriority(os.PRIO_PROCESS, replica) for replica in replicas(server)} == {own}


@pytest.mark.ray
def test_shutdown_answers_what_is_in_flight(tmp_path):
    path = tmp_path / "app.yaml"
    slow = options(example_models.slow(tmp_path), max_wait=60)
    path.write_text(ray_config.render([slow], Scale(), port=processes.free_port()))
    answers = []
    with serve(path, tmp_path / "log") as running:
        clients = [
            threading.Thread(target=lambda i=i: answers.append(running.infer("slow", [[float(i)]])))
            for i in range(8)
        ]
        for thread in clients:
            thread.start()
        time.sleep(0.4)
        running.process.terminate()
        for thread in clients:
            thread.join(60)
        assert running.process.wait(90) == 0
    assert [status for status, _ in answers] == [200] * 8
    assert sorted(m["outputs"][0]["data"][0] for _, m in answers) == [float(i) for i in range(8)]


@pytest.mark.ray
def test_what_cannot_start_says_why(tmp_path):
    path = tmp_path / "app.yaml"
    taken = socket.create_server(("127.0.0.1", 0))
    models = [options(example_models.sequence_output(tmp_path))]
    for port, edit, expected in (
        (None, lambda _: "applications: 3", "is not a Ray Serve config"),
        (None, lambda _: "{", "is not a Ray Serve config"),
        (None, lambda text: text, "cannot be served: its output 'y' is a seq(tensor(float))"),
        (None, lambda text: text.replace("num_gpus: 0", "num_gpus: 99"), "ask for 99 GPUs"),
        (None, lambda text: text.replace("threads: 1", "thread: 1"), "must be among model, name"),
        (taken.getsockname()[1], lambda text: text, "RuntimeError: Failed to bind to address"),
    ):
        # A port of its own for each: in the time of all of them others may take one.
        text = ray_config.render(models, Scale(), port=port or processes.free_port())
        path.write_text(edit(text))
        result = subprocess.run(
            [environments.python("ray"), *processes.CLI, "serve", "--ray", path],
            capture_output=True,
            text=True,
            timeout=200,
            env={**os.environ, "PYTHONPATH": str(environments.ROOT), "HOME": str(tmp_path)},
        )
        assert result.returncode == 1, result.stderr
        assert expected in result.stderr
        assert "Traceback" not in result.stderr
    taken.close()
