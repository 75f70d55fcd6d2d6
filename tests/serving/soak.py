"""Very many requests of every kind, and the server's memory while they are answered."""

import http.client
import itertools
import json
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from serving.bodies import binary_v2, v2

CLIENTS = 16


@dataclass(frozen=True)
class Soak:
    """What came of it.

    Attributes:
        statuses: how many requests got which status.
        memory: (requests answered so far, resident memory in bytes), at even distances.
    """

    statuses: dict[int, int]
    memory: list[tuple[int, int]]


def _binary(x: np.ndarray) -> tuple[bytes, dict[str, str]]:
    request = binary_v2(x, parameters={"binary_data_output": True})
    return request["content"], request["headers"]


def requests_of_images() -> list[tuple[bytes, dict[str, str]]]:
    """Bodies for the example model ``images``: many shapes, both kinds, and broken ones."""
    rng = np.random.default_rng(0)
    bodies = []
    for _ in range(200):
        shape = (rng.integers(1, 4), 3, rng.integers(1, 33), rng.integers(1, 33))
        x = rng.normal(size=shape).astype(np.float32)
        bodies += [_binary(x), (json.dumps(v2(x)).encode(), {})]
    body, headers = bodies[0]
    return [*bodies, (body[:-1], headers), (b"NaN", {}), (body, {}), _binary(x[:, :2])]


def resident_bytes(pid: int) -> int:
    """The memory of a process, as the kernel counts it."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise ProcessLookupError(pid)


def soak(port: int, pid: int, requests: int, *, samples: int = 50) -> Soak:
    """Sends so many requests to a server of ``images``, from 16 clients at once."""
    bodies = requests_of_images()
    numbers = itertools.count()
    statuses: Counter[int] = Counter()
    memory: list[tuple[int, int]] = []
    lock = threading.Lock()
    every = max(requests // samples, 1)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while (number := next(numbers)) < requests:
            body, headers = bodies[number % len(bodies)]
            connection.request("POST", "/v2/models/images/infer", body, headers)
            response = connection.getresponse()
            response.read()
            with lock:
                statuses[response.status] += 1
                done = statuses.total()
                if done % every == 0:
                    memory.append((done, resident_bytes(pid)))
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Soak(dict(statuses), memory)
