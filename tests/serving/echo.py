"""A server that tells what it understood, and requests to it as raw bytes."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn

from frn_onnx.serving.options import Limits
from frn_onnx.serving.server import Answering, Server, connection

ANSWER = re.compile(
    rb"HTTP/1\.1 (\d{3}) [^\r]*\r\n(?:[^\r]+\r\n)*?content-length: (\d+)\r\n(?:[^\r]+\r\n)*\r\n",
    re.IGNORECASE,
)


class Echo:
    """Answers with method, path and body; /wait answers when it is told to, /early reads nothing.

    Attributes:
        refused: (status, text) of what was refused before it was a request.
        gone: paths of requests whose client went.
        errors: what uvicorn and asyncio logged of them.
    """

    def __init__(self):
        self.refused = []
        self.gone = []
        self.errors = []
        self.go_on = threading.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        body, more = b"", True
        try:
            while more and not scope["path"].startswith("/early"):
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body, more = body + message["body"], message["more_body"]
            while scope["path"] == "/wait" and not self.go_on.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.gone.append(scope["path"])
            raise
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        names = sorted({name.decode() for name, _ in scope["headers"]} - {"host"})
        said = [scope["method"], scope["path"], body.decode("latin-1"), names, host]
        text = bytes(2**20) if scope["path"].endswith("/large") else json.dumps(said).encode()
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for at in range(0, len(text), 1 << 16):
            part, more = text[at : at + (1 << 16)], at + (1 << 16) < len(text)
            await send({"type": "http.response.body", "body": part, "more_body": more})


@contextlib.contextmanager
def serving(limits: Limits) -> Iterator[Echo]:
    """An Echo in a server; ``port`` and ``state`` are the server's."""
    echo, ready = Echo(), threading.Event()
    config = uvicorn.Config(
        Answering(echo),
        http=connection(limits, lambda client, status, text: echo.refused.append((status, text))),
        ws="none",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # else megabytes lie there
    host = Server(config, limits, ready.set)
    handler = logging.Handler(logging.ERROR)
    handler.addFilter(lambda record: record.thread == thread.ident)
    handler.emit = lambda record: echo.errors.append(record.getMessage())
    loggers = [logging.getLogger(name) for name in ("uvicorn.error", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
    thread = threading.Thread(target=host.run, args=([listener],))
    thread.start()
    assert ready.wait(10)
    echo.port = listener.getsockname()[1]
    echo.state = host.server_state
    yield echo
    host.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    for logger in loggers:
        logger.removeHandler(handler)


@contextlib.contextmanager
def connected(server, timeout=10):
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as client:
        yield client


def read_all(client) -> bytes:
    """What comes until the server closes; a reset counts as that."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(1 << 16):
            got += part
    return got


def answers(data: bytes) -> list:
    """Each answer: what the server understood, or the status of its refusal."""
    found, at = [], 0
    while at < len(data):
        head = ANSWER.match(data, at)
        assert head, data[at : at + 200]
        body = data[head.end() : head.end() + int(head[2])]
        assert len(body) == int(head[2])
        found.append(json.loads(body) if head[1] == b"200" else int(head[1]))
        at = head.end() + len(body)
    return found


def exchange(server, *pieces: bytes, pause: float = 0.03) -> list:
    """The answers to bytes that are sent in pieces; the last request must close."""
    with connected(server) as client:
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
        return answers(read_all(client))


def request(method="POST", path="/", body=b"", *headers: str, chunks=0, trailers=()) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    if chunks:
        lines.append("Transfer-Encoding: chunked")
        size = max(1, -(-len(body) // chunks))
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        ends = "".join(f"{trailer}\r\n" for trailer in trailers).encode()
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        body += b"0\r\n" + ends + b"\r\n"
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
