"""uvicorn with limits on slow and large heads, errors in JSON, and word of when it listens.

By itself uvicorn waits for the rest of a head, and for a client to take its answer, as long as
the client likes, and takes a head of any length.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from frn_onnx.serving.options import Limits

HEAD_BYTES = 64 * 1024


class LimitedProtocol(HttpToolsProtocol):
    """Answers 408 to a head that takes too long, 431 to one too large, 400 to what is not HTTP.

    A connection on which nothing is ever sent is closed after the time of a head. After the time
    of a body one is closed on which the client does not take its answer, or sends the rest of a
    body whose answer it has already.
    """

    limits: Limits

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_deadline: asyncio.TimerHandle | None = None
        self._answer_deadline: asyncio.TimerHandle | None = None
        self._rest_deadline: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def on_message_begin(self) -> None:
        self._in_head = True
        self._arm()
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        # Where the head begins behind the body of a request before it, the rest of these bytes
        # is not counted: they may be mostly body.
        if self._head_deadline is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_deadline is not None and self._head_bytes > HEAD_BYTES:
            expected = f"the head of a request must be at most {HEAD_BYTES} bytes long"
            self._refuse("431 Request Header Fields Too Large", expected)

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.more_body:
            self._rest_deadline = self.loop.call_later(
                self.limits.body_seconds, self.transport.close
            )

    def on_message_complete(self) -> None:
        super().on_message_complete()
        _cancel(self._rest_deadline)

    def send_400_response(self, msg: str) -> None:
        self._refuse("400 Bad Request", "this is not an HTTP/1.1 request")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer_deadline = self.loop.call_later(self.limits.body_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        _cancel(self._answer_deadline)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        _cancel(self._answer_deadline)
        _cancel(self._rest_deadline)
        super().connection_lost(exc)

    def _arm(self) -> None:
        _cancel(self._head_deadline)
        self._head_deadline = self.loop.call_later(self.limits.head_seconds, self._expire)

    def _disarm(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        _cancel(self._head_deadline)
        self._head_deadline = None

    def _expire(self) -> None:
        if self._in_head:
            expected = (
                f"the head of a request must be complete within {self.limits.head_seconds:g} s"
            )
            self._refuse("408 Request Timeout", expected)
        else:
            self.transport.close()

    def _refuse(self, status: str, text: str) -> None:
        self._disarm()
        if self.transport.is_closing():
            return
        body = orjson.dumps({"error": text})
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


class AnnouncingServer(uvicorn.Server):
    """Calls a function as soon as it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def limited(limits: Limits) -> type[LimitedProtocol]:
    """The protocol with its limits."""
    return type("Protocol", (LimitedProtocol,), {"limits": limits})
