"""What the server counts, and where the counts go.

Every figure is told to a ``Metrics``, which by itself keeps none; ``PrometheusMetrics`` keeps
them for ``/metrics``, and the Ray host has its own for Ray's exporter.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import frn_onnx
from frn_onnx.errors import missing_dependency

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SAMPLES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
# Kind of a figure -> the method that takes a value, in prometheus_client as in Ray.
METHODS = {"counter": "inc", "gauge": "set", "histogram": "observe"}


class Figure(NamedTuple):
    """What is known of a figure before it has a value; a histogram has buckets."""

    kind: str
    text: str
    labels: tuple[str, ...] = ("model",)
    buckets: tuple[float, ...] = ()


def _seconds(text: str) -> Figure:
    return Figure("histogram", text, buckets=_SECONDS)


FIGURES = {
    "frn_onnx_requests": Figure("counter", "Inference requests answered."),
    "frn_onnx_errors": Figure(
        "counter", "Inference requests answered with an error.", ("model", "status")
    ),
    "frn_onnx_request_seconds": _seconds("From the head of an inference request to its answer."),
    "frn_onnx_run_seconds": _seconds("One run of the model."),
    "frn_onnx_batch_samples": Figure("histogram", "Samples in one run.", buckets=_SAMPLES),
    "frn_onnx_queue_requests": Figure("gauge", "Requests that wait for a run."),
    "frn_onnx_queue_seconds": _seconds("How long an answered request waited for its run."),
    "frn_onnx_rejections": Figure(
        "counter", "Requests that were refused, by what stood against them.", ("reason",)
    ),
    "frn_onnx_log_drops": Figure("counter", "Log lines that nobody took.", ()),
    "frn_onnx_bytes_in_flight": Figure("gauge", "Bytes that requests and their answers hold.", ()),
    "frn_onnx_info": Figure(
        "gauge",
        "1 for each model: what serves it.",
        ("version", "onnxruntime", "model", "provider", "device"),
    ),
}


class Metrics:
    """Is told every figure, and keeps none."""

    def add(self, name: str, value: float, *labels: str) -> None:
        """Adds to a counter, sets a gauge, or puts a value into a histogram.

        Args:
            name: one of ``FIGURES``.
            value: the value.
            labels: a value for each of the figure's labels, in their order.
        """

    def request(self, model: str, status: int, seconds: float) -> None:
        """An inference request was answered."""
        self.add("frn_onnx_requests", 1, model)
        self.add("frn_onnx_request_seconds", seconds, model)
        if status >= 400:
            self.add("frn_onnx_errors", 1, model, str(status))

    def run(self, model: str, samples: int, seconds: float) -> None:
        """The model ran once."""
        self.add("frn_onnx_run_seconds", seconds, model)
        self.add("frn_onnx_batch_samples", samples, model)

    def model(self, name: str, provider: str, device: str) -> None:
        """A model is served in an execution provider, where ``device`` was asked for."""
        import onnxruntime

        version = onnxruntime.__version__
        self.add("frn_onnx_info", 1, frn_onnx.__version__, version, name, provider, device)

    def reject(self, reason: str) -> None:
        """A request was refused unread or unanswered; ``reason`` is a word."""
        self.add("frn_onnx_rejections", 1, reason)

    def watch(self, name: str, value: Callable[[], float], *labels: str) -> None:
        """``value`` tells a gauge's value at any time; ``labels`` as in :meth:`add`."""


class PrometheusMetrics(Metrics):
    """Keeps the figures in a registry of its own, with the process' memory and files.

    Raises: DependencyError if prometheus_client is not installed.
    """

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise missing_dependency("prometheus_client", "serve", "/metrics") from error
        self.content_type: str = prometheus.CONTENT_TYPE_LATEST
        self._render = prometheus.generate_latest
        self._registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self._registry)
        self._figures: dict[str, Any] = {}
        for name, (kind, text, labels, buckets) in FIGURES.items():
            more = {"buckets": buckets} if buckets else {}
            make = getattr(prometheus, kind.title())
            self._figures[name] = make(name, text, labels, registry=self._registry, **more)
        # Looking a figure up by its labels takes longer than adding to it.
        self._add: dict[tuple[str, ...], Callable[[float], None]] = {}

    def add(self, name: str, value: float, *labels: str) -> None:
        add = self._add.get((name, *labels))
        if add is None:
            method = METHODS[FIGURES[name].kind]
            add = self._add[name, *labels] = getattr(self._child(name, labels), method)
        add(value)

    def watch(self, name: str, value: Callable[[], float], *labels: str) -> None:
        self._child(name, labels).set_function(value)

    def _child(self, name: str, labels: tuple[str, ...]) -> Any:
        figure = self._figures[name]
        return figure.labels(*labels) if labels else figure

    def render(self) -> bytes:
        """The figures in Prometheus' text format."""
        return self._render(self._registry)
