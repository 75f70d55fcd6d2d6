"""The host for a cluster: Ray Serve applications around the same core.

One application per model, at ``/v2/models/NAME``, with replicas, autoscaling and GPUs of its
own, and one, the front, at ``/`` for what belongs to the whole server. Ray's proxy picks the
longest prefix, so a client sees one server, and a tensor takes one hop.

The import paths for Ray's YAML are ``frn_onnx.serving.ray_host:model``, whose args are the
fields of ``ModelOptions`` and ``max_body_mb``, and ``frn_onnx.serving.ray_host:front``.
``ray_config`` writes such a file.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from ray import serve
from ray.serve import metrics as ray_metrics
from starlette.types import Receive, Scope, Send

from frn_onnx.errors import ArgumentError
from frn_onnx.serving.app import build_app
from frn_onnx.serving.errors import NotFoundError, UnsupportedError, show
from frn_onnx.serving.memory import MIB
from frn_onnx.serving.metrics import FIGURES, METHODS, Metrics
from frn_onnx.serving.model import VERSION
from frn_onnx.serving.options import Limits, ModelOptions, check_name
from frn_onnx.serving.ray_config import FRONT_DEPLOYMENT, MODEL_DEPLOYMENT
from frn_onnx.serving.service import ServedModel, Service


class RayMetrics(Metrics):
    """Hands the figures to Ray, which exports them with the replica they come from."""

    def __init__(self) -> None:
        self._watched: list[tuple[str, Callable[[], float], tuple[str, ...]]] = []
        self._figures: dict[str, Any] = {}
        for name, (kind, text, labels, buckets) in FIGURES.items():
            more = {"boundaries": list(buckets)} if buckets else {}
            own = f"{name}_total" if kind == "counter" else name
            make = getattr(ray_metrics, kind.title())
            self._figures[name] = make(own, description=text, tag_keys=labels, **more)

    def add(self, name: str, value: float, *labels: str) -> None:
        figure = FIGURES[name]
        tell = getattr(self._figures[name], METHODS[figure.kind])
        tell(value, tags=dict(zip(figure.labels, labels, strict=True)))

    def run(self, model: str, samples: int, seconds: float) -> None:
        super().run(model, samples, seconds)
        # Ray takes a gauge's value when it is set, not when it is asked for.
        for name, value, labels in self._watched:
            self.add(name, value(), *labels)

    def watch(self, name: str, value: Callable[[], float], *labels: str) -> None:
        self._watched.append((name, value, labels))


class FrontService(Service):
    """What belongs to the whole server; the models are applications of their own."""

    def __init__(self) -> None:
        super().__init__([])

    def find(self, model: str, version: str | None = None) -> ServedModel:
        """Only unknown models come here: a known one's prefix is longer than the front's."""
        raise NotFoundError(
            f"Request for unknown model: there is no model {show(model)}; POST "
            "/v2/repository/index lists those there are"
        )

    async def ready(self) -> bool:
        """Whether every model's application runs."""
        return all(model["state"] == "READY" for model in await self.index())

    def statistics(self) -> list[dict[str, Any]]:
        """Each replica has its own, and Ray's metrics their sums."""
        raise UnsupportedError(
            "statistics are each replica's own: ask /v2/models/NAME/stats for those of one, and "
            "Ray's metrics for all"
        )

    async def index(self) -> list[dict[str, str]]:
        """Every model's name, version and state, as Ray has them."""
        applications = (await asyncio.to_thread(serve.status)).applications
        return [
            {
                "name": name,
                "version": VERSION,
                "state": "READY" if application.status == "RUNNING" else "UNAVAILABLE",
                "reason": application.message,
            }
            for name, application in applications.items()
            if MODEL_DEPLOYMENT in application.deployments
        ]


def _forward() -> Any:
    """An ASGI application that hands every request to the replica it finds itself in.

    Ray makes it in the replica, where the deployment's object is not known until it is ready.
    """

    async def forward(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{event}.complete"})
            return
        replica = serve.get_replica_context().servable_object
        # Ray mounts the application at its prefix; its routes are written from the root.
        await replica.http({**scope, "root_path": ""}, receive, send)

    return forward


@serve.deployment(name=MODEL_DEPLOYMENT)
@serve.ingress(_forward)
class ModelReplica:
    """One replica of one model."""

    def __init__(self, options: ModelOptions, limits: Limits) -> None:
        metrics = RayMetrics()
        self._service = Service([ServedModel(options, metrics)])
        self.http = build_app(self._service, metrics, limits)

    async def check_health(self) -> None:
        """Asked by Ray every 10 s; a replica that fails this three times in a row is replaced."""
        for model in await self._service.index():
            if model["state"] != "READY":
                raise RuntimeError(f"model {model['name']!r} is not ready: {model['reason']}")


@serve.deployment(name=FRONT_DEPLOYMENT)
@serve.ingress(_forward)
class Front:
    """Server metadata, health, the models' index, the status page."""

    def __init__(self) -> None:
        self.http = build_app(FrontService(), Metrics())


def model(args: dict[str, Any]) -> serve.Application:
    """A model's application, from the args in Ray's YAML.

    Raises: ArgumentError for an unknown or missing argument.
    """
    args = dict(args)
    body_mb = args.pop("max_body_mb", None)
    limits = Limits() if body_mb is None else Limits(body_bytes=int(body_mb * MIB))
    try:
        options = ModelOptions(**args)
    except TypeError as error:
        fields = ", ".join(ModelOptions.__dataclass_fields__)
        raise ArgumentError(
            f"the args of a model must be among {fields}, max_body_mb, with model: {error}"
        ) from None
    check_name(options.served_name)
    return ModelReplica.bind(options, limits)  # type: ignore[attr-defined]


def front(args: dict[str, Any]) -> serve.Application:
    """The front's application; it takes no args."""
    if args:
        raise ArgumentError(f"the front takes no args, received {show(args)}")
    return Front.bind()  # type: ignore[attr-defined]
