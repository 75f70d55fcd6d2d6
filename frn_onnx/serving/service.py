"""The models of a server, from a body to a body; no HTTP here."""

from dataclasses import dataclass

from frn_onnx.serving import codec
from frn_onnx.serving.batcher import Batcher, Result
from frn_onnx.serving.errors import NotFoundError, show
from frn_onnx.serving.metrics import Metrics
from frn_onnx.serving.model import Model
from frn_onnx.serving.options import ModelOptions
from frn_onnx.serving.probe import probe


@dataclass(frozen=True)
class Answer:
    """The answer to an inference request.

    Attributes:
        body: as it goes out, but for a content coding.
        json_length: length of its JSON part where raw tensors follow, else None.
        id: the client's name for the request, or None.
        result: how it was computed.
    """

    body: bytes
    json_length: int | None
    id: str | None
    result: Result


class ServedModel:
    """A model with its batcher, warmed up.

    Attributes:
        model, signature: the Model, and what it takes and gives.
        max_batch: most samples in one run; 1 where the model takes no batches.
        batching: one line that says whether requests are put together, and why not.
    """

    def __init__(self, options: ModelOptions, metrics: Metrics) -> None:
        self.model = Model(
            options.model, name=options.name, device=options.device, threads=options.threads
        )
        self.signature = self.model.signature
        probed = probe(self.model)
        self.max_batch = options.max_batch if probed.stacks else 1
        self.batching = f"up to {self.max_batch} samples" if probed.stacks else probed.reason
        self.batcher = Batcher(
            self.model.run,
            max_batch=self.max_batch,
            max_queue=options.max_queue,
            observe=lambda samples, seconds: metrics.run(self.signature.name, samples, seconds),
        )
        metrics.watch_queue(self.signature.name, lambda: self.batcher.waiting)

    async def infer(self, body: bytes | memoryview, json_length: int | None) -> Answer:
        """Answers one request.

        Args:
            body: without content coding.
            json_length: length of its JSON part; None where it is all JSON.

        Raises: RequestError or one of its subclasses.
        """
        request = codec.decode(body, json_length, self.signature)
        result = await self.batcher.submit(request.inputs, list(request.outputs))
        answer, length = codec.encode(request, result.outputs, self.signature)
        return Answer(answer, length, request.id, result)


class Service:
    """The models of a server, by name."""

    def __init__(self, models: list[ServedModel]) -> None:
        self.models = {served.signature.name: served for served in models}

    def find(self, model: str, version: str | None = None) -> ServedModel:
        """A model; raises NotFoundError if there is none of this name and version."""
        served = self.models.get(model)
        if served is None:
            raise NotFoundError(
                f"there is no model {show(model)}; this server has "
                f"{', '.join(map(repr, self.models)) or 'none'}"
            )
        if version is not None and version != served.signature.version:
            raise NotFoundError(
                f"model {model!r} has no version {show(version)}; it has "
                f"{served.signature.version!r}"
            )
        return served

    async def ready(self) -> bool:
        """Whether every model can answer; here they were loaded before the server was."""
        return True

    async def index(self) -> list[dict[str, str]]:
        """The protocol's repository index: every model's name, version and state."""
        return [
            {"name": name, "version": served.signature.version, "state": "READY", "reason": ""}
            for name, served in self.models.items()
        ]

    def close(self) -> None:
        """Ends the models' threads."""
        for served in self.models.values():
            served.batcher.close()
