"""uvicorn's connections, made to keep to the protocol and to end.

All that rests on uvicorn's private state is in this file, and tests/serving/test_uvicorn.py says
what that is. What uvicorn by itself does not do:

- An offer to change protocols (``Upgrade``) is declined by ignoring it, as RFC 9110, 7.8 says:
  httptools stops at such a head, and takes the body for another request.
- Trailers are no headers (RFC 9110, 6.5.1): they are counted and dropped.
- What is not HTTP is refused in turn, behind the answers that are still to come.
- A client that has gone ends the work on its request.
- Whatever a connection waits for the client to do has a time, and so has taking an answer.
- A server that stops answers once more on connections that are kept, and says that it was the last.
"""

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import Any

import httptools
import orjson
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from frn_onnx.errors import ArgumentError
from frn_onnx.serving.app import error_response
from frn_onnx.serving.errors import UnavailableError, show
from frn_onnx.serving.options import Limits

# So long may a head be, or anything else between the bytes of bodies.
HEAD_BYTES = 64 * 1024
# As many fields as Apache takes; each takes more room than its bytes.
_MOST_FIELDS = 100
# Parsed at one go.
_PART_BYTES = 16 * 1024
# So long has a client to read why it is refused, and when the server stops all that is waited for.
CLOSING_SECONDS = 2.0
DRAIN_SECONDS = 3.0
# Then a request may be under way on a connection that is kept: closed at once, it would be reset.
LAST_REQUEST_SECONDS = 0.5
# An answer has its time, and a second more for so much of it that was taken: who takes a little now
# and then would hold the memory of a large one for as long as he liked.
TAKEN_BYTES_PER_SECOND = 256 * 1024
# (client as ASGI has it, status, text): what was refused before it was a request.
OnRefusal = Callable[[tuple[str, int] | None, int, str], None]


class _RefusedError(Exception):
    """Status and text for what is no request that is answered; raised while it is parsed."""


def _told(error: httptools.HttpParserError | _RefusedError) -> _RefusedError:
    """What an error is told as; a parser's is what was raised in a callback, or its own."""
    if isinstance(error, _RefusedError):
        return error
    if isinstance(error.__context__, _RefusedError):
        return error.__context__
    reason = "" if isinstance(error, httptools.HttpParserCallbackError) else f": {error}"
    return _RefusedError(400, f"this is not an HTTP/1.1 request{reason}")


class Connection(HttpToolsProtocol):
    """One client's connection: requests one behind the other, and the time they may take.

    There is one clock: :meth:`check` looks now and then for what the client has to do next, and
    since when. Nothing that the client sends can stop the clock but what it waits for.
    """

    def __init__(self, limits: Limits, on_refusal: OnRefusal, **given_by_uvicorn: Any) -> None:
        super().__init__(**given_by_uvicorn)
        self._limits = limits
        self._on_refusal = on_refusal
        # Which part of a message comes next: "request" (between two), "head" or "body".
        self._part = "request"
        self._messages = 0
        self._between = 0  # bytes since the last that belonged to a body
        self._head = 0  # bytes of the fields since then that are complete
        self._fields = 0  # and how many they are
        self._rest = b""  # received, and not parsed yet
        self._answered: Any = None  # uvicorn's cycle of the request that is answered now
        self._is_last = False  # there is no answer after this one, whose request is not all here
        # What is answered to what is no request; nothing behind that is parsed. It is said when the
        # answers before it are out.
        self._refusal: tuple[int, str] | None = None
        self._said = False
        self._draining = False
        self._waits_for: tuple[str | None, int] = (None, 0)
        self._since = self.loop.time()
        # Since when there has been something unread, and how much was taken by then.
        self._backlog: tuple[float, int] | None = None
        #: Bytes of answers so far, whether one is being written, and the task that answers now, as
        #: long as somebody waits for it; set by :class:`Answering`.
        self.written = 0
        self.is_writing = False
        self.task: asyncio.Task | None = None

    # What the client sends.

    def data_received(self, data: bytes) -> None:
        data, self._rest = self._rest + data, b""
        left = memoryview(data)
        # Taken in parts: what is parsed takes far more room than its bytes, and as many requests as
        # fit into one reading would all be answered before anybody else's.
        while left and self._refusal is None:
            if self.pipeline:  # one is enough; this goes on when it gets its turn
                self._rest = bytes(left)
                break
            part, left = left[:_PART_BYTES], left[_PART_BYTES:]
            self._between += len(part)
            try:
                self.parser.feed_data(part)
                if self._between > HEAD_BYTES:
                    raise self._too_long()
            except httptools.HttpParserUpgrade as offer:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(400, "this server is no proxy")
                else:
                    rest = (self._without_upgrade(), part[offer.args[0] :], left)
                    left = memoryview(b"".join(rest))
            except (httptools.HttpParserError, _RefusedError) as error:
                self._refuse(*_told(error).args)
        self.read_on()

    def _without_upgrade(self) -> bytes:
        """The head without ``Upgrade``, for a new parser; the body goes on."""
        line = b"%s %s HTTP/%s\r\n" % (
            self.parser.get_method(),
            self.url,
            self.parser.get_http_version().encode(),
        )
        fields = [b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._between = 0
        return b"".join((line, *fields, b"\r\n"))

    def on_message_begin(self) -> None:
        self._part = "head"
        self._head = self._fields = 0
        super().on_message_begin()
        self.scope["frn_onnx.connection"] = self  # type: ignore[typeddict-unknown-key]

    def on_url(self, url: bytes) -> None:
        self._count(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._fields += 1
        self._count(name, value, b": \r\n")
        if self._part == "head":
            super().on_header(name, value)

    def _count(self, *parts: bytes) -> None:
        """Ends the parsing of a head, or of trailers, that are too long, whole as they came."""
        self._head += sum(map(len, parts))
        if self._head > HEAD_BYTES or self._fields > _MOST_FIELDS:
            raise self._too_long()

    def _too_long(self) -> _RefusedError:
        what = "the trailers" if self._part == "body" else "the head"
        text = f"{what} of a request must be at most {HEAD_BYTES} bytes long"
        return _RefusedError(431, f"{text}, and have at most {_MOST_FIELDS} fields")

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # comes again
        self._check_head()
        self._part = "body"
        self._messages += 1
        self._between = self._head = self._fields = 0
        super().on_headers_complete()
        if not self.pipeline:
            self._answered = self.cycle
        if self._draining:
            self.cycle.keep_alive = False

    def _check_head(self) -> None:
        """What RFC 9112, 3.2 and 6.1, ask for and httptools leaves open."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and self.parser.get_http_version() == "1.1":
            raise _RefusedError(400, f"a request must have one Host, received {len(hosts)}")
        if b"://" in self.url.partition(b"?")[0]:  # then this is the host that counts
            self.headers[:] = [field for field in self.headers if field[0] != b"host"]
            self.headers.append((b"host", self.url.split(b"/", 3)[2]))
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.lower() != b"chunked":
                text = value.decode("latin-1")
                raise _RefusedError(
                    400, f"Transfer-Encoding must be chunked, received {show(text)}"
                )

    def on_body(self, body: bytes) -> None:
        self._between = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._part = "request"
        self._between = 0
        super().on_message_complete()
        self._end_if_last()

    # Answers.

    @property
    def _answering(self) -> bool:
        """Whether a request waits for its answer."""
        return self._answered is not None and not self._answered.response_complete

    def on_response_complete(self) -> None:
        self.task = None
        if self.pipeline:
            self._answered = self.pipeline[-1][0]
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self.read_on()
        if self._refusal is not None and not self._answering:
            self._say()
        self._end_if_last()
        if self._rest:
            self.loop.call_soon(self.data_received, b"")

    def answer_begins(self) -> None:
        """The head of an answer is written; the whole body may not have come yet."""
        if self._part == "body" and not self.pipeline and not self.cycle.keep_alive:
            self.cycle.keep_alive = self._is_last = True  # it is read to its end, and dropped

    def _end_if_last(self) -> None:
        if self._is_last and not self._answering and not self.transport.is_closing():
            if self._part == "body":
                self._end()
            else:
                self.transport.close()

    def _end(self) -> None:
        """Writes nothing any more.

        Closed at once, the connection would be reset by what the client still sends, and the last
        answer lost.
        """
        self.transport.write_eof()

    def read_on(self) -> None:
        """Reads also while a request waits, or it would not hear that the client has gone.

        Not where much follows it, whatever uvicorn thinks, which knows nothing of that.
        """
        if self.pipeline and len(self._rest) > HEAD_BYTES:
            self.flow.pause_reading()
        elif self.pipeline:
            self.flow.resume_reading()

    def _refuse(self, status: int, text: str) -> None:
        """Answers what never became a request, in its turn, and ends the connection."""
        self._refusal = status, text
        if self._part == "body" and self.pipeline:
            self.pipeline.popleft()  # it is the newest request that is wrong
        elif self._part == "body" and self._answering:
            self._cancel()
            if self._answered.response_started:
                self.transport.close()
            else:
                self._say()
        elif not self._answering:
            self._say()

    def _say(self) -> None:
        status, text = self._refusal
        body = orjson.dumps({"error": text})
        head = b"Content-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
        self._on_refusal(self.client, status, text)
        self._said = True
        if not self._is_last and not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + head % len(body) + body)
            self._end()

    def _cancel(self) -> None:
        """Ends the work on the request that is answered, which nobody waits for any more."""
        self._answered.disconnected = True
        task, self.task = self.task, None
        if task is not None:
            task.cancel()

    def break_off(self) -> None:
        """Ends the connection in the middle of an answer."""
        self._answered.disconnected = True
        self.transport.close()

    # Time.

    def check(self) -> None:
        """Ends the connection if it is over its time; called again and again."""
        now = self.loop.time()
        waits_for = self._next(), self._messages
        if waits_for != self._waits_for:
            self._waits_for, self._since = waits_for, now
        if self._unread(now):
            self.transport.abort()
        elif waits_for[0] is not None and now - self._since >= self._seconds(*waits_for):
            self._expire(waits_for[0])

    def _next(self) -> str | None:
        """What the client has to do next; None if it is the server's turn."""
        if self._said:
            return "close"
        if self.transport.is_closing() or self._refusal is not None:
            return None  # only what is unread keeps it open, or the answers before the refusal
        if self._answering and (self._part != "body" or self.pipeline):
            return None
        return self._part

    def _seconds(self, waits_for: str, messages: int) -> float:
        seconds = {
            "request": self._limits.idle_seconds if messages else self._limits.head_seconds,
            "head": self._limits.head_seconds,
            "body": self._limits.body_seconds,
            "close": CLOSING_SECONDS,
        }[waits_for]
        if not self._draining:
            return seconds
        return min(seconds, LAST_REQUEST_SECONDS if waits_for == "request" else DRAIN_SECONDS)

    def _unread(self, now: float) -> bool:
        """Whether the client does not take an answer, or too slowly."""
        unread = self.transport.get_write_buffer_size()
        taken = self.written - unread
        if not unread and not self.is_writing:
            self._backlog = None
            return False
        if self._backlog is None:
            self._backlog = now, taken
        since, before = self._backlog
        seconds = DRAIN_SECONDS if self._draining else self._limits.body_seconds
        return now - since >= seconds + (taken - before) / TAKEN_BYTES_PER_SECOND

    def _expire(self, waits_for: str) -> None:
        seconds = self._seconds(*self._waits_for)
        if waits_for == "head":
            self._refuse(408, f"the head of a request must be complete within {seconds:g} s")
        elif waits_for == "body" and self._answering:
            self._refuse(408, f"the body of a request must arrive within {seconds:g} s")
        elif waits_for == "close":
            self.transport.abort()
        else:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        """uvicorn's own timer, which one byte stops for good: not needed."""

    # The end.

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answering:  # uvicorn looks at the newest alone
            self._cancel()
        self.pipeline.clear()
        self._rest = b""
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def shutdown(self) -> None:
        """The server stops: what is answered from now on is the last answer here."""
        if not self._draining:
            self._draining = True
            self._since, self._backlog = self.loop.time(), None
            if self._answering:
                self.cycle.keep_alive = False


class Answering:
    """ASGI middleware: tells a connection which task answers it, and how much was written."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection: Connection | None = scope.get("frn_onnx.connection")
        if connection is None:  # lifespan
            await self._app(scope, receive, send)
            return

        started = False

        async def counted_send(message: Message) -> None:
            nonlocal started
            is_head, started = not started, True
            connection.is_writing = True
            await send(message)
            if is_head:
                connection.answer_begins()
            connection.written += len(message.get("body", b""))
            connection.is_writing = message.get("more_body", False)

        async def regulated_receive() -> Message:
            message = await receive()
            connection.read_on()
            return message

        async def give_up() -> None:
            if started:
                connection.break_off()
                return
            error = UnavailableError(
                "the server stops, and the request was not through within the time of grace "
                "(--grace); try again"
            )
            await error_response(scope, error)(scope, receive, send)

        connection.task = asyncio.current_task()
        try:
            await self._app(scope, regulated_receive, counted_send)
        except asyncio.CancelledError:
            if connection.task is not None:  # then the server stops, and has waited long enough
                await give_up()


class Server(uvicorn.Server):
    """Tells when it answers and when it stops, and watches the time of its connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        limits: Limits,
        on_ready: Callable[[], None],
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop  # the signal that ends the server may end the process behind it
        shortest = min(limits.head_seconds, limits.body_seconds, limits.idle_seconds)
        self._period = min(shortest / 8, 0.5)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in sockets or ():
            try:  # here, since uvloop does not tell that another one listens since it was bound
                listener.listen(self.config.backlog)
            except OSError as error:
                raise ArgumentError(
                    f"cannot listen on {listener.getsockname()}: {error}; choose another with "
                    "--port (--port 0 takes a free one) or --uds"
                ) from error
        await super().startup(sockets)
        self._watch(asyncio.get_running_loop())
        self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(self._period, self._watch, loop)
        connections: list[Any] = list(self.server_state.connections)
        for connection in connections:
            if self.should_exit:  # it may have been accepted when the others were told
                connection.shutdown()
            connection.check()


def connection(limits: Limits, on_refusal: OnRefusal) -> Any:
    """What makes a server's connections, in the place of uvicorn's class."""
    return functools.partial(Connection, limits, on_refusal)
