"""Several models in one process: their names, one that is broken, queues of their own."""

import asyncio
import json
import math
import os
import subprocess
import sys
import threading
import time

import pytest
from environments import ROOT
from serving import example_models, processes

from frn_onnx.errors import ArgumentError
from frn_onnx.serving import codec, service, sources
from frn_onnx.serving.metrics import Metrics

X = [[1.0, -2.0, 0.5, 3.0]]


@pytest.fixture
def folder(tmp_path):
    """A folder with two models, one that is none, and what a folder has besides."""
    place = tmp_path / "models"
    place.mkdir()
    example_models.linear(place)
    example_models.lookup(place)
    (place / "broken.onnx").write_bytes(b"not a model")
    (place / ".hidden.onnx").write_bytes(b"")
    (place / "README.txt").write_text("")
    return place


def start(tmp_path, *arguments):
    return processes.start(*processes.CLI, "serve", *arguments, "--port", "0", log=tmp_path / "log")


def refused(*arguments) -> str:
    """What a server that does not start says."""
    result = subprocess.run(
        [sys.executable, *processes.CLI, "serve", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def get(server, path, method="GET"):
    status, _, body = server.request(method, path)
    return status, json.loads(body)


def test_large_bodies_of_one_model_hold_up_no_other(serve, monkeypatch):
    """Nor any body for longer than max_wait."""
    client = serve("linear", "images", max_wait=0.5)
    go_on, decode = threading.Event(), codec.decode

    def slow(body, json_length, signature, take):
        if signature.name == "linear":
            go_on.wait(20)
        return decode(body, json_length, signature, take)

    monkeypatch.setattr(codec, "decode", slow)

    def body(*shape):
        data = [0.5] * math.prod(shape)
        return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data}]}

    async def play(http):
        large = [http.post("/v2/models/linear/infer", json=body(5000, 4)) for _ in range(40)]
        waiting = [asyncio.ensure_future(request) for request in large]
        await asyncio.sleep(0.1)
        begin = time.perf_counter()
        other = await http.post("/v2/models/images/infer", json=body(1, 3, 80, 80))
        seconds = time.perf_counter() - begin
        await asyncio.sleep(1)
        go_on.set()
        return other, seconds, await asyncio.gather(*waiting)

    other, seconds, answers = client.run(play)
    assert other.status_code == 200
    assert seconds < 0.5
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) >= 30
    assert "for large ones before it to be read" in refused[0].json()["error"]
    assert sum(answer.status_code == 200 for answer in answers) == 40 - len(refused) > 0


def test_files_names_and_folders(folder, tmp_path):
    linear = folder / "linear.onnx"
    found = sources.find([folder, f"other={linear}", "missing.onnx", linear])
    assert [(name, path.name) for name, path in found] == [
        (None, "broken.onnx"),
        (None, "linear.onnx"),
        (None, "lookup.onnx"),
        ("other", "linear.onnx"),
        (None, "missing.onnx"),
        (None, "linear.onnx"),
    ]
    odd = linear.rename(tmp_path / "a=b.onnx")
    (renamed,) = sources.find([f"x={odd}"])
    assert renamed == ("x", odd)
    assert sources.find([odd]) == [(None, odd)]


@pytest.mark.parametrize(
    ("arguments", "name", "expected"),
    [
        (["a.onnx", "b.onnx"], "c", "--name names one model, and there are 2"),
        (["b=a.onnx"], "c", "two names, 'b' and --name 'c'"),
        (["a b=a.onnx"], None, "received 'a b'"),
        (["stats=a.onnx"], None, "received 'stats'"),
        (["."], None, r"there is no \*.onnx in the folder '.'"),
    ],
)
def test_bad_names(arguments, name, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=expected):
        sources.find(arguments, name)


def test_one_broken_file_does_not_stop_the_others(folder, tmp_path):
    with start(tmp_path, folder, f"again={folder / 'linear.onnx'}", "nope.onnx") as server:
        for name in ("linear", "again"):
            status, message = server.infer(name, X)
            assert (status, message["model_name"]) == (200, name)
            example_models.assert_linear(message["outputs"][0]["data"], X)
        _, index = get(server, "/v2/repository/index", "POST")
        assert {m["name"]: m["state"] for m in index} == {
            "linear": "READY",
            "lookup": "READY",
            "again": "READY",
            "broken": "UNAVAILABLE",
            "nope": "UNAVAILABLE",
        }
        status, _, body = server.request("POST", "/v2/repository/index", '{"ready": true}')
        assert [m["name"] for m in json.loads(body)] == ["linear", "lookup", "again"]
        assert server.request("POST", "/v2/repository/index", "{")[0] == 400
        reasons = {m["name"]: m["reason"] for m in index}
        assert "broken.onnx" in reasons["broken"]
        assert reasons["nope"] == "there is no model file at 'nope.onnx'"
        assert get(server, "/v2/health/ready") == (200, {"ready": True})
        assert get(server, "/v2/models/lookup/ready")[0] == 200
        status, answer = get(server, "/v2/models/broken/ready")
        assert (status, answer["ready"]) == (503, False)
        for path in ("/v2/models/broken", "/v2/models/nope/versions/1"):
            status, answer = get(server, path)
            assert status == 503
            assert "is not served: " in answer["error"]
        assert server.infer("broken", X)[0] == 503
        logged = [r for r in server.records() if r["event"] == "a model is not served"]
    assert [(r["level"], r["model"], r["reason"]) for r in logged] == [
        ("error", name, reasons[name]) for name in ("broken", "nope")
    ]


def test_strict_and_none_left(folder):
    good, bad = folder / "linear.onnx", folder / "broken.onnx"
    assert "broken.onnx" in refused("--strict", good, bad)
    said = refused(bad, "nope.onnx")
    assert "none of the 2 models can be served" in said
    assert "broken.onnx" in said
    assert "nope.onnx" in said


def test_there_must_be_one():
    with pytest.raises(ArgumentError, match="at least one model to serve, received none"):
        service.load([], Metrics())


def test_two_of_one_name(folder, tmp_path):
    good = folder / "linear.onnx"
    other = good.rename(tmp_path / "lookup.onnx")
    said = refused(folder, other)
    assert f"two models would be named 'lookup': {folder / 'lookup.onnx'} and {other}" in said
    assert "NAME=FILE.onnx" in said
    odd = other.rename(tmp_path / "a b.onnx")
    assert "received 'a b'; pass another with --name, or as NAME=FILE.onnx" in refused(odd)


PYTHON = """
import sys
from frn_onnx.serving import embedded
from frn_onnx.serving.options import ModelOptions
models = [ModelOptions(path) for path in sys.argv[1:]]
embedded.serve(models, port=0, on_ready=lambda url, *served: print(
    url, *(model.signature.name for model in served), flush=True))
"""


def test_from_python(folder, tmp_path):
    paths = (folder / "linear.onnx", folder / "lookup.onnx")
    with processes.start("-c", PYTHON, *paths, log=tmp_path / "log") as server:
        assert server.infer("linear", X)[0] == 200
        assert [m["name"] for m in get(server, "/v2/repository/index", "POST")[1]] == [
            "linear",
            "lookup",
        ]


def test_each_has_a_queue_of_its_own(tmp_path):
    slow, linear = example_models.slow(tmp_path), example_models.linear(tmp_path)
    with start(tmp_path, slow, linear, "--max-queue", "1", "--max-batch", "1") as server:
        statuses = []
        busy = [
            threading.Thread(target=lambda: statuses.append(server.infer("slow", [[1.0]])[0]))
            for _ in range(4)
        ]
        for thread in busy:
            thread.start()
        time.sleep(0.1)
        answers = [server.infer("linear", X)[0] for _ in range(5)]
        was_busy = any(thread.is_alive() for thread in busy)
        for thread in busy:
            thread.join()
    assert answers == [200] * 5
    assert was_busy
    assert 503 in statuses
