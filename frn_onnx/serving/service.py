"""The models of a server, from a body to a body; no HTTP here."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from frn_onnx.errors import ArgumentError, FrnError, ModelError
from frn_onnx.serving import codec
from frn_onnx.serving.aside import Aside
from frn_onnx.serving.batcher import Batcher, Result, Run
from frn_onnx.serving.errors import ModelUnavailableError, NotFoundError, show
from frn_onnx.serving.json_numbers import SMALL_BYTES
from frn_onnx.serving.memory import MIB, Take
from frn_onnx.serving.metrics import Metrics
from frn_onnx.serving.model import VERSION, Model
from frn_onnx.serving.options import ModelOptions
from frn_onnx.serving.probe import PATIENCE_SECONDS, Probe, probe
from frn_onnx.serving.stats import Statistics
from frn_onnx.serving.triton_config import client_config

LOG = logging.getLogger("frn_onnx.serving")
# Fewer are written as JSON in the event loop.
_MANY_ELEMENTS = 8192


@dataclass(frozen=True)
class Answer:
    """The answer to an inference request.

    Attributes:
        pieces: the body as it goes out, but for a content coding.
        json_length: length of its JSON part where raw tensors follow, else None.
        id: the client's name for the request, or None.
        result: how it was computed.
        decode_seconds, encode_seconds: what reading the request and writing the answer took.
    """

    pieces: list[bytes | memoryview]
    json_length: int | None
    id: str | None
    result: Result
    decode_seconds: float
    encode_seconds: float


class ServedModel:
    """A model with its batcher, warmed up.

    Attributes:
        model, signature: the Model, and what it takes and gives.
        max_batch: most samples in one run; 1 where the model takes no batches.
        batching: one line that says whether requests are put together, and why not.
        health: whether it answers.
        aside: its threads for long work on bodies.
        config: Triton's configuration of the model.
    """

    def __init__(self, options: ModelOptions, metrics: Metrics) -> None:
        self._metrics = metrics
        self._statistics = Statistics()
        self.model = Model(options)
        max_batch_bytes = options.max_batch_mb * MIB
        probed = probe(self.model, options.max_batch, max_batch_bytes, PATIENCE_SECONDS)
        self.signature = self.model.signature
        self.max_batch = min(options.max_batch, probed.rows)
        tried = ", as many as were tried" if self.max_batch < options.max_batch else ""
        together = f"up to {self.max_batch} samples{tried}"
        self.batching = together if probed.stacks else probed.reason
        self.batcher = Batcher(
            _rounded_up(self.model, probed, self.max_batch)
            if options.cuda_graph
            else self.model.run,
            stop=self.model.stop,
            max_batch=self.max_batch,
            max_batch_bytes=max_batch_bytes,
            max_queue=options.max_queue,
            max_wait=options.max_wait,
            run_timeout=options.run_timeout,
            observe=self._ran,
        )
        self.health = self.batcher.health
        self.aside = Aside(f"frn-onnx-text-{self.signature.name}", options.max_wait)
        datatypes = {spec.datatype for spec in self.signature.inputs.values()}
        self._takes_texts = "BYTES" in datatypes
        for samples, seconds in probed.seconds.items():
            self.batcher.pace.note(samples, seconds)
        if probed.sample:
            self.batcher.set_sample(probed.sample, list(self.signature.outputs))
        kind = "cpu" if self.model.on_cpu else "gpu"
        self.config = client_config(self.signature, self.max_batch * probed.stacks, kind)
        metrics.model(self.signature.name, self.model.provider, options.device)
        metrics.watch("frn_onnx_queue_requests", lambda: self.batcher.waiting, self.signature.name)

    async def infer(self, body: memoryview, json_length: int | None, take: Take) -> Answer:
        """Answers one request.

        Args:
            body: without content coding.
            json_length: length of its JSON part; None where it is all JSON.
            take: told about the memory that is about to be used.

        Raises: RequestError or one of its subclasses.
        """
        start = time.perf_counter()
        text_bytes = len(body) if json_length is None or self._takes_texts else json_length
        request = await self.aside.read(
            text_bytes > SMALL_BYTES, codec.decode, body, json_length, self.signature, take
        )
        decode_seconds = time.perf_counter() - start
        result = await self.batcher.submit(request.inputs, list(request.outputs))
        start = time.perf_counter()
        take(sum(array.nbytes for array in result.outputs.values()))
        written = sum(
            result.outputs[name].size
            for name, as_binary in request.outputs.items()
            if not as_binary or self.signature.outputs[name].datatype == "BYTES"
        )
        pieces, length = await self.aside.write(
            written > _MANY_ELEMENTS, codec.encode, request, result.outputs, self.signature, take
        )
        encode_seconds = time.perf_counter() - start
        return Answer(pieces, length, request.id, result, decode_seconds, encode_seconds)

    def close(self) -> None:
        """Ends its threads."""
        self.batcher.close()
        self.aside.close()

    def count(self, status: int, seconds: float, answer: Answer | None) -> None:
        """A request was answered, with an error where there is no ``answer``."""
        self._metrics.request(self.signature.name, status, seconds)
        if answer is None or status >= 400:
            self._statistics.failed(seconds)
            return
        queue, run = answer.result.queue_seconds, answer.result.run_seconds
        self._metrics.add("frn_onnx_queue_seconds", queue, self.signature.name)
        self._statistics.answered(seconds, queue, answer.decode_seconds, run, answer.encode_seconds)

    def statistics(self) -> dict[str, Any]:
        """What it has done so far, as Triton's statistics extension tells it."""
        return self._statistics.to_dict(self.signature.name, self.signature.version)

    def _ran(self, samples: int, seconds: float) -> None:
        self._metrics.run(self.signature.name, samples, seconds)
        self._statistics.ran(samples, seconds)


def _rounded_up(model: Model, probed: Probe, max_batch: int) -> Run:
    """How a model is run whose runs are recorded: all that come often are, from the start."""
    if not probed.stacks:
        return model.run
    from frn_onnx.serving.cuda_graphs import RoundedUp

    rounded = RoundedUp(model.run, max_batch)
    rounded.warm_up(probed.sample, list(model.signature.outputs))
    return rounded.run


class Service:
    """The models of a server, by name.

    Attributes:
        models: name -> model, those that are served.
        broken: name -> why the model of this name is not.
    """

    def __init__(
        self, models: Sequence[ServedModel], broken: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.models = {served.signature.name: served for served in models}
        self.broken = broken

    def find(self, model: str, version: str | None = None) -> ServedModel:
        """A model.

        Raises:
            NotFoundError: there is none of this name and version.
            ModelUnavailableError: there is, and its file could not be loaded.
        """
        served = self.models.get(model)
        if model in self.broken:
            raise ModelUnavailableError(f"model {model!r} is not served: {self.broken[model]}")
        if served is None:
            raise NotFoundError(  # it begins as Triton's, whose clients look for that
                f"Request for unknown model: there is no model {show(model)}; this server has "
                f"{', '.join(map(repr, self.models)) or 'none'}"
            )
        if version is not None and version != served.signature.version:
            raise NotFoundError(
                f"model {model!r} has no version {show(version)}; it has "
                f"{served.signature.version!r}"
            )
        return served

    async def ready(self) -> bool:
        """Whether every model that was loaded can answer."""
        return all(served.health.ready for served in self.models.values())

    def live(self) -> bool:
        """Whether every model that was loaded answers, or may come to do so again."""
        return all(served.health.live for served in self.models.values())

    async def index(self) -> list[dict[str, str]]:
        """The protocol's repository index: every model's name, version and state."""
        ready = [
            {"name": name, "version": served.signature.version, **served.health.state()}
            for name, served in self.models.items()
        ]
        return ready + [
            {"name": name, "version": VERSION, "state": "UNAVAILABLE", "reason": reason}
            for name, reason in self.broken.items()
        ]

    def statistics(self) -> list[dict[str, Any]]:
        """What every model has done so far."""
        return [served.statistics() for served in self.models.values()]

    def close(self) -> None:
        """Ends the models' threads."""
        for served in self.models.values():
            served.close()


def load(models: Sequence[ModelOptions], metrics: Metrics, *, strict: bool = False) -> Service:
    """Loads models, each with a queue and a thread of its own.

    Args:
        models: at least one.
        metrics: told what the models do.
        strict: whether one that cannot be loaded is an error. Else it is logged, and the others
            are served.

    Raises:
        ArgumentError: no model, or two of one name.
        FrnError: the only model cannot be served, or with ``strict`` one of them.
        ModelError: none can.
    """
    _check_names(models)
    served: list[ServedModel] = []
    broken: dict[str, str] = {}
    for options in models:
        try:
            served.append(ServedModel(options, metrics))
        except Exception as error:
            if strict or len(models) == 1:
                Service(served).close()
                raise
            broken[options.served_name] = str(error)
            fields = {"model": options.served_name, "reason": str(error)}
            bug = None if isinstance(error, FrnError) else error
            LOG.error("a model is not served", extra={"fields": fields}, exc_info=bug)
    if not served:
        raise ModelError(
            f"none of the {len(models)} models can be served: {'; '.join(broken.values())}"
        )
    return Service(served, broken)


def _check_names(models: Sequence[ModelOptions]) -> None:
    """Raises ArgumentError if there is no model, or if two would have the same URL."""
    if not models:
        raise ArgumentError("there must be at least one model to serve, received none")
    files: dict[str, str] = {}
    for options in models:
        name, file = options.served_name, str(options.model)
        if name in files:
            raise ArgumentError(
                f"two models would be named {name!r}: {files[name]} and {file}; give one another "
                "name: NAME=FILE.onnx"
            )
        files[name] = file
