"""One case: a graph, what fuse, lower and convert make of it, and whether it computes the same."""

import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
import onnx

from frn_onnx.errors import FrnError
from frn_onnx.graph.forms import FORMS
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.half import convert
from frn_onnx.graph.lowering import lower
from fuzz.arithmetic import PARAMETERS, Invalid
from fuzz.bases import Base
from fuzz.graphs import Graph, model_results
from fuzz.mutations import mutate

SLOWEST_S = 20
# Relative to the largest output: parameters are stored in the file's type, and nothing else is
# rounded. Another function differs in the first digits.
_RTOL = 1e-4
_RTOL_HALF = 2e-2
_HALF = "float16"


@dataclass(frozen=True)
class Finding:
    """What is wrong with a case.

    Attributes:
        kind: "wrong", "error", "slow" or "probe".
        text: in words.
    """

    kind: str
    text: str


@dataclass(frozen=True)
class Outcome:
    """What came of a case: the nodes fused, whether it was left with reasons, what is wrong."""

    fused: int
    skipped: int
    finding: Finding | None


def graph_of(seed: int, index: int) -> Graph:
    """The graph of a case."""
    random = Random(f"{seed}/{index}")
    while True:
        base = Base(random)
        try:
            single = random.random() < 0.75
            graph = base.single() if single else base.region()
            graph.refresh()
        except (Invalid, IndexError):
            continue
        counts = (0, 1, 1, 1, 2, 2, 3, 5) if single else (0, 0, 0, 0, 1, 1, 2, 3)
        for _ in range(random.choice(counts)):
            graph = mutate(graph, random)
        return graph


class _Faults(logging.Handler):
    """Collects what the package reports as a fault of its own."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def judge(graph: Graph, random: Random) -> Outcome:
    """Fuses a graph and compares the results."""
    faults = _Faults()
    logger = logging.getLogger("frn_onnx")
    logger.addHandler(faults)
    try:
        return _judge(graph, random, faults)
    finally:
        logger.removeHandler(faults)


def _judge(graph: Graph, random: Random, faults: _Faults) -> Outcome:
    model = graph.model()
    before = model.SerializeToString()
    form = random.choice(("custom", "custom", *FORMS))
    fused = skipped = 0

    def outcome(kind: str, text: str) -> Outcome:
        return Outcome(fused, skipped, Finding(kind, text))

    try:
        with _limit(SLOWEST_S):
            result = fuse(model, form=form)
            fused, skipped, made = len(result.fused), len(result.skipped), result.model
            if fused and graph.type == onnx.TensorProto.FLOAT and random.random() < 0.15:
                form, made = _HALF, convert(made)
            elif fused and random.random() < 0.2:
                form = random.choice(FORMS)
                made = lower(made, form)
    except TimeoutError:
        return outcome("slow", f"longer than {SLOWEST_S} s")
    except FrnError as error:
        # A valid graph is no reason for an error, but for forms that its opset has no ops for.
        return outcome("error", f"{type(error).__name__}: {error}")
    except Exception as error:
        return outcome("error", f"{type(error).__name__}: {error}")
    if model.SerializeToString() != before:
        return outcome("wrong", "the model that was given is changed")
    if faults.texts:
        return outcome("probe", faults.texts[0])
    if _names(made) != _names(model):
        return outcome("wrong", f"inputs and outputs {_names(model)} became {_names(made)}")
    if not fused and _same_nodes(model, made):
        return Outcome(0, skipped, None)
    try:
        onnx.checker.check_model(made)
    except onnx.checker.ValidationError as error:
        return outcome("wrong", f"the {form} model is invalid: {error}")
    for shape in graph.shapes():
        x = graph.data(1, shape)
        try:
            truth = graph.results(x)
        except Invalid:
            continue
        try:
            results = model_results(made, x, graph.type)
        except Invalid as error:
            if str(error).endswith(PARAMETERS) and any(isinstance(d, str) for d in graph.dims):
                # Where the number of channels is open, the parameters say it, and x of one
                # channel, which the original would broadcast, is none that fits them.
                continue
            return outcome("wrong", f"the {form} model does not run on x {shape}: {error}")
        rtol = _RTOL_HALF if form == _HALF or _has_half(graph) else _RTOL
        if _is_open(graph, x):
            continue
        rounded = graph.in_half() if form == _HALF else graph.rounded_once_more()
        text = difference(truth, results, rtol)
        # But where the function makes much of the rounding of its constants.
        if text and not difference(truth, rounded.results(x), rtol / 4):
            return outcome("wrong", f"form {form}, x {shape}: {text}")
    return Outcome(fused, skipped, None)


def _names(model: onnx.ModelProto) -> list[str]:
    """The names that a caller knows a model by."""
    return [value.name for value in (*model.graph.input, *model.graph.output)]


def _is_open(graph: Graph, x: np.ndarray) -> bool:
    """Whether FRN gives something else than its ops, which is meant, and may be made much of.

    A NaN in a Where: where(y > t, y, t) gives t, and FRN NaN. A quotient of a zero, infinite with
    the zero's sign: -0, and the beta of 0 that FRN adds, are 0.
    """
    values = graph.run(x)
    ops = {node.op for node in graph.nodes}
    if "Where" in ops and any(np.isnan(value.array).any() for value in values.values()):
        return True
    quotients = (node.output for node in graph.nodes if node.op in {"Div", "Reciprocal", "Pow"})
    return any(np.isinf(values[name].array).any() for name in quotients)


def _has_half(graph: Graph) -> bool:
    """Whether anything is rounded to float16: constants are when they are read, x is not."""
    half = onnx.TensorProto.FLOAT16
    return half in {graph.type, *(node.attributes.get("to") for node in graph.nodes)}


def _same_nodes(a: onnx.ModelProto, b: onnx.ModelProto) -> bool:
    pairs = zip(a.graph.node, b.graph.node, strict=False)
    return len(a.graph.node) == len(b.graph.node) and all(p == q for p, q in pairs)


def difference(truth: list[np.ndarray], results: list[np.ndarray], rtol: float) -> str:
    """How outputs differ, in words; "" where they do not. What is not finite may be anything."""
    for index, (a, b) in enumerate(zip(truth, results, strict=True)):
        if a.shape != b.shape:
            return f"output {index} has shape {b.shape}, before {a.shape}"
        finite = np.isfinite(a)
        if not finite.any() or a.dtype == bool:
            continue
        a, b = a[finite].astype(np.float64), b[finite].astype(np.float64)
        worst = np.nan_to_num(np.abs(a - b), nan=np.inf).max()
        scale = max(float(np.abs(a).max()), 1.0)
        if worst > rtol * scale:
            return f"output {index} is off by {worst:.3g} of {scale:.3g}"
    return ""


class _limit:  # noqa: N801 - reads as a statement
    """Raises TimeoutError in a block that takes longer than some seconds."""

    def __init__(self, seconds: int) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        def stop(number, frame):
            raise TimeoutError

        self._before: Callable = signal.signal(signal.SIGALRM, stop)
        signal.alarm(self._seconds)

    def __exit__(self, *error) -> None:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, self._before)


def run_in_onnx_runtime(graph: Graph, shape: tuple[int, ...], form: str = "primitives") -> str:
    """How the original and the fused model differ in ONNX Runtime, its optimisations off."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    numpy_type = onnx.helper.tensor_dtype_to_np_dtype(graph.type)
    x = graph.data(2, shape).astype(numpy_type)
    model = graph.model()
    outputs = []
    for one in (model, fuse(model, form=form).model):
        session = ort.InferenceSession(
            one.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        outputs.append(session.run(None, {"x": x}))
    # Roundings of the original's own type, which fusing may leave out, can be amplified.
    if _is_open(graph, x):
        return ""
    return difference(*outputs, 0.05 if _has_half(graph) else 5e-3)
