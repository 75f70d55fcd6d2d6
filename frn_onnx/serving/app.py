"""The HTTP interface: V2 REST as a Starlette application, the same on every host.

Whatever a client sends is answered in JSON, ``{"error": "..."}`` where it cannot be done.

Source: Open Inference Protocol, REST, https://github.com/kserve/open-inference-protocol
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

import frn_onnx
from frn_onnx.serving import content, openapi
from frn_onnx.serving.aside import Aside
from frn_onnx.serving.codec import LENGTH_HEADER, parse_length
from frn_onnx.serving.errors import (
    CLIENT_GONE,
    MethodError,
    ModelUnavailableError,
    NotFoundError,
    RequestError,
    RequestTimeoutError,
    UnsupportedError,
    show,
)
from frn_onnx.serving.memory import Budget, Lease, Take, trim
from frn_onnx.serving.metrics import Metrics, PrometheusMetrics
from frn_onnx.serving.options import Limits
from frn_onnx.serving.service import Answer, Service

LOG = logging.getLogger("frn_onnx.serving")
_JSON = "application/json"
# Shorter bodies are (de)compressed at once: a thread would cost more.
_LARGE_BYTES = 16 * 1024
# So much of the client's own name for a request goes into the log; a body may be all name.
_LOGGED_ID = 128
# The page loads nothing and talks to this server only.
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Handlers:
    """The endpoints over one service."""

    def __init__(self, service: Service, metrics: Metrics, limits: Limits) -> None:
        self._service = service
        self._metrics = metrics
        self._limits = limits
        self._budget = Budget(limits.memory_bytes, on_idle=trim)
        metrics.watch("frn_onnx_bytes_in_flight", lambda: self._budget.used)
        self._aside = Aside("frn-onnx-text")  # for bodies that are no model's
        self._page = (resources.files(__package__) / "page.html").read_bytes()

    def routes(self) -> list[Route]:
        """Every path of the server; the one that has to be fast is first."""
        routes = [
            *_of_model("/infer", self.infer, "POST"),
            *_of_model("/ready", self.model_ready),
            *_of_model("/config", self.model_config),
            Route("/v2/models/stats", self.statistics),
            *_of_model("/stats", self.model_statistics),
            *_of_model("", self.model_metadata),
            Route("/v2", self.server_metadata),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
            Route("/v2/repository/index", self.index, methods=["POST"]),
            Route("/v2/repository/models/{model}/{change}", self.change, methods=["POST"]),
            Route("/openapi.json", self.openapi),
            Route("/", self.page),
        ]
        if isinstance(self._metrics, PrometheusMetrics):
            routes.append(Route("/metrics", self.metrics))
        return routes

    async def infer(self, request: Request) -> Response:
        start = time.perf_counter()
        served = self._service.find(**request.path_params)
        log: dict[str, Any] = request.scope.setdefault("frn_onnx.log", {})
        log["model"] = served.signature.name
        status, answer, response = 500, None, None
        lease = Lease(self._budget)
        try:
            served.batcher.check_room()
            json_length = parse_length(request.headers.get(LENGTH_HEADER))
            body = await self._body(request, json_length, lease.take, served.aside)
            answer = await served.infer(body, json_length, lease.take)
            accept = request.headers.get("accept-encoding")
            response = await _response(answer, accept, lease, served.aside)
            status = 200
        except RequestError as error:
            status = error.status
            raise
        except asyncio.CancelledError:
            status = CLIENT_GONE
            raise
        finally:
            if response is None:
                lease.close()  # else it does when it is sent
            seconds = time.perf_counter() - start
            # Counted behind the answer's back: it leaves at the end of this turn of the loop.
            asyncio.get_running_loop().call_soon(served.count, status, seconds, answer)
        result = answer.result
        times = {"queue_ms": 1e3 * result.queue_seconds, "run_ms": 1e3 * result.run_seconds}
        log.update(batch=result.batch, **times)
        if answer.id is not None:
            log["id"] = answer.id[:_LOGGED_ID]
        return response

    async def _body(
        self, request: Request, json_length: int | None, take: Take, aside: Aside
    ) -> memoryview:
        """The whole body, without its content coding."""
        coding = content.check_coding(request.headers.get("content-encoding"))
        limit = self._limits.body_bytes
        announced = request.headers.get("content-length", "")
        length = int(announced) if announced.isdigit() else 0
        if length > limit and "expect" in request.headers:
            raise content.too_large(limit)  # the client waits for leave to send it
        body = content.Body(length, json_length or 0, limit, take)
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                # What is too much is read all the same, and dropped: a client that is still
                # sending would find the connection broken in place of the answer.
                async for chunk in request.stream():
                    body.append(chunk)
        except TimeoutError:
            if body.size <= limit:
                raise RequestTimeoutError(
                    f"the body must arrive within {self._limits.body_seconds:g} s; {body.size} "
                    f"bytes came of {announced or 'an unknown number'}"
                ) from None
        except ClientDisconnect:
            raise RequestError("the client went before the whole body had come") from None
        request.scope.setdefault("frn_onnx.log", {})["bytes_in"] = body.size
        if body.size > limit:
            raise content.too_large(limit)
        if coding is None:
            return body.whole()
        is_large = body.size >= _LARGE_BYTES
        return await aside.read(is_large, content.decompress, body.whole(), coding, limit, take)

    async def model_ready(self, request: Request) -> Response:
        name = request.path_params["model"]
        try:
            ready = self._service.find(**request.path_params).health.ready
        except ModelUnavailableError as error:
            return _json({"name": name, "ready": False, "error": str(error)}, 503)
        return _json({"name": name, "ready": ready}, 200 if ready else 503)

    async def model_metadata(self, request: Request) -> Response:
        return _json(self._service.find(**request.path_params).signature.metadata())

    async def model_config(self, request: Request) -> Response:
        return _json(self._service.find(**request.path_params).config)

    async def model_statistics(self, request: Request) -> Response:
        served = self._service.find(**request.path_params)
        return _json({"model_stats": [served.statistics()]})

    async def statistics(self, request: Request) -> Response:
        return _json({"model_stats": self._service.statistics()})

    async def change(self, request: Request) -> Response:
        raise UnsupportedError(
            "this server loads its models when it starts, and does not load or unload any later; "
            "start it again with other files"
        )

    async def server_metadata(self, request: Request) -> Response:
        return _json(
            {
                "name": "frn_onnx",
                "version": frn_onnx.__version__,
                "extensions": ["binary_tensor_data", "model_configuration", "statistics"],
            }
        )

    async def live(self, request: Request) -> Response:
        live = self._service.live()
        return _json({"live": live}, 200 if live else 503)

    async def ready(self, request: Request) -> Response:
        ready = await self._service.ready()
        return _json({"ready": ready}, 200 if ready else 503)

    async def index(self, request: Request) -> Response:
        try:
            with contextlib.closing(Lease(self._budget)) as lease:
                body = await self._body(request, None, lease.take, self._aside)
                message = orjson.loads(body or b"{}")
        except orjson.JSONDecodeError as error:
            raise RequestError(f"the body must be JSON, or empty, and is not: {error}") from None
        models = await self._service.index()
        if isinstance(message, dict) and message.get("ready") is True:
            models = [model for model in models if model["state"] == "READY"]
        return _json(models)

    async def openapi(self, request: Request) -> Response:
        return _json(openapi.describe(self._service, request.app.routes))

    async def page(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html; charset=utf-8", headers=_PAGE_HEADERS)

    async def metrics(self, request: Request) -> Response:
        assert isinstance(self._metrics, PrometheusMetrics)
        return Response(
            self._metrics.render(), headers={"Content-Type": self._metrics.content_type}
        )


def _of_model(end: str, handler: Callable[..., Awaitable[Response]], method: str = "GET") -> list:
    """A path of every model, which may name its version."""
    roots = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
    return [Route(root + end, handler, methods=[method]) for root in roots]


def build_app(service: Service, metrics: Metrics, limits: Limits | None = None) -> Starlette:
    """The application.

    Args:
        service: the models.
        metrics: told of every request; ``/metrics`` is there if it is a PrometheusMetrics.
        limits: None takes the defaults.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        service.close()

    async def on_request_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestError)
        return error_response(request.scope, error, metrics)

    return Starlette(
        routes=_Handlers(service, metrics, limits or Limits()).routes(),
        lifespan=lifespan,
        exception_handlers={
            RequestError: on_request_error,
            404: _on_unknown_path,
            405: _on_wrong_method,
            Exception: _on_bug,
        },
    )


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(orjson.dumps(value), status, headers, media_type=_JSON)


class _Answer(Response):
    """An answer in pieces, which are held until they are sent."""

    def __init__(
        self, pieces: Sequence[bytes | memoryview], headers: Mapping[str, str], lease: Lease
    ) -> None:
        super().__init__(headers=headers)
        self.headers["Content-Length"] = str(sum(map(len, pieces)))
        self._pieces = pieces
        self._lease = lease

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            await send(start)
            before = b""
            for part in content.in_parts(self._pieces):
                if before:
                    await send({"type": "http.response.body", "body": before, "more_body": True})
                before = part
            await send({"type": "http.response.body", "body": before, "more_body": False})
        finally:
            self._lease.close()


async def _response(answer: Answer, accept: str | None, lease: Lease, aside: Aside) -> Response:
    pieces, has_binary = answer.pieces, answer.json_length is not None
    headers = {"Content-Type": "application/octet-stream" if has_binary else _JSON}
    if has_binary:
        headers[LENGTH_HEADER] = str(answer.json_length)
    length = sum(map(len, pieces))
    coding = content.choose_coding(accept, length=length, has_binary=has_binary)
    if coding:
        headers["Content-Encoding"] = coding
        headers["Vary"] = "Accept-Encoding"
        is_large = length >= _LARGE_BYTES
        pieces = await aside.write(is_large, content.compress, pieces, coding, lease.take)
    return _Answer(pieces, headers, lease)


def error_response(scope: Scope, error: RequestError, metrics: Metrics | None = None) -> Response:
    """The answer to a request that cannot be done; noted for the log and the metrics."""
    if metrics is not None and error.rejection:
        metrics.reject(error.rejection)
    scope.setdefault("frn_onnx.log", {})["error"] = str(error)
    return _json({"error": str(error)}, error.status, error.headers)


async def _on_unknown_path(request: Request, error: Exception) -> Response:
    text = f"there is nothing at {show(request.url.path)}; the API is under /v2"
    return error_response(request.scope, NotFoundError(text))


async def _on_wrong_method(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    allowed = error.headers["Allow"]
    text = f"{show(request.url.path)} takes {allowed}, received {show(request.method)}"
    return error_response(request.scope, MethodError(text, allowed))


async def _on_bug(request: Request, error: Exception) -> Response:
    LOG.error("unexpected error", exc_info=error)
    return _json({"error": "an error inside the server; its log has the details"}, 500)
