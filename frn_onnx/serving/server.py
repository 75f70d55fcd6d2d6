"""uvicorn with limits on the head of a request, and word of when it listens.

By itself uvicorn waits for the rest of a head as long as the client likes, and takes one of any
length.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024


class LimitedProtocol(HttpToolsProtocol):
    """Answers 408 to a head that takes too long, and 431 to one that is too large.

    A connection on which nothing is ever sent is closed after the same time.
    """

    head_seconds: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm()

    def on_message_begin(self) -> None:
        self._arm()
        super().on_message_begin()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._deadline is None:
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES:
            self._refuse("431 Request Header Fields Too Large", f"at most {HEAD_BYTES} bytes long")

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(self.head_seconds, self._expire)

    def _disarm(self) -> None:
        self._head_bytes = 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if self._head_bytes:
            self._refuse("408 Request Timeout", f"complete within {self.head_seconds:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: str, expected: str) -> None:
        self._disarm()
        body = f'{{"error":"the head of a request must be {expected}"}}'
        if not self.transport.is_closing():
            self.transport.write(
                f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
            )
            self.transport.close()


class AnnouncingServer(uvicorn.Server):
    """Calls a function as soon as it answers."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_ready()


def limited(head_seconds: float) -> type[LimitedProtocol]:
    """The protocol with its time limit."""
    return type("Protocol", (LimitedProtocol,), {"head_seconds": head_seconds})
