"""Clients that give up after a while and ask again at once: what overload looks like."""

import asyncio
import re
import time
from collections import Counter
from dataclasses import dataclass

from serving.processes import Server

# Put before the server's own code: every run takes so long, and no CPU, as on a busy device.
SLOWED = """
import time
import onnxruntime
plain = onnxruntime.InferenceSession.run
def slow(*args, **kwargs):
    time.sleep({seconds})
    return plain(*args, **kwargs)
onnxruntime.InferenceSession.run = slow
"""


@dataclass(frozen=True)
class Storm:
    """What came of it.

    Attributes:
        answered: requests that got their answer in time.
        refused: those that were told to come again later.
        given_up: those whose client gave up.
        runs: of the model, meanwhile.
    """

    answered: int
    refused: int
    given_up: int
    runs: int

    @property
    def useful(self) -> float:
        """The part of the runs that somebody got the answer of."""
        return self.answered / self.runs


def storm(server: Server, body: bytes, *, clients: int, seconds: float, patience: float) -> Storm:
    """So many clients for so long, each giving up after ``patience`` seconds, and again at once.

    Who is refused waits for a moment, so that a whole storm fits into this one process.
    """
    counts: Counter[str] = Counter()
    head = b"POST /v2/models/linear/infer HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    request = b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)

    async def ask() -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(request)
            return (await reader.read())[9:12].decode()
        finally:
            writer.close()

    async def client(end: float) -> None:
        while time.monotonic() < end:
            try:
                async with asyncio.timeout(patience):
                    status = await ask()
            except TimeoutError:
                status = "given up"
            counts[status] += 1
            if status == "503":
                await asyncio.sleep(0.1)

    async def play() -> None:
        end = time.monotonic() + seconds
        await asyncio.gather(*[client(end) for _ in range(clients)])

    before = _runs(server)
    asyncio.run(play())
    time.sleep(2 * patience)  # what is abandoned now is not run any more
    assert set(counts) <= {"200", "503", "given up"}
    return Storm(counts["200"], counts["503"], counts["given up"], _runs(server) - before)


def _runs(server: Server) -> int:
    text = server.request("GET", "/metrics")[2].decode()
    found = re.search(r'frn_onnx_run_seconds_count\{model="linear"\} (\S+)', text)
    return int(float(found[1])) if found else 0
