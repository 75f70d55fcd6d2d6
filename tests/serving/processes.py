"""Servers as processes of their own, and sockets that speak to them."""

import ctypes
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from environments import ROOT

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_URL = re.compile(r"http://\S+:(\d+)")


@dataclass
class Server:
    """A running server.

    Attributes:
        process: of the host.
        port: on 127.0.0.1.
        start_seconds: from the start of the process to the line that says it is ready.
        log: the file its stderr goes to.
    """

    process: subprocess.Popen
    port: int
    start_seconds: float
    log: Path

    def request(self, method, path, body=None, headers=None):
        """(status, headers, body) over a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def infer(self, model, values, name="x"):
        """(status, message) of a JSON inference with one FP32 input."""
        entry = {"name": name, "datatype": "FP32", "data": values}
        entry["shape"] = [len(values), len(values[0])]
        body = json.dumps({"inputs": [entry]})
        status, _, answer = self.request("POST", f"/v2/models/{model}/infer", body)
        return status, json.loads(answer)

    def send(self, data: bytes, *, timeout: float = 30) -> bytes:
        """All that comes back for raw bytes until the server closes, or nothing more comes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
            connection.sendall(data)
            answer = b""
            while chunk := connection.recv(65536):
                answer += chunk
            return answer

    def records(self) -> list[dict]:
        """The log's lines."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def stop(self, number=signal.SIGTERM, timeout=60) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout)


@contextmanager
def start(*command, python=sys.executable, log: Path, timeout=60, env=None, pass_fds=()):
    """Starts a command that prints its URL when it is ready; ends it afterwards."""
    begin = time.perf_counter()
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [python, *command],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            preexec_fn=_end_with_parent,
            pass_fds=pass_fds,
        )
    try:
        port = _wait_for_url(process, begin + timeout, log)
        yield Server(process, port, time.perf_counter() - begin, log)
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(180)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _end_with_parent() -> None:
    """In the child: SIGTERM when the test process dies, however it dies; Ray would stay."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_for_url(process, end: float, log: Path) -> int:
    """The port in the first URL on stdout."""
    while time.perf_counter() < end:
        ready, _, _ = select.select([process.stdout], [], [], 0.2)
        line = process.stdout.readline() if ready else ""
        if found := _URL.search(line):
            return int(found[1])
        if ready and not line:
            break
    process.kill()
    raise AssertionError(f"no URL came (exit status {process.wait()}):\n{log.read_text()[-3000:]}")


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def family(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, left = set(), [pid]
    while left:
        process = left.pop()
        found.add(process)
        left += parents.get(process, [])
    return found


CLI = ("-c", "import sys; from frn_onnx.cli import main; sys.exit(main())")
