"""``frn-onnx serve --ray``: a Ray of its own on this machine, ended without losing a request.

Ray's ``serve run`` drops what is in flight when it is told to stop. Here the applications are
deleted first, which waits for their requests, and Ray ends after them.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from frn_onnx.errors import ArgumentError, ModelError, missing_dependency
from frn_onnx.serving.embedded import url

# What Ray reads when it is imported.
_RAY_SETTINGS = {
    # A server should not report to anyone unless asked to.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Its 5 s are over before a proxy is there on a machine that is busy or has just been set up,
    # and a first proxy that is killed fails the whole start; after 60 s Ray gives up anyway.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # Ray's workers are nice to whatever else runs, by 15: replicas would start and answer when
    # all of that is done.
    "RAY_worker_niceness": "0",
}
_START_SECONDS = 600
_POLL_SECONDS = 0.2


def serve_config(path: str | os.PathLike, *, on_ready: Callable[[str], None]) -> None:
    """Serves the applications of a YAML file until SIGINT or SIGTERM.

    Always starts a Ray of its own: a cluster takes the same file with Ray's ``serve deploy``.

    Args:
        path: the YAML, for example from ``ray_config``.
        on_ready: told the URL when every application runs.

    Raises:
        ArgumentError: the file is not such a YAML, or asks for more than this machine has.
        ModelError: Ray Serve or an application did not start; the message is Ray's.
        DependencyError: the extra ``ray`` is not installed.
    """
    for name, value in _RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import yaml
        from ray import serve
        from ray.dashboard.modules.serve.sdk import ServeSubmissionClient
        from ray.serve.schema import ServeDeploySchema
    except ImportError as error:
        raise missing_dependency(error.name or "ray", "ray", "frn-onnx serve --ray") from error
    try:
        config = yaml.safe_load(Path(path).read_text())
        schema = ServeDeploySchema.model_validate(config)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ArgumentError(f"{os.fspath(path)!r} is not a Ray Serve config: {error}") from error
    stop = threading.Event()
    context = ray.init(address="local", namespace="serve", log_to_driver=False)
    handlers = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        _check_room(schema, ray.cluster_resources())
        _deploy(ServeSubmissionClient(f"http://{context.dashboard_url}"), config)
        names = [application.name for application in schema.applications]
        if _wait(serve, names, stop):
            http = schema.http_options
            on_ready(url(http.host, http.port))
            stop.wait()
        # Each waits for its requests, and behind HAProxy for half a minute besides.
        with ThreadPoolExecutor(len(names) or 1) as pool:
            list(pool.map(serve.delete, names))
    finally:
        serve.shutdown()
        ray.shutdown()
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _check_room(schema: Any, has: dict[str, float]) -> None:
    """Raises ArgumentError where the replicas can never all start: Ray would wait for ever."""
    wanted = {"CPU": 0.0, "GPU": 0.0}
    for deployment in (d for a in schema.applications for d in a.deployments):
        given = deployment.model_dump(exclude_unset=True)
        scaling = given.get("autoscaling_config") or {}
        replicas = scaling.get("min_replicas", given.get("num_replicas", 1))
        resources = given.get("ray_actor_options") or {}
        if isinstance(replicas, int):
            wanted["CPU"] += replicas * resources.get("num_cpus", 1)
            wanted["GPU"] += replicas * resources.get("num_gpus", 0)
    for kind, number in wanted.items():
        if number > has.get(kind, 0):
            raise ArgumentError(
                f"the replicas ask for {number:g} {kind}s, and this machine has "
                f"{has.get(kind, 0):g}; lower num_replicas, num_cpus or num_gpus in the YAML"
            )


def _deploy(client: Any, config: dict) -> None:
    """Hands the applications to Ray Serve, which starts its controller and its proxy first."""
    try:
        client.deploy_applications(config)
    except RuntimeError as error:
        # Ray's dashboard answers with the traceback of what went wrong in it, and a full stop.
        *_, last = str(error).rstrip(" .\n").splitlines()
        raise ModelError(f"Ray Serve did not start: {last.strip()}") from error


def _reason(application: Any) -> str:
    """Why an application failed: the last line of a replica's traceback, or Ray's own words."""
    texts = [d.message for d in application.deployments.values()] + [application.message]
    return next((text.strip().splitlines()[-1] for text in texts if text.strip()), "no reason")


def _wait(serve: Any, names: list[str], stop: threading.Event) -> bool:
    """Waits until every application runs; False if the server is told to stop before that."""
    end = time.monotonic() + _START_SECONDS
    while not stop.is_set():
        applications = serve.status().applications
        found = {name: applications[name] for name in names if name in applications}
        for name, application in found.items():
            if application.status in ("DEPLOY_FAILED", "UNHEALTHY"):
                raise ModelError(f"application {name!r} did not start: {_reason(application)}")
        if len(found) == len(names) and all(a.status == "RUNNING" for a in found.values()):
            return True
        if time.monotonic() > end:
            raise ModelError(f"the applications did not start within {_START_SECONDS} s: {found}")
        stop.wait(_POLL_SECONDS)
    return False
