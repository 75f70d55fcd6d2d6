"""More requests than the model can answer: what is run is for somebody who gets it."""

import json
import socket
import time

import pytest
from serving import example_models, processes
from serving.storms import SLOWED, storm
from serving.test_embedded import HEAD, REQUEST, X


@pytest.fixture
def slowed(tmp_path):
    """A server of a model that takes 0.2 s for a run of one request."""
    path = example_models.linear(tmp_path)
    code = SLOWED.format(seconds=0.2) + processes.CLI[1]
    command = ("-c", code, "serve", path, "--port", "0", "--max-batch", "1")
    with processes.start(*command, log=tmp_path / "log") as server:
        yield server


@pytest.mark.parametrize("clients", [16, 64])
def test_impatient_clients_get_what_is_run(slowed, clients):
    """Five answers a second are possible, and as many must arrive; a few ends are ragged."""
    result = storm(slowed, REQUEST, clients=clients, seconds=6, patience=1)
    assert result.useful >= 0.95, result
    assert result.answered >= 0.8 * 6 / 0.2, result


def test_who_would_wait_longer_hears_it_at_once_and_when(slowed):
    connections = [
        socket.create_connection(("127.0.0.1", slowed.port), timeout=5) for _ in range(12)
    ]
    begin = time.monotonic()
    for connection in connections:
        connection.sendall(HEAD % len(REQUEST) + b"\r\n" + REQUEST)
    answers = []
    for connection in connections:
        answers.append((connection.recv(65536), time.monotonic() - begin))
        connection.close()
    served = [answer for answer, _ in answers if b" 200 " in answer[:20]]
    refused = [(answer, seconds) for answer, seconds in answers if b" 503 " in answer[:20]]
    assert len(served) + len(refused) == 12
    assert 2 <= len(served) <= 5
    for answer, _ in refused:
        assert b"--max-wait" in answer
        assert b"\r\nretry-after: 1\r\n" in answer.lower()
    assert all(seconds < 1.2 for _, seconds in answers)
    text = slowed.request("GET", "/metrics")[2].decode()
    assert f'frn_onnx_rejections_total{{reason="max_wait"}} {len(refused)}.0' in text


def test_who_has_gone_is_not_served(slowed):
    gone = []
    for _ in range(3):
        gone.append(socket.create_connection(("127.0.0.1", slowed.port), timeout=5))
        gone[-1].sendall(HEAD % len(REQUEST) + b"\r\n" + REQUEST)
    time.sleep(0.1)  # the first runs, two wait
    for connection in gone:
        connection.close()
    time.sleep(0.05)
    begin = time.monotonic()
    assert slowed.infer("linear", X)[0] == 200
    assert time.monotonic() - begin < 0.39
    statuses = [record["status"] for record in slowed.records()]
    assert statuses.count(499) == 3


def test_a_run_that_nobody_waits_for_ends(tmp_path):
    """One request that would run for 20 s: its client goes, and the next one need not wait."""
    path = example_models.slow(tmp_path)
    with processes.start(
        *processes.CLI, "serve", path, "--port", "0", "--max-batch", "1", log=tmp_path / "log"
    ) as server:
        entry = {"name": "x", "shape": [40, 1], "datatype": "FP32", "data": [1.0] * 40}
        body = json.dumps({"inputs": [entry]}).encode()
        head = b"POST /v2/models/slow/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(head % len(body) + b"\r\n" + body)
            time.sleep(0.5)
        time.sleep(1)
        begin = time.monotonic()
        assert server.infer("slow", [[1.0]])[0] == 200
        assert time.monotonic() - begin < 5
