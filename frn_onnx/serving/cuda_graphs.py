"""Runs whose launches are recorded as CUDA graphs, one for each shape.

A graph reads and writes the addresses that it was recorded with. So each shape has tensors of its
own on the device: inputs are copied into them, and outputs out of them.

While a graph is recorded, no other thread may allocate on the GPU or copy to it, and ONNX Runtime
keeps a graph for the thread that recorded it. So one thread makes all these runs, of all models.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import cache
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnxruntime as ort

from frn_onnx.serving.errors import RecordingError

# The first shapes get a graph, which ONNX Runtime keeps as long as the session; others have none.
_MOST_GRAPHS = 64
_KEY = "gpu_graph_id"  # of RunOptions
_NO_GRAPH = -1
# Runs of a shape until it is as fast as it will be: a plain one, a recording, a replay.
RUNS_TO_REPLAY = 3


class CudaGraphs:
    """Runs a session through CUDA graphs.

    Args:
        session: one that was made with the CUDA provider's ``enable_cuda_graph``.
        device: where the tensors are kept.
    """

    def __init__(self, session: Any, device: str = "cuda") -> None:
        self._session = session
        self._device = device
        self._graphs: dict[tuple, _Graph] = {}

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str], options: Any
    ) -> dict[str, np.ndarray]:
        """Runs the model once, as ``Model.run`` does.

        Args:
            options: the ``onnxruntime.RunOptions`` of this run.

        Raises: RecordingError if the run cannot be recorded.
        """
        return _gpu_thread().call(lambda: self._run(feeds, outputs, options))

    def _run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str], options: Any
    ) -> dict[str, np.ndarray]:
        shapes = tuple((name, feeds[name].shape) for name in sorted(feeds))
        if shapes not in self._graphs:
            if len(self._graphs) == _MOST_GRAPHS:
                options.add_run_config_entry(_KEY, str(_NO_GRAPH))
                arrays = self._session.run(list(outputs), dict(feeds), options)
                return dict(zip(outputs, arrays, strict=True))
            number = len(self._graphs) + 1  # 0 is ONNX Runtime's own
            graph = _Graph(self._session, feeds, self._device, number)
            values = graph.run(feeds, options)
            self._graphs[shapes] = graph  # a shape that the model takes
        else:
            values = self._graphs[shapes].run(feeds, options)
        return {name: values[name].numpy() for name in outputs}


class _Graph:
    """One shape's tensors, bound. The first run has no graph yet: it tells the outputs' shapes."""

    def __init__(
        self, session: Any, feeds: Mapping[str, np.ndarray], device: str, number: int
    ) -> None:
        self._session = session
        self._number = number
        self._binding = session.io_binding()
        self._inputs = {
            name: ort.OrtValue.ortvalue_from_shape_and_type(array.shape, array.dtype, device, 0)
            for name, array in feeds.items()
        }
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        self._names = [output.name for output in session.get_outputs()]
        for name in self._names:
            self._binding.bind_output(name, device)
        self._outputs: dict[str, Any] = {}
        self._recorded = False

    def run(self, feeds: Mapping[str, np.ndarray], options: Any) -> dict[str, Any]:
        """The outputs, as OrtValues on the device that the next run writes again."""
        for name, value in self._inputs.items():
            value.update_inplace(np.ascontiguousarray(feeds[name]))
        if not self._outputs:
            options.add_run_config_entry(_KEY, str(_NO_GRAPH))
            self._session.run_with_iobinding(self._binding, options)
            self._outputs = dict(zip(self._names, self._binding.get_outputs(), strict=True))
            for name, value in self._outputs.items():
                self._binding.bind_ortvalue_output(name, value)
            return self._outputs
        options.add_run_config_entry(_KEY, str(self._number))
        try:
            self._session.run_with_iobinding(self._binding, options)
        except Exception as error:
            if self._recorded:
                raise
            raise RecordingError(
                "a run of the model cannot be recorded as a CUDA graph, as --cuda-graph asks; "
                f"serve it without: {error}"
            ) from error
        self._recorded = True
        return self._outputs


class _Thread:
    """Calls functions one after the other; ends with the process, whatever it is in."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], Future]] = SimpleQueue()
        threading.Thread(target=self._work, name="frn-onnx-cuda", daemon=True).start()

    def call(self, function: Callable[[], Any]) -> Any:
        """What the function returns, or raises."""
        future: Future = Future()
        self._calls.put((function, future))
        return future.result()

    def _work(self) -> None:
        while True:
            function, future = self._calls.get()
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)
            del function, future  # and the arrays they hold


@cache
def _gpu_thread() -> _Thread:
    return _Thread()
