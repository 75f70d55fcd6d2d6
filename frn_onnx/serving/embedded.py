"""The host for one machine: one process, Starlette on uvicorn."""

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from frn_onnx.errors import ArgumentError, missing_dependency
from frn_onnx.serving.metrics import Metrics, PrometheusMetrics
from frn_onnx.serving.options import Limits, ModelOptions

if TYPE_CHECKING:
    from frn_onnx.serving.service import ServedModel

# What is in flight when the server is told to stop may take this long.
GRACE_SECONDS = 30
# Clients keep connections for reuse; uvicorn's own 5 s breaks them between two requests.
_KEEP_ALIVE_SECONDS = 75


def serve(
    options: ModelOptions,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    metrics: bool = True,
    limits: Limits | None = None,
    on_ready: "Callable[[str, ServedModel], None]" = lambda address, served: None,
) -> None:
    """Serves a model until SIGINT or SIGTERM, and then answers what is in flight.

    The model is loaded and has run before the port answers, so whoever can connect finds it
    ready.

    Args:
        options: the model.
        host: address to listen on; ``"0.0.0.0"`` is every interface.
        port: 0 takes a free one.
        metrics: whether ``/metrics`` is there.
        limits: on what a client may send; None takes the defaults.
        on_ready: told the URL and the model when the server answers.

    Raises:
        ArgumentError: the address cannot be listened on.
        ModelError: the model cannot be served.
        DependencyError: the extra ``serve`` is not installed.
    """
    try:
        import uvicorn

        from frn_onnx.serving import app, logs, server
        from frn_onnx.serving.service import ServedModel, Service
    except ImportError as error:
        raise missing_dependency(error.name or "uvicorn", "serve", "frn-onnx serve") from error
    limits = limits or Limits()
    kept: Metrics = PrometheusMetrics() if metrics else Metrics()
    with _listen(host, port) as listener:
        served = ServedModel(options, kept)
        application = app.build_app(Service([served]), kept, limits)
        logs.configure()
        _allow_many_connections()
        config = uvicorn.Config(
            logs.AccessLog(application),
            http=server.limited(limits),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server.AnnouncingServer(
            config, lambda: on_ready(url(*listener.getsockname()[:2]), served)
        ).run([listener])


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    """A bound socket."""
    if not 0 <= port <= 65535:  # getaddrinfo takes more, modulo 65536
        raise ArgumentError(f"port must be within 0..65535, received {port}; 0 takes a free one")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise ArgumentError(
            f"cannot listen on {host}, port {port}: {error}; choose another with --host and --port "
            "(--port 0 takes a free one)"
        ) from error
    with listener:
        yield listener


def url(host: str, port: int) -> str:
    """The address of a server, IPv6 in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_many_connections() -> None:
    """Raises the limit on open files, often 1024, as far as the system lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
