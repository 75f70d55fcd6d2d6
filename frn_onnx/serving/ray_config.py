"""Writes the YAML that Ray Serve, ``frn-onnx serve --ray`` and KubeRay all take."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import model_io
from frn_onnx.serving.memory import MIB
from frn_onnx.serving.options import Limits, ModelOptions, check_name
from frn_onnx.whole import at_least

MODEL_DEPLOYMENT = "FrnModel"
FRONT_DEPLOYMENT = "FrnFront"
# Requests that a replica is reading or answering, beside those that run or wait.
_MARGIN = 32

_HEAD = """\
# Ray Serve applications, for: frn-onnx serve --ray, serve run, serve deploy, and
# serveConfigV2 of a KubeRay RayService. A model takes one application at /v2/models/NAME.
proxy_location: EveryNode
http_options:
  host: {host}
  port: {port}
applications:
- name: front
  route_prefix: /
  import_path: frn_onnx.serving.ray_host:front
  deployments:
  - name: {front}
    num_replicas: 1
    max_ongoing_requests: 100
    ray_actor_options:
      num_cpus: 0
"""

_MODEL = """\
- name: {name}
  route_prefix: /v2/models/{path}
  import_path: frn_onnx.serving.ray_host:model
  args:
{args}
  deployments:
  - name: {deployment}
{scale}
    # The replica itself refuses what it cannot hold, with Retry-After; Ray's limits, which
    # give none, lie behind that.
    max_ongoing_requests: {ongoing}
    max_queued_requests: 1000
    ray_actor_options:
      num_cpus: {threads}
      num_gpus: {num_gpus}
"""


@dataclass(frozen=True)
class Scale:
    """How many replicas a model gets, and what each takes.

    Attributes:
        replicas: how many, or how few with autoscaling.
        max_replicas: autoscale up to so many; None keeps ``replicas``.
        num_gpus: GPUs of one replica; a fraction shares one.

    Raises: ArgumentError for numbers that mean nothing.
    """

    replicas: int = 1
    max_replicas: int | None = None
    num_gpus: float = 0

    def __post_init__(self) -> None:
        at_least(1, "replicas", self.replicas)
        if self.max_replicas is not None and self.max_replicas < self.replicas:
            raise ArgumentError(
                f"max_replicas must be at least replicas={self.replicas}, "
                f"received {self.max_replicas}"
            )
        if not 0 <= self.num_gpus < math.inf:
            raise ArgumentError(f"num_gpus must be at least 0, received {self.num_gpus}")


def write(
    path: str | os.PathLike,
    models: Sequence[ModelOptions],
    scale: Scale,
    **options: Any,
) -> None:
    """Writes the YAML to a file; ``options`` are those of :func:`render`."""
    model_io.check_output(path, *(model.model for model in models))
    text = render(models, scale, **options)
    with model_io.replacing(Path(path)) as part:
        part.write_text(text)


def render(
    models: Sequence[ModelOptions],
    scale: Scale,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    max_body_mb: int = 64,
) -> str:
    """The YAML for some models, each scaled alike.

    ``threads`` is also the number of CPUs that Ray sets aside for a replica, so it must be given.

    Raises:
        ArgumentError: two models of one name, a number that means nothing, or CUDA without a GPU.
        ModelError: a file is not there.
    """
    Limits(body_bytes=max_body_mb * MIB)
    if not 1 <= port <= 65535:
        raise ArgumentError(f"port must be within 1..65535, received {port}")
    text = _HEAD.format(host=_yaml(host), port=port, front=FRONT_DEPLOYMENT)
    names: set[str] = set()
    for options in models:
        name = check_name(options.served_name)
        path = Path(options.model).resolve()
        if name in names or name == "front":
            raise ArgumentError(
                f"the name {name!r} is taken; give the model another: NAME=FILE.onnx"
            )
        if not path.is_file():
            raise ModelError(f"there is no model file at {str(path)!r}")
        if options.threads < 1:
            raise ArgumentError(
                f"a replica needs threads of its own, at least 1, received {options.threads}"
            )
        if options.device == "cuda" and not scale.num_gpus:
            raise ArgumentError(
                "device 'cuda' needs GPUs for each replica, for Ray hides the others; "
                "pass --num-gpus 1, or 0.5 for two replicas on one"
            )
        names.add(name)
        given = {**vars(options), "model": str(path), "name": name, "max_body_mb": max_body_mb}
        text += _MODEL.format(
            name=_yaml(name),
            path=name,
            args="\n".join(f"    {key}: {_yaml(value)}" for key, value in given.items()),
            threads=options.threads,
            deployment=MODEL_DEPLOYMENT,
            scale=_scale(scale, options.max_batch),
            ongoing=options.max_queue + options.max_batch + _MARGIN,
            num_gpus=scale.num_gpus,
        )
    return text


def _yaml(value: Any) -> str:
    """A scalar; texts are quoted, for "null" and "1.5" are names of models, too."""
    return ".inf" if value == math.inf else json.dumps(value)


def _scale(scale: Scale, max_batch: int) -> str:
    if scale.max_replicas is None:
        return f"    num_replicas: {scale.replicas}"
    return "\n".join(
        (
            "    autoscaling_config:",
            f"      min_replicas: {scale.replicas}",
            f"      max_replicas: {scale.max_replicas}",
            "      # About one full batch running and one waiting.",
            f"      target_ongoing_requests: {2 * max_batch}",
        )
    )
