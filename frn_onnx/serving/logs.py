"""Structured logs: one JSON object per line, one line per request."""

import asyncio
import logging
import re
import sys
import time
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frn_onnx.errors import ArgumentError
from frn_onnx.serving.errors import CLIENT_GONE
from frn_onnx.serving.log_writer import BackgroundHandler
from frn_onnx.serving.metrics import Metrics
from frn_onnx.serving.options import LOG_LEVELS

LOG = logging.getLogger("frn_onnx.serving")
ACCESS = logging.getLogger("frn_onnx.serving.access")
# What asks again and again, and whose answers nobody wants to read.
_PROBE = re.compile(r"/metrics|/v2/health/(live|ready)|/v2/models/.*/ready|/v2/repository/index")
# The trace that the request at hand is a part of.
_TRACE_ID: ContextVar[str | None] = ContextVar("trace_id", default=None)
# Version, trace, span and flags; a later version may have more behind.
# https://www.w3.org/TR/trace-context/#traceparent-header
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)


class JsonFormatter(logging.Formatter):
    """A record as a JSON object: time, level, logger, event, and the fields of its ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if trace_id := _TRACE_ID.get():
            entry["trace_id"] = trace_id
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


def configure(level: str = "info", metrics: Metrics | None = None) -> None:
    """Sends the records of the server, of uvicorn and of asyncio to stderr, as JSON lines.

    Args:
        level: one of ``options.LOG_LEVELS``; others' records are shown from warnings on.
        metrics: told of lines that nobody takes.

    Raises: ArgumentError for another level.
    """
    if level not in LOG_LEVELS:
        raise ArgumentError(f"log_level must be one of {', '.join(LOG_LEVELS)}, received {level!r}")
    metrics = metrics or Metrics()
    handler = BackgroundHandler(
        sys.stderr.fileno(), on_drop=lambda: metrics.add("frn_onnx_log_drops", 1)
    )
    handler.setFormatter(JsonFormatter())
    lowest = logging.getLevelNamesMapping()[level.upper()]
    for name in (LOG.name, "uvicorn", "asyncio"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(lowest if logger is LOG else max(lowest, logging.WARNING))


class AccessLog:
    """ASGI middleware that writes a line about every request when it has been answered.

    What probes ask for is written at the level of debugging, an answer of 5xx as a warning. The
    handler's own fields (bytes_in, model, batch, queue_ms, run_ms, error) come from
    ``scope["frn_onnx.log"]``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            for handler in LOG.handlers:  # the signal that ended the server may end the process
                handler.flush()
            return
        start = time.perf_counter()
        fields: dict[str, Any] = {}
        scope["frn_onnx.log"] = fields
        answer = {"status": CLIENT_GONE, "bytes_out": 0}
        _TRACE_ID.set(_trace_id(scope))

        async def counting_send(message: Message) -> None:
            answer["status"] = message.get("status", answer["status"])
            answer["bytes_out"] += len(message.get("body", b""))
            await send(message)

        try:
            await self._app(scope, receive, counting_send)
        finally:
            milliseconds = (time.perf_counter() - start) * 1e3
            # The answer leaves at the end of this turn of the loop; the line can wait.
            asyncio.get_running_loop().call_soon(_log, scope, answer, fields, milliseconds)


def _trace_id(scope: Scope) -> str | None:
    """The trace's identity in the header ``traceparent``; None where it is not a valid one."""
    for name, value in scope["headers"]:
        if name == b"traceparent":
            found = _TRACEPARENT.fullmatch(value)
            return found[1].decode() if found else None
    return None


def _log(scope: Scope, answer: dict[str, int], fields: dict[str, Any], ms: float) -> None:
    level = logging.WARNING if answer["status"] >= 500 else logging.INFO
    if _PROBE.fullmatch(scope["path"]):
        level = logging.DEBUG
    if not ACCESS.isEnabledFor(level):
        return
    entry = {
        "client": _address(scope.get("client")),
        "method": scope["method"],
        "path": scope["path"],
        **answer,
        "ms": ms,
        **fields,
    }
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in entry.items()}
    ACCESS.log(level, "request", extra={"fields": rounded})


def refused(client: tuple[str, int] | None, status: int, text: str) -> None:
    """Writes a line about what was refused before it was a request."""
    fields = {"client": _address(client), "status": status, "error": text}
    ACCESS.info("refused", extra={"fields": fields})


def _address(client: Sequence[Any] | None) -> str | None:
    return f"{client[0]}:{client[1]}" if client else None
