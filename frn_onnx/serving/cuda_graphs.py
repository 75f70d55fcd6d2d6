"""Runs whose launches are recorded as CUDA graphs, one for each shape.

A graph reads and writes the addresses that it was recorded with. So each shape has tensors of its
own on the device: inputs are copied into them, and outputs out of them. Where samples may run
together, only some numbers of them are recorded, and others rounded up.

While a graph is recorded, no other thread may allocate on the GPU or copy to it, and ONNX Runtime
keeps a graph for the thread that recorded it. So one thread makes all these runs, of all models.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort

from frn_onnx.serving.batcher import Run
from frn_onnx.serving.errors import RecordingError
from frn_onnx.serving.worker import Worker

# The first shapes get a graph, which ONNX Runtime keeps as long as the session; others have none.
_MOST_GRAPHS = 64
_KEY = "gpu_graph_id"  # of RunOptions
_NO_GRAPH = -1
# Runs of a shape until it is as fast as it will be: a plain one, a recording, a replay.
RUNS_TO_REPLAY = 3
# From so many samples on their recorded numbers are multiples of it, below it powers of two.
_STEP = 8


class RoundedUp:
    """Runs of any number of samples by runs of few numbers of them, which have a graph each.

    For models whose samples do not touch each other: what is added is the last one again.

    Args:
        run: runs the model.
        most: samples of the largest run that is rounded up.

    Attributes:
        sizes: the numbers of samples that are run, ascending.
    """

    def __init__(self, run: Run, most: int) -> None:
        self._run = run
        small = [2**i for i in range(_STEP.bit_length() - 1)]
        self.sizes = [size for size in (*small, *range(_STEP, most, _STEP)) if size < most] + [most]

    def run(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> dict[str, np.ndarray]:
        """Runs the model once, as ``Model.run`` does."""
        counts = {len(array) for array in feeds.values()}
        count = counts.pop() if len(counts) == 1 else 0
        size = next((size for size in self.sizes if size >= count), count) if count else 0
        if size == count:
            return self._run(feeds, outputs)
        filled = {name: _fill(array, size) for name, array in feeds.items()}
        return {name: array[:count] for name, array in self._run(filled, outputs).items()}

    def warm_up(self, sample: Mapping[str, np.ndarray], outputs: Sequence[str]) -> None:
        """Records them all, for the shapes of one sample, so that no request waits for that."""
        for size in self.sizes:
            feeds = {name: _fill(array, size) for name, array in sample.items()}
            for _ in range(RUNS_TO_REPLAY):
                self._run(feeds, outputs)


def _fill(array: np.ndarray, size: int) -> np.ndarray:
    """The array with its last row again and again, up to ``size`` rows."""
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


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
        graph = self._graphs.get(shapes)
        if graph is None:
            # An empty run launches next to nothing.
            is_empty = any(array.size == 0 for array in feeds.values())
            if is_empty or len(self._graphs) == _MOST_GRAPHS:
                options.add_run_config_entry(_KEY, str(_NO_GRAPH))
                arrays = self._session.run(list(outputs), dict(feeds), options)
                return dict(zip(outputs, arrays, strict=True))
            number = len(self._graphs) + 1  # 0 is ONNX Runtime's own
            graph = _Graph(self._session, feeds, self._device, number)
        values = graph.run(feeds, options)
        self._graphs[shapes] = graph  # a shape that the model takes
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


@cache
def _gpu_thread() -> Worker:
    return Worker("frn-onnx-cuda")
