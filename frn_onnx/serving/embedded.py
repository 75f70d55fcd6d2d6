"""The host for one machine: one process, Starlette on uvicorn."""

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator, Sequence

from frn_onnx.errors import ArgumentError, missing_dependency
from frn_onnx.serving.metrics import Metrics, PrometheusMetrics
from frn_onnx.serving.options import Limits, ModelOptions

# What is in flight when the server is told to stop may take this long.
GRACE_SECONDS = 30
# Clients keep connections for reuse; uvicorn's own 5 s breaks them between two requests.
_KEEP_ALIVE_SECONDS = 75


def serve(
    options: ModelOptions | Sequence[ModelOptions],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    strict: bool = False,
    metrics: bool = True,
    log_level: str = "info",
    limits: Limits | None = None,
    on_ready: Callable[..., None] = lambda address, *served: None,
) -> None:
    """Serves models until SIGINT or SIGTERM, and then answers what is in flight.

    The models are loaded and have run before the port answers, so whoever can connect finds them
    ready.

    Args:
        options: the model, or several, each with a queue of its own.
        host: address to listen on; ``"0.0.0.0"`` is every interface.
        port: 0 takes a free one.
        strict: whether one of several models that cannot be served is an error; else it is
            logged, and the others are served.
        metrics: whether ``/metrics`` is there.
        log_level: one of ``logs.LEVELS``; probes are logged at ``"debug"`` alone.
        limits: on what a client may send; None takes the defaults.
        on_ready: told the URL, and then each ``ServedModel``, when the server answers.

    Raises:
        ArgumentError: the address cannot be listened on, or two models have the same name.
        ModelError: the model cannot be served, or none of several.
        DependencyError: the extra ``serve`` is not installed.
    """
    try:
        import uvicorn

        from frn_onnx.serving import app, logs, server
        from frn_onnx.serving.service import load
    except ImportError as error:
        raise missing_dependency(error.name or "uvicorn", "serve", "frn-onnx serve") from error
    limits = limits or Limits()
    kept: Metrics = PrometheusMetrics() if metrics else Metrics()
    models = [options] if isinstance(options, ModelOptions) else list(options)
    with _listen(host, port) as listener:
        logs.configure(log_level, kept)
        service = load(models, kept, strict=strict)
        application = app.build_app(service, kept, limits)
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
            config, lambda: on_ready(url(*listener.getsockname()[:2]), *service.models.values())
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
