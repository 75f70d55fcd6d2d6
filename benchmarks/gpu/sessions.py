"""ONNX Runtime's sessions on the GPU, as the stages compare and time them.

Inputs and outputs stay on the device (I/O binding). Sessions of one kind are compared with each
other before they are timed, and timed in turns.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from context import Context, SkipError, summary

# Largest difference between two ways to compute the same, over the largest output. float32 runs
# through TF32 convolutions (10 bits of fraction), float16 through 53 layers of halves.
TOLERANCE = {"float32": 0.02, "float16": 0.1}
_ROUNDS = 15


@dataclass
class Session:
    """A session whose input and output lie on the device it runs on.

    ``operators`` says how many nodes of each type are left when ONNX Runtime has optimised them.
    """

    model: onnx.ModelProto
    plugin: bool
    device: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import onnxruntime as ort

        from frn_onnx import InferenceSession

        providers: list[tuple[str, dict[str, str]]] = [("CPUExecutionProvider", {})]
        if self.device == "cuda":
            providers.insert(0, ("CUDAExecutionProvider", dict(self.options)))
        provider = providers[0][0]
        settings = ort.SessionOptions()
        settings.log_severity_level = 3  # errors
        with TemporaryDirectory() as folder:
            path = Path(folder, "optimised.onnx")
            settings.optimized_model_filepath = str(path)
            self._session = InferenceSession(self.model, settings, providers, plugin=self.plugin)
            self.operators = Counter(node.op_type for node in onnx.load(path).graph.node)
        if provider not in self._session.get_providers():
            raise SkipError(f"ONNX Runtime does not start {provider}")
        self._ort = ort
        self._binding = self._session.io_binding()

    def bind(self, x: np.ndarray) -> None:
        """Takes x to the device, and makes room for the output there."""
        (given,), (result,) = self._session.get_inputs(), self._session.get_outputs()
        x_value = self._ort.OrtValue.ortvalue_from_numpy(x, self.device, 0)
        y = np.zeros(result.shape, x.dtype)
        self._y = self._ort.OrtValue.ortvalue_from_numpy(y, self.device, 0)
        self._binding.bind_ortvalue_input(given.name, x_value)
        self._binding.bind_ortvalue_output(result.name, self._y)

    def run(self) -> None:
        """One run to its end."""
        self._session.run_with_iobinding(self._binding)

    def output(self) -> np.ndarray:
        return self._y.numpy()


def time_in_turns(context: Context, runs: Mapping[str, Callable[[], None]]) -> dict[str, dict]:
    """Milliseconds of each, one after the other for some rounds, so that drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(2 if context.dry_run else _ROUNDS):
        for name, run in runs.items():
            begin = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - begin) * 1e3)
        if not context.in_time:
            break
    return {name: summary(values) for name, values in times.items()}


def compare(sessions: Mapping[str, Session], dtype: str) -> float:
    """Runs each session twice (the second run may be a CUDA graph's); the largest difference.

    Raises:
        RuntimeError: it is beyond TOLERANCE, or an output is not finite.
    """
    outputs = {}
    for name, session in sessions.items():
        session.run()
        session.run()
        outputs[name] = session.output().astype(np.float64)
    first, *others = outputs.values()
    scale = np.abs(first).max()
    worst = max((float(np.abs(other - first).max() / scale) for other in others), default=0.0)
    finite = all(np.isfinite(output).all() for output in outputs.values())
    if not finite or not worst < TOLERANCE[dtype]:
        raise RuntimeError(
            f"the outputs of {', '.join(outputs)} differ by {worst:.3g} of the largest, expected "
            f"under {TOLERANCE[dtype]}"
        )
    return worst


def device_for(context: Context) -> str:
    """The device to bind to.

    Raises:
        SkipError: ONNX Runtime, or its CUDA provider, is not there.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise SkipError("ONNX Runtime is not installed") from error
    if context.dry_run:
        return "cpu"
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise SkipError("this ONNX Runtime has no CUDAExecutionProvider; install onnxruntime-gpu")
    return "cuda"
