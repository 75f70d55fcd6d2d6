"""ONNX Runtime on the GPU: one FRN node, and a whole ResNet-50, with the plugin and without.

Inputs and outputs stay on the device (I/O binding). Sessions of one kind are compared with each
other before they are timed, and timed in turns.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import resnet50
from context import Context, Problem, SkipError, collect, problems, summary

# Largest difference between two ways to compute the same, over the largest output. float32 runs
# through TF32 convolutions (10 bits of fraction), float16 through 53 layers of halves.
TOLERANCE = {"float32": 0.02, "float16": 0.1}
_ROUNDS = 15


@dataclass
class Session:
    """A session whose input and output lie on the device it runs on."""

    model: onnx.ModelProto
    plugin: bool
    device: str
    options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        import onnxruntime as ort

        from frn_onnx import InferenceSession

        provider = "CUDAExecutionProvider" if self.device == "cuda" else "CPUExecutionProvider"
        providers = [(provider, dict(self.options))]
        if provider != "CPUExecutionProvider":
            providers.append(("CPUExecutionProvider", {}))
        settings = ort.SessionOptions()
        settings.log_severity_level = 3  # errors
        self._session = InferenceSession(self.model, settings, providers, plugin=self.plugin)
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


def _require(context: Context) -> str:
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


def run_operators(context: Context) -> dict:
    """One node on its own, as the plugin's kernel and as the eight primitives."""
    device = _require(context)
    wanted = problems(context, batches=(8, 64), images=(224,))
    if not context.dry_run:
        wanted = [p for p in wanted if p.channels in (64, 256, 2048)]
    return collect(context, wanted, lambda problem: operator_row(context, device, problem))


def operator_row(context: Context, device: str, problem: Problem) -> dict:
    """Plugin and primitives on one tensor."""
    from frn_onnx import lower

    n, c, side = problem.batch, problem.channels, problem.side
    shape = (n, side, side, c) if problem.layout == "NHWC" else (n, c, side, side)
    model = resnet50.single(shape, layout=problem.layout, dtype=problem.dtype)
    sessions = {
        "plugin": Session(model, True, device),
        "primitives": Session(lower(model, "primitives"), False, device),
    }
    x = np.random.default_rng(0).standard_normal(shape).astype(problem.dtype)
    for session in sessions.values():
        session.bind(x)
    difference = compare(sessions, problem.dtype)
    times = time_in_turns(context, {name: s.run for name, s in sessions.items()})
    return {
        **problem.to_dict(),
        "difference": difference,
        "ms": times,
        "speedup": times["primitives"]["median"] / times["plugin"]["median"],
    }


def run_resnet50(context: Context) -> dict:
    """A ResNet-50: FRN as primitives, FRN by the plugin, and the network with ReLU alone."""
    device = _require(context)
    batches = (2,) if context.dry_run else (64, 8, 1)
    settings = [
        {"dtype": dtype, "batch": batch, "nhwc": nhwc, "graph": graph}
        for dtype in ("float16", "float32")
        for batch in batches
        for nhwc in (False, True)
        for graph in (False, True)
    ]
    return collect(context, settings, lambda setting: network_row(context, device, **setting))


def network_row(
    context: Context, device: str, *, dtype: str, batch: int, nhwc: bool, graph: bool
) -> dict:
    """Three networks under one setting of the CUDA provider."""
    from frn_onnx import lower

    small = {"image": 64, "width": 8, "classes": 10} if context.dry_run else {}
    options = {}
    if device == "cuda":
        options = {"prefer_nhwc": str(int(nhwc)), "enable_cuda_graph": str(int(graph))}
    common = {"batch": batch, "dtype": dtype, **small}
    plain = resnet50.build(**common)
    # With NHWC convolutions, FRN in NHWC: ONNX Runtime then removes the Transposes around it.
    fitting = resnet50.build(**common, layout="NHWC") if nhwc else plain
    sessions = {
        "plugin": Session(fitting, True, device, options),
        "primitives": Session(lower(plain, "primitives"), False, device, options),
    }
    relu = Session(resnet50.build(**common, norm="relu"), False, device, options)
    image = small.get("image", 224)
    shape = (batch, 3, image, image)
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    for session in (*sessions.values(), relu):
        session.bind(x)
    difference = compare(sessions, dtype)
    compare({"relu": relu}, dtype)
    times = time_in_turns(context, {name: s.run for name, s in {**sessions, "relu": relu}.items()})
    medians = {name: value["median"] for name, value in times.items()}
    return {
        "dtype": dtype,
        "batch": batch,
        "prefer_nhwc": nhwc,
        "cuda_graph": graph,
        "difference": difference,
        "ms": times,
        "speedup": medians["primitives"] / medians["plugin"],
        "over_relu": medians["plugin"] / medians["relu"],
    }
