"""The embedded host as a process: start, signals, hostile connections."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from environments import ROOT
from serving import example_models, processes
from serving.bodies import binary_v2

# The host with short time limits; its arguments: the model, then head and body seconds.
IMPATIENT = """
import sys
from frn_onnx.serving import embedded
from frn_onnx.serving.options import Limits, ModelOptions
limits = Limits(head_seconds=float(sys.argv[2]), body_seconds=float(sys.argv[3]))
embedded.serve(ModelOptions(sys.argv[1]), port=0, limits=limits,
               on_ready=lambda url, served: print(url, flush=True))
"""
X = [[1.0, -2.0, 0.5, 3.0]]
REQUEST = json.dumps(
    {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": X}]}
).encode()
HEAD = b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n"


def binary_request(x: np.ndarray, model: str = "linear", *, binary_output: bool = True) -> bytes:
    """A whole request with a raw tensor."""
    request = binary_v2(x, parameters={"binary_data_output": binary_output})
    headers = {"Host": "127.0.0.1", "Content-Length": len(request["content"]), **request["headers"]}
    lines = [f"POST /v2/models/{model}/infer HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + request["content"]


@pytest.fixture
def linear(tmp_path):
    path = example_models.linear(tmp_path)
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
    ) as server:
        yield server


@pytest.fixture
def impatient(tmp_path):
    path = example_models.linear(tmp_path)
    with processes.start("-c", IMPATIENT, path, "1", "1", log=tmp_path / "log") as server:
        yield server


def answers_correctly(server) -> None:
    status, message = server.infer("linear", X)
    assert status == 200
    example_models.assert_linear(message["outputs"][0]["data"], X)


def test_serves_and_logs_one_line_per_request(linear):
    answers_correctly(linear)
    assert linear.request("GET", "/v2/health/ready")[0] == 200
    assert linear.infer("nope", X)[0] == 404
    assert linear.request("GET", "/v2/models/linear/infer")[0] == 405
    time.sleep(0.2)
    first, second, third = (r for r in linear.records() if r["event"] == "request")
    assert first["method"] == "POST"
    assert first["path"] == "/v2/models/linear/infer"
    assert (first["status"], first["model"], first["batch"]) == (200, "linear", 1)
    assert first["bytes_in"] > 0 < first["bytes_out"]
    assert first["ms"] >= first["run_ms"] > 0
    assert second["status"] == 404
    assert "there is no model 'nope'" in second["error"]
    assert third["status"] == 405
    assert "takes POST, received 'GET'" in third["error"]


def test_a_model_that_fails_is_logged_as_json_too(tmp_path):
    """ONNX Runtime would write a coloured line of its own to stderr."""
    path = example_models.lookup(tmp_path)
    entry = {"name": "index", "shape": [1], "datatype": "INT64", "data": [99]}
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
    ) as server:
        body = json.dumps({"inputs": [entry]})
        assert server.request("POST", "/v2/models/lookup/infer", body)[0] == 500
        time.sleep(0.2)
        (record,) = server.records()
    assert record["status"] == 500
    assert "idx=99 must be within the inclusive range [-4,3]" in record["error"]


def test_listens_on_this_machine_only(linear):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: asks which address would be used
        except OSError:
            pytest.skip("this machine has no address but the loopback's")
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has no address but the loopback's")
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((address, linear.port), timeout=5)


def test_no_metrics(tmp_path):
    path = example_models.linear(tmp_path)
    command = ("serve", path, "--port", "0", "--no-metrics", "--name", "m", "--max-body", "1")
    with processes.start(*processes.CLI, *command, log=tmp_path / "log") as server:
        assert server.request("GET", "/metrics")[0] == 404
        assert server.infer("m", X)[0] == 200
        status, _, body = server.request("POST", "/v2/models/m/infer", bytes(2**20 + 1))
        assert status == 413
        assert b"--max-body" in body


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nope.onnx"], "there is no model file at 'nope.onnx'"),
        ([], "pass either MODEL.onnx or --ray APP.yaml"),
        (
            ["--ray", "app.yaml", "--port", "1", "--max-batch", "2", "--no-metrics"],
            "--ray takes no other option, received --port, --max-batch, --metrics",
        ),
        (["MODEL", "--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid"),
        (["MODEL", "--port", "70000"], "port must be within 0..65535, received 70000"),
        (["MODEL", "--port", "TAKEN"], "choose another with --host and --port"),
        (["MODEL", "--max-batch", "0"], "max_batch must be at least 1, received 0"),
        (["MODEL", "--max-body", "0"], "the largest body must have at least 1 byte, received 0"),
        (["MODEL", "--max-memory", "0"], "at least 1 byte of memory, received 0; --max-memory"),
        (["MODEL", "--grace", "-1"], "the grace must be at least 0 s, received -1"),
        (["MODEL", "--name", "a b"], "pass another with --name"),
    ],
)
def test_what_cannot_start_says_why(tmp_path, arguments, expected):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        values = {
            "MODEL": str(example_models.linear(tmp_path)),
            "TAKEN": str(taken.getsockname()[1]),
        }
        result = subprocess.run(
            [sys.executable, *processes.CLI, "serve", *[values.get(a, a) for a in arguments]],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    assert result.returncode == 1
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("package", ["orjson", "starlette", "uvicorn", "prometheus_client"])
def test_a_missing_package_is_named_with_its_install_line(tmp_path, package):
    code = f"import sys; sys.modules[{package!r}] = None; {processes.CLI[1]}"
    result = subprocess.run(
        [sys.executable, "-c", code, "serve", example_models.linear(tmp_path), "--port", "0"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert result.returncode == 1
    assert package in result.stderr
    assert "pip install 'frn_onnx[serve]'" in result.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_answers_what_is_in_flight(tmp_path, number):
    path = example_models.slow(tmp_path)
    answers = []
    command = ("serve", path, "--port", "0", "--max-wait", "30", "--max-batch", "8")
    with processes.start(*processes.CLI, *command, log=tmp_path / "log") as server:

        def client(i):
            answers.append((i, *server.infer("slow", [[float(i)]])))

        clients = [threading.Thread(target=client, args=(i,)) for i in range(8)]
        for thread in clients:
            thread.start()
        deadline = time.monotonic() + 20
        while b"in_flight" not in _in_flight(server, 8) and time.monotonic() < deadline:
            time.sleep(0.02)
        server.process.send_signal(number)
        for thread in clients:
            thread.join(60)
        server.process.wait(30)
    assert sorted(answers, key=lambda a: a[0]) == [
        (
            i,
            200,
            {**answers[0][2], "outputs": [{**answers[0][2]["outputs"][0], "data": [float(i)]}]},
        )
        for i in range(8)
    ]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", server.port), timeout=5)


def test_shutdown_breaks_no_connection_that_is_kept(tmp_path):
    """Clients between two requests when the server is told to stop: the next one is answered."""
    path = example_models.linear(tmp_path)
    statuses, failures = [], []

    def client():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        last = False
        while not last:
            time.sleep(0.002)  # on a machine of few cores, most are here at any moment
            try:
                connection.request("POST", "/v2/models/linear/infer", REQUEST)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)
                return
            statuses.append(answer.status)
            last = answer.getheader("connection") == "close"

    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", log=tmp_path / "log"
    ) as server:
        clients = [threading.Thread(target=client) for _ in range(16)]
        for thread in clients:
            thread.start()
        time.sleep(0.5)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 5
        for thread in clients:
            thread.join(20)
    assert not failures
    assert set(statuses) == {200}


def _in_flight(server, count: int) -> bytes:
    """b"in_flight" once one request runs and the others wait for it."""
    _, _, text = server.request("GET", "/metrics")
    waiting = f'frn_onnx_queue_requests{{model="slow"}} {count - 1}.0'.encode()
    return b"in_flight" if waiting in text else b""


def test_slow_head_is_408_and_an_idle_connection_is_closed(impatient):
    answer = impatient.send(HEAD % 5)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the head of a request must be complete within 1 s" in answer
    assert impatient.send(b"") == b""
    answers_correctly(impatient)


@pytest.mark.parametrize(
    ("sent", "status", "reason"),
    [
        (HEAD % 5, 408, "timeout"),
        (HEAD % 5 + b"X-Pad: " + b"a" * 100_000, 431, "head_too_large"),
        (b"\0\r\n\r\n", 400, "not_http"),
    ],
)
def test_what_was_no_request_is_logged_and_counted(impatient, sent, status, reason):
    answer = json.loads(impatient.send(sent).partition(b"\r\n\r\n")[2])
    text = impatient.request("GET", "/metrics")[2].decode()
    assert f'frn_onnx_rejections_total{{reason="{reason}"}} 1.0' in text
    (record,) = [r for r in impatient.records() if r["event"] == "refused"]
    assert (record["status"], record["error"]) == (status, answer["error"])
    assert re.fullmatch(r"127\.0\.0\.1:\d+", record["client"])


def test_slow_second_head_on_a_kept_connection(impatient):
    answer = impatient.send(HEAD % len(REQUEST) + b"\r\n" + REQUEST + b"GET /v2 HTT")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 408 ") == 1


def test_slow_body_is_408(impatient):
    answer = impatient.send(HEAD % 5 + b"\r\n12")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"must arrive within 1 s; 2 bytes came of 5" in answer


def test_endless_head_is_431(linear):
    answer = linear.send(HEAD % 5 + b"X-Pad: " + b"a" * 100_000)
    assert answer.startswith(b"HTTP/1.1 431 ")
    answers_correctly(linear)


@pytest.mark.parametrize(
    "data",
    [
        b"\0\1\2\3\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW /v2 HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the start of TLS
        b"POST /v2/models/linear/infer HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v2/models/linear/infer HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /v2/models/linear/infer HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"GET /v2/models/%00%ff HTTP/1.1\r\nConnection: close\r\n\r\n",
        b"GET /v2/models/..%2f..%2fetc HTTP/1.1\r\nConnection: close\r\n\r\n",
    ],
)
def test_what_is_not_http_harms_nobody(impatient, data):
    head, _, body = impatient.send(data).partition(b"\r\n\r\n")
    if head:
        assert head.startswith(b"HTTP/1.1 4")
        assert b"content-type: application/json" in head.lower()
        assert json.loads(body)["error"]
    answers_correctly(impatient)


def test_a_head_behind_a_large_body(linear):
    """What one packet brings of a head and of the body before it does not make the head large."""
    x = np.ones((20_000, 4), np.float32)
    with socket.create_connection(("127.0.0.1", linear.port), timeout=30) as connection:
        connection.sendall(binary_request(x) + b"GET /v2 HT")
        time.sleep(0.5)
        connection.sendall(b"TP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert len(answer) > x.nbytes * 3 / 4


def test_an_answer_that_is_not_taken_is_dropped(impatient):
    """The answer, in JSON, is larger than what the system's buffers hold."""
    x = np.random.default_rng(0).normal(size=(1_000_000, 4)).astype(np.float32)
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=30) as connection:
        connection.sendall(binary_request(x, binary_output=False))
        answer = connection.recv(4096)
        time.sleep(3)
        length = int(re.search(rb"content-length: (\d+)", answer)[1])
        received = len(answer)
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += len(chunk)
    assert length > 20 * 2**20
    assert received < length
    answers_correctly(impatient)


def test_a_body_whose_answer_came_first_must_come_in_time_too(impatient):
    """An unknown model is answered at once; then nothing, or next to nothing, of the body comes."""
    head = (HEAD % 5).replace(b"linear", b"nope") + b"\r\n"

    def read_404(connection):
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 404 ")

    for rest in (b"", b"1"):
        with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as connection:
            connection.sendall(head)
            read_404(connection)
            connection.sendall(rest)
            assert connection.recv(65536) == b""
    with socket.create_connection(("127.0.0.1", impatient.port), timeout=10) as connection:
        for _ in range(3):
            connection.sendall(head + b"12345")
            read_404(connection)
            time.sleep(0.7)  # together longer than the time of one body


def test_a_long_name_for_a_request_is_cut_in_the_log(linear):
    body = json.dumps({**json.loads(REQUEST), "id": "a" * 100_000})
    status, _, answer = linear.request("POST", "/v2/models/linear/infer", body)
    assert status == 200
    assert json.loads(answer)["id"] == "a" * 100_000
    time.sleep(0.2)
    assert linear.log.stat().st_size < 2000


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "unread"])
def test_it_serves_without_anybody_who_hears_it(tmp_path, closed):
    """Closed streams, and a pipe whose reader has gone."""
    port = processes.free_port()
    words = (*processes.CLI, "serve", example_models.linear(tmp_path), "--port", port)
    command = shlex.join(map(str, (sys.executable, *words)))
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": writer} if closed == "unread" else {}
    shell = f"exec {command} {closed.replace('unread', '')}"
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(shell, shell=True, env=env, **streams) as process:
        os.close(writer)
        server = processes.Server(process, port, 0.0, tmp_path / "log")
        try:
            status = None
            end = time.monotonic() + 20
            while status is None and process.poll() is None and time.monotonic() < end:
                with contextlib.suppress(OSError):
                    status = server.infer("linear", X)[0]
                time.sleep(0.1)
            assert status == 200
        finally:
            process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)


def test_a_run_without_end_does_not_hold_up_the_end(tmp_path):
    """What runs beyond the time of grace, here 40 samples of half a second, is given up."""
    path = example_models.slow(tmp_path)
    command = ("serve", path, "--port", "0", "--max-batch", "1", "--grace", "1")
    with processes.start(*processes.CLI, *command, log=tmp_path / "log") as server:
        answers = []
        client = threading.Thread(
            target=lambda: answers.append(
                server.send(binary_request(np.ones((40, 1), np.float32), "slow"))
            )
        )
        client.start()
        time.sleep(0.5)
        begin = time.monotonic()
        server.stop()
        assert time.monotonic() - begin < 12
        client.join()
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"was not through within the time of grace (--grace)" in body
    assert json.loads(body).keys() == {"error"}
    assert "Traceback" not in server.log.read_text()
    answered = [r for r in server.records() if r.get("path", "").endswith("/infer")]
    assert [record["status"] for record in answered] == [503]


def test_a_client_that_leaves_in_the_middle_harms_nobody(linear):
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", linear.port)) as connection:
            connection.sendall(HEAD % len(REQUEST) + b"\r\n" + REQUEST[:20])
    answers_correctly(linear)
    assert not [r for r in linear.records() if r["level"] in ("error", "critical")]


def test_too_large_a_body_is_read_and_answered(tmp_path):
    """A client that sends everything before it reads gets its 413, not a broken connection."""
    path = example_models.linear(tmp_path)
    command = ("serve", path, "--port", "0", "--max-body", "1")
    with processes.start(*processes.CLI, *command, log=tmp_path / "log") as server:
        for _ in range(5):
            status, _, _ = server.request("POST", "/v2/models/linear/infer", bytes(20 * 2**20))
            assert status == 413
        answers_correctly(server)


def test_a_thousand_connections(linear):
    """Half of them never finish their request; the others are answered: 200, or 503 at worst."""
    # Most accounts have a limit of 1024 files, which they may raise.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))

    async def stalled():
        _, writer = await asyncio.open_connection("127.0.0.1", linear.port)
        writer.write(HEAD % len(REQUEST) + b"\r\n" + REQUEST[:-1])
        await writer.drain()
        return writer

    async def complete():
        reader, writer = await asyncio.open_connection("127.0.0.1", linear.port)
        writer.write(HEAD % len(REQUEST) + b"Connection: close\r\n\r\n" + REQUEST)
        await writer.drain()
        answer = await reader.read()
        writer.close()
        return answer

    async def play():
        writers = await asyncio.gather(*[stalled() for _ in range(500)])
        answers = await asyncio.gather(*[complete() for _ in range(500)])
        for writer in writers:
            writer.close()
        return answers

    answers = asyncio.run(play())
    codes = [int(answer[9:12]) for answer in answers]
    assert set(codes) <= {200, 503}
    assert codes.count(200) > 100
    refused = next((answer for answer in answers if answer[9:12] == b"503"), None)
    assert refused is None or b"retry-after: 1" in refused.lower()
    answers_correctly(linear)
