"""The host for one machine: one process, Starlette on uvicorn."""

import contextlib
import os
import resource
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frn_onnx.errors import ArgumentError, missing_dependency
from frn_onnx.serving import memory
from frn_onnx.serving.metrics import Metrics, PrometheusMetrics
from frn_onnx.serving.options import GRACE_SECONDS, Limits, ModelOptions

if TYPE_CHECKING:
    from starlette.types import ASGIApp


def serve(
    options: ModelOptions | Sequence[ModelOptions],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | os.PathLike | None = None,
    allowed_hosts: Sequence[str] = (),
    grace_seconds: int = GRACE_SECONDS,
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
        uds: path of a Unix socket to listen on, in place of ``host`` and ``port``.
        allowed_hosts: names under which the server is reached, besides the loopback's. Where it
            listens on the loopback, or names are given, other names and web pages are refused.
        grace_seconds: how long what is in flight may take when the server is told to stop.
        strict: whether one of several models that cannot be served is an error; else it is
            logged, and the others are served.
        metrics: whether ``/metrics`` is there.
        log_level: one of ``options.LOG_LEVELS``; probes are logged at ``"debug"`` alone.
        limits: on what a client may send; None takes the defaults.
        on_ready: told the URL, and then each ``ServedModel``, when the server answers.

    Raises:
        ArgumentError: the address cannot be listened on, or two models have the same name.
        ModelError: the model cannot be served, or none of several.
        DependencyError: the extra ``serve`` is not installed.
    """
    try:
        import uvicorn

        from frn_onnx.serving import app, guard, logs, server
        from frn_onnx.serving.service import load
    except ImportError as error:
        raise missing_dependency(error.name or "uvicorn", "serve", "frn-onnx serve") from error
    memory.return_what_is_free()
    limits = limits or Limits()
    kept: Metrics = PrometheusMetrics() if metrics else Metrics()
    models = [options] if isinstance(options, ModelOptions) else list(options)
    if grace_seconds < 0:
        raise ArgumentError(f"the grace must be at least 0 s, received {grace_seconds}")
    with (
        contextlib.ExitStack() as files,
        _listen(host, port) if uds is None else _listen_path(uds, files) as listener,
    ):
        logs.configure(log_level, kept)
        service = load(models, kept, strict=strict)
        application: ASGIApp = app.build_app(service, kept, limits)
        address = listener.getsockname()
        if allowed_hosts or (uds is None and guard.is_loopback(address[0])):
            application = guard.Guard(application, allowed_hosts, kept)
        _allow_many_connections()

        def refused(client: tuple[str, int] | None, status: int, text: str) -> None:
            logs.refused(client, status, text)
            kept.reject({400: "not_http", 408: "timeout", 431: "head_too_large"}[status])

        config = uvicorn.Config(
            logs.AccessLog(server.Answering(application)),
            http=server.connection(limits, refused),
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=grace_seconds,
        )
        where = f"unix:{os.fspath(uds)}" if uds is not None else url(*address[:2])
        server.Server(
            config,
            limits,
            on_ready=lambda: on_ready(where, *service.models.values()),
            on_stop=files.close,
        ).run([listener])


def _listen(host: str, port: int) -> socket.socket:
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
    return listener


class _PathListener(socket.socket):
    """A Unix socket that does not listen where nobody could reach it.

    Between bind and listen, while models are loaded, its file looks left over to another server.
    """

    def bind(self, address: Any) -> None:
        super().bind(address)
        self._own = _file(address)

    def listen(self, *backlog: int) -> None:
        super().listen(*backlog)
        if _file(self.getsockname()) != self._own:
            raise OSError("by now its file is another server's, or gone")


def _file(path: str) -> tuple[int, int] | None:
    """What no other file has while the socket is open; None where there is none."""
    identity = _identity(path)
    return identity and identity[:2]


def _listen_path(path: str | os.PathLike, files: contextlib.ExitStack) -> socket.socket:
    """A bound Unix socket, whose file goes when ``files`` are closed.

    A file that nobody listens on is replaced; one that another server has put there since stays.
    """
    listener = _PathListener(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(os.fspath(path))
            raise OSError("another server listens there")
        if Path(path).is_socket():
            Path(path).unlink()
        listener.bind(os.fspath(path))
    except OSError as error:
        listener.close()
        raise ArgumentError(
            f"cannot listen on the socket {os.fspath(path)!r}: {error}; choose another path with "
            "--uds"
        ) from error
    files.callback(_remove, path, _identity(path))
    return listener


def _remove(path: str | os.PathLike, own: tuple[int, int, int] | None) -> None:
    if own == _identity(path):
        Path(path).unlink(missing_ok=True)


def _identity(path: str | os.PathLike) -> tuple[int, int, int] | None:
    """What tells a file from another that took its path; None where there is none."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def url(host: str, port: int) -> str:
    """The address of a server, IPv6 in brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _allow_many_connections() -> None:
    """Raises the limit on open files, often 1024, as far as the system lets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
