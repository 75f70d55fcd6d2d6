"""Runs whose launches are recorded as CUDA graphs, one for each shape.

A graph reads and writes the addresses that it was recorded with. So each shape has tensors of its
own on the device: inputs are copied into them, and outputs out of them.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from frn_onnx.serving.errors import RecordingError

# The first shapes get a graph, which ONNX Runtime keeps as long as the session; others have none.
_MOST_GRAPHS = 64
_KEY = "gpu_graph_id"  # of RunOptions
_NO_GRAPH = -1
# While a graph is recorded, no other thread may allocate on the GPU or copy to it.
_ONE_AT_A_TIME = threading.Lock()


class CudaGraphs:
    """Runs a session through CUDA graphs. These belong to the thread that recorded them.

    Args:
        session: one that was made with the CUDA provider's ``enable_cuda_graph``.
        device: where the tensors are kept.
    """

    def __init__(self, session: Any, device: str = "cuda") -> None:
        self._session = session
        self._device = device
        self._graphs: dict[tuple, _Graph] = {}
        self._thread = 0

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str], options: Any
    ) -> dict[str, np.ndarray]:
        """Runs the model once, as ``Model.run`` does.

        Args:
            options: the ``onnxruntime.RunOptions`` of this run.

        Raises: RecordingError if the run cannot be recorded.
        """
        with _ONE_AT_A_TIME:
            if self._thread != threading.get_ident():
                self._thread, self._graphs = threading.get_ident(), {}
            return self._run(feeds, outputs, options)

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
            self._graphs[shapes] = _Graph(self._session, feeds, self._device, number)
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
