"""What clients send never takes more memory than they may have, and is given back."""

import contextlib
import json
import socket
import threading
import time
import zlib

import numpy as np
import pytest
from serving import example_models, processes
from serving.soak import resident_bytes
from serving.test_embedded import X, answers_correctly, binary_request

from frn_onnx.serving import memory
from frn_onnx.serving.errors import MemoryFullError, TooLargeError
from frn_onnx.serving.memory import Budget, Lease, default_bytes

MIB = 2**20
LIMIT_MIB = 96
HEAD = b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: localhost\r\n"


def test_a_budget_is_shared_and_given_back():
    idle = []
    budget = Budget(100 * MIB, on_idle=lambda: idle.append(1))
    first, second = Lease(budget), Lease(budget)
    first.take(60 * MIB)
    with pytest.raises(MemoryFullError, match="hold 60 of 100 MiB") as caught:
        second.take(60 * MIB)
    assert caught.value.headers["Retry-After"] == "1"
    with pytest.raises(TooLargeError, match="would take 120 MiB"):
        first.take(60 * MIB)
    first.close()
    second.take(60 * MIB)
    second.close()
    assert (budget.used, idle) == (0, [1, 1])
    with pytest.raises(MemoryFullError):  # a thread that goes on for a client that has gone
        second.take(1)


def test_a_lease_that_ends_while_a_thread_takes_more():
    """Nothing stays held: that would be gone from the budget for good."""
    budget = Budget(100)
    taking, go_on = threading.Event(), threading.Event()
    add = budget.add

    def slowly(size):
        add(size)
        if size > 0:
            taking.set()
            go_on.wait(5)

    budget.add = slowly
    lease = Lease(budget)
    thread = threading.Thread(target=lease.take, args=(60,))
    thread.start()
    assert taking.wait(5)
    ending = threading.Thread(target=lease.close)
    ending.start()
    ending.join(0.1)
    go_on.set()
    thread.join()
    ending.join()
    assert budget.used == 0


def test_the_default_is_a_part_of_the_memory():
    assert 16 * MIB < default_bytes() <= 1024 * MIB


@pytest.mark.parametrize(
    ("own", "limits"),
    [
        ("0::/", {"memory.max": 400}),
        ("0::/system.slice/a.service", {"system.slice/a.service/memory.max": 400}),
        ("0::/a/b", {"a/memory.max": 400, "a/b/memory.max": "max", "memory.max": 800}),
        ("4:cpu,memory:/docker/1", {"memory/memory.limit_in_bytes": 400}),
        ("7:cpu:/\n4:memory:/x", {"memory/x/memory.limit_in_bytes": 400, "memory.max": 100}),
    ],
)
def test_the_default_knows_the_cgroup(own, limits, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(memory, "_OWN_CGROUPS", tmp_path / "own")
    (tmp_path / "own").write_text(own + "\n")
    for name, limit in limits.items():
        file = tmp_path / "fs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit * MIB if isinstance(limit, int) else limit}\n")
    assert default_bytes() == 100 * MIB


@pytest.fixture
def bounded(tmp_path):
    """A server that has settled, with a small budget; the most it ever has is watched."""
    path = example_models.linear(tmp_path)
    command = ("serve", path, "--port", "0", "--max-memory", str(LIMIT_MIB))
    with processes.start(*processes.CLI, *command, log=tmp_path / "log") as server:
        answers_correctly(server)
        server.peak = resident_bytes(server.process.pid)
        server.settled = server.peak
        stop = threading.Event()

        def watch():
            while not stop.wait(0.01):
                server.peak = max(server.peak, resident_bytes(server.process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        yield server
        stop.set()
        watcher.join()


def upload(server, mib: int, statuses: list) -> None:
    """A body of that size, complete but for its end; then the status, if there is one."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=5)
    with connection, contextlib.suppress(OSError):
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (mib * MIB + 1))
        for _ in range(mib):
            connection.sendall(bytes(MIB))
        statuses.append(connection.recv(100)[9:12])


def test_many_large_bodies_at_once(bounded):
    statuses: list[bytes] = []
    threads = [threading.Thread(target=upload, args=(bounded, 63, statuses)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bounded.peak - bounded.settled < (LIMIT_MIB + 150) * MIB
    assert statuses.count(b"503") >= 8
    time.sleep(1)
    answers_correctly(bounded)
    assert resident_bytes(bounded.process.pid) - bounded.settled < 40 * MIB


def gzipped(start: bytes, unit: bytes, end: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    body = packer.compress(start + unit * (63 * MIB // len(unit)) + end) + packer.flush()
    return HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


ENTRY = b'{"inputs":[{"name":"x","datatype":"FP32","shape":[%d,4],"data":['


@pytest.mark.parametrize(
    ("start", "unit", "end", "status"),
    [
        (b'{"inputs":[', b"{},", b"0]}", b"413"),
        (b'{"inputs":[', b"[],", b"0]}", b"413"),
        (b'{"inputs":[', b'"a",', b"0]}", b"413"),
        (ENTRY % 1, b"[", b"", b"413"),
        (ENTRY % 1, b"1,", b"0]}]}", b"400"),
        (ENTRY % (63 * MIB // 8), b"1,", b"1,1,1,1]}]}", b"413"),
    ],
)
def test_json_that_grows(bounded, start, unit, end, status):
    """63 MiB of text from 63 KiB: bounded memory, and nobody else waits for it."""
    answer: list[bytes] = []
    request = gzipped(start, unit, end).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    client = threading.Thread(target=lambda: answer.append(bounded.send(request)))
    client.start()
    longest = 0.0
    while client.is_alive():
        begin = time.perf_counter()
        bounded.request("GET", "/v2/health/live")
        longest = max(longest, time.perf_counter() - begin)
    client.join()
    assert answer[0][9:12] == status, answer[0][:300]
    assert bounded.peak - bounded.settled < (LIMIT_MIB + 150) * MIB
    assert longest < 0.5


def test_large_answers_that_nobody_reads(bounded):
    """Each is 20 MiB of JSON; five of them would be over the limit."""
    x = np.random.default_rng(0).normal(size=(300_000, 4)).astype(np.float32)
    request = binary_request(x, binary_output=False)
    connections = []
    for _ in range(8):
        connections.append(socket.create_connection(("127.0.0.1", bounded.port), timeout=20))
        connections[-1].sendall(request)
    time.sleep(2)
    statuses = [connection.recv(12)[9:] for connection in connections]
    assert b"200" in statuses
    assert b"503" in statuses
    text = bounded.request("GET", "/metrics")[2].decode()
    assert 'frn_onnx_rejections_total{reason="max_memory"}' in text
    for connection in connections:
        connection.close()
    time.sleep(0.5)
    assert bounded.peak - bounded.settled < (LIMIT_MIB + 150) * MIB
    assert bounded.infer("linear", X)[0] == 200
    assert "frn_onnx_bytes_in_flight 0.0" in bounded.request("GET", "/metrics")[2].decode()


def test_a_large_request_in_json_stops_nobody(bounded):
    """4 million numbers in, 3 million out, all in JSON."""
    x = np.ones((500_000, 4), np.float32)
    entry = {"name": "x", "shape": x.shape, "datatype": "FP32", "data": x.tolist()}
    body = json.dumps({"inputs": [entry]}).encode()
    answers = []
    client = threading.Thread(
        target=lambda: answers.append(bounded.request("POST", "/v2/models/linear/infer", body))
    )
    client.start()
    waits = []
    while client.is_alive():
        begin = time.perf_counter()
        bounded.request("GET", "/v2/health/live")
        waits.append(time.perf_counter() - begin)
    client.join()
    status, _, answer = answers[0]
    assert status == 200
    data = json.loads(answer)["outputs"][0]["data"]
    assert len(data) == 1_500_000
    example_models.assert_linear(data[:30], x[:10])
    assert np.median(waits) < 0.05
    assert max(waits) < 0.5
