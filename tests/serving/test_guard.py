"""On the loopback only own names, and no foreign pages; the Unix socket, which no page reaches."""

import contextlib
import json
import socket
import subprocess
import sys
import time

import anyio
import httpx
import pytest
from serving import example_models, processes
from serving.bodies import v2

from frn_onnx.serving import embedded
from frn_onnx.serving.guard import Guard, is_loopback
from frn_onnx.serving.metrics import PrometheusMetrics

OWN = "127.0.0.1:8000"


def status(serve, headers, *allowed):
    """What a POST with these headers is answered."""
    client = serve("linear")
    metrics = PrometheusMetrics()
    guard = Guard(client.app, allowed, metrics)

    async def ask():
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{OWN}") as http:
            return await http.post("/v2/repository/index", headers=headers)

    answer = anyio.run(ask)
    if answer.status_code == 403:
        assert "--allowed-host" in answer.json()["error"]
        assert b'frn_onnx_rejections_total{reason="foreign"} 1.0' in metrics.render()
    return answer.status_code


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Host": "localhost"},
        {"Host": "LOCALHOST:8000"},
        {"Host": "127.0.0.2:9"},
        {"Host": "[::1]:8000"},
        {"Origin": f"http://{OWN}"},
        {"Host": "localhost:8000", "Origin": "http://localhost:8000"},
    ],
)
def test_own_names_and_pages_are_served(serve, headers):
    assert status(serve, headers) == 200


FOREIGN = [
    {"Host": "evil.example"},
    {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"},
    {"Host": "localhost.evil.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "0.0.0.0:8000"},
    {"Host": ""},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "http://localhost:8000"},
    {"Origin": f"ftp://{OWN}"},
    {"Origin": ""},
]


@pytest.mark.parametrize("headers", FOREIGN)
def test_foreign_names_and_pages_are_not(serve, headers):
    assert status(serve, headers) == 403


def test_a_name_that_is_allowed(serve):
    assert status(serve, {"Host": "models.example"}, "models.example") == 200
    headers = {"Host": "models.example", "Origin": "https://models.example"}
    assert status(serve, headers, "Models.Example") == 200
    assert status(serve, {"Host": "other.example"}, "models.example") == 403
    assert status(serve, {"Host": "models.example:8000"}, "models.example:1234") == 200
    for given in ("fd00::7", "[fd00::7]", "[FD00::7]:80"):
        assert status(serve, {"Host": "[fd00::7]:8000"}, given) == 200


def test_what_is_loopback():
    assert all(map(is_loopback, ("127.0.0.1", "127.9.9.9", "::1", "localhost")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.0.2.1", "example.org", "")))


def test_a_unix_socket(tmp_path, x):
    """Served, its file gone afterwards; a file that is left over is no obstacle, a server is."""
    model, path = example_models.linear(tmp_path), tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as left_over:
        left_over.bind(str(path))
    command = [sys.executable, *processes.CLI, "serve", model, "--uds", path]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert f"unix:{path}" in process.stdout.readline()
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://any.name") as http:
            answer = http.post("/v2/models/linear/infer", json=v2(x))
            assert answer.status_code == 200
        second = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert second.returncode == 1
        assert "another server listens there" in second.stderr
        assert path.exists()
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()
    assert not path.exists()
    records = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [record["status"] for record in records if record["event"] == "request"] == [200]


def test_a_socket_of_another_server_stays(tmp_path):
    """One that ends late must not remove the path that a new one has taken."""
    path = tmp_path / "socket"
    with (
        contextlib.ExitStack() as files,
        embedded._listen_path(path, files),
        socket.socket(socket.AF_UNIX) as other,
    ):
        path.unlink()
        time.sleep(0.05)  # a file made at the same tick could be taken for the same
        other.bind(str(path))
    assert path.exists()


def test_two_servers_that_load_their_models_for_one_socket(tmp_path):
    """Nobody listens yet, so the second takes the file; the first must not serve nobody."""
    path = tmp_path / "socket"
    with contextlib.ExitStack() as files:
        first, second = (files.enter_context(embedded._listen_path(path, files)) for _ in "12")
        with pytest.raises(OSError, match="by now its file is another server's"):
            first.listen()
        path.chmod(0o600)
        second.listen()


def test_the_file_of_a_socket_goes_once(tmp_path):
    path = tmp_path / "socket"
    with contextlib.ExitStack() as files, embedded._listen_path(path, files):
        assert path.is_socket()
        files.close()
        assert not path.exists()


RACE = """
import socket, sys
from frn_onnx.cli import main
from frn_onnx.serving import service

other = socket.socket()
other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
other.bind(("127.0.0.1", 0))
load = service.load

def load_slowly(*args, **kwargs):
    models = load(*args, **kwargs)
    other.listen()
    return models

service.load = load_slowly
sys.exit(main(["serve", sys.argv[1], "--port", str(other.getsockname()[1])]))
"""


def test_another_that_listens_first(tmp_path):
    """Two may bind a port while neither listens; the second to listen must not say that it does."""
    command = [sys.executable, "-c", RACE, example_models.linear(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1
    assert "cannot listen on" in result.stderr
    assert "--port" in result.stderr
    assert not result.stdout
