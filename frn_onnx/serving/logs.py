"""Structured logs: one JSON object per line, one line per request."""

import asyncio
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ACCESS = logging.getLogger("frn_onnx.serving.access")


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
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(entry, default=str).decode()


def configure(stream: TextIO | None = None) -> None:
    """Sends the server's and uvicorn's records to a stream, stderr by default, as JSON lines."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    for name, level in (("frn_onnx.serving", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


class AccessLog:
    """ASGI middleware that writes a line about every request when it has been answered.

    The handler's own fields (bytes_in, model, batch, queue_ms, run_ms, error) come from
    ``scope["frn_onnx.log"]``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        fields: dict[str, Any] = {}
        scope["frn_onnx.log"] = fields
        answer = {"status": 0, "bytes_out": 0}

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


def _log(scope: Scope, answer: dict[str, int], fields: dict[str, Any], ms: float) -> None:
    client = scope.get("client")
    entry = {
        "client": f"{client[0]}:{client[1]}" if client else None,
        "method": scope["method"],
        "path": scope["path"],
        **answer,
        "ms": ms,
        **fields,
    }
    rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in entry.items()}
    ACCESS.info("request", extra={"fields": rounded})
