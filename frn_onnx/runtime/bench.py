"""What the plugin, and the blocked layout, are worth for one model on this machine."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import lower, model_io, samples
from frn_onnx.graph.forms import form_of
from frn_onnx.graph.runners import Spec, specs
from frn_onnx.runtime import latency
from frn_onnx.runtime.providers import CPU
from frn_onnx.runtime.session import InferenceSession, ort
from frn_onnx.whole import at_least


@dataclass(frozen=True)
class Result:
    """Latency of one call of ``session.run``, in three ways measured in turns.

    Attributes:
        shapes: of the inputs, by name.
        threads: of ONNX Runtime within one node; 0 is its own choice.
        without: with standard ops.
        with_plugin: with the plugin's kernel for FRN, and nothing blocked.
        session: as ``InferenceSession`` does it unless it is told otherwise.
        layout: where FRN works in that session, and why.
    """

    shapes: Mapping[str, tuple[int, ...]]
    threads: int
    without: latency.Latency
    with_plugin: latency.Latency
    session: latency.Latency
    layout: str

    @property
    def speedup(self) -> float:
        return self.without.median_ms / self.session.median_ms

    def to_dict(self) -> dict[str, Any]:
        return {**dataclasses.asdict(self), "speedup": self.speedup}


def bench(
    model: model_io.Source,
    *,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    threads: int = 0,
    seconds: float = 5.0,
) -> Result:
    """Times a model with FRN nodes with the plugin and as standard ops, on random input.

    Args:
        model: an ONNX model with FRN nodes, in any form that has them.
        shapes: of inputs, by name; needed for those with unknown sizes other than the batch,
            which is 1 where nothing is said.
        threads: for ONNX Runtime's operators; 0 is its own choice.
        seconds: how long to measure.

    Raises:
        ModelError: the model cannot be read or has no FRN nodes.
        ArgumentError: a shape is missing, or does not fit; threads below 0, or no time to measure.
    """
    threads = at_least(0, "threads", threads)
    if not 0 < seconds < math.inf:
        raise ArgumentError(f"seconds must be a number above 0, received {seconds:g}")
    loaded = model_io.load_proto(model)
    if form_of(loaded) == "primitives":
        raise ModelError(
            "the model has no FRN nodes, so the plugin makes no difference; find FRN in its "
            "standard ops first with: frn-onnx fuse"
        )
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    providers = [CPU]
    # One after the other: registering changes the options.
    standard = InferenceSession(lower(loaded, "primitives"), options, providers, plugin=False)
    fused = InferenceSession(loaded, options, providers, plugin=True, blocked=False)
    usual = InferenceSession(loaded, options, providers)
    rng = np.random.default_rng(0)
    feeds = {}
    for spec in specs(fused):
        feeds[spec.name] = samples.random((spec, spec), _shape(spec, shapes or {}), rng)
    unknown = set(shapes or {}) - set(feeds)
    if unknown:
        raise ArgumentError(f"the model has no input {unknown.pop()!r}; it has {', '.join(feeds)}")
    timed = latency.compare(
        {
            "without": lambda: standard.run(None, feeds),
            "with": lambda: fused.run(None, feeds),
            "session": lambda: usual.run(None, feeds),
        },
        seconds=seconds,
    )
    used = {name: array.shape for name, array in feeds.items()}
    layout = str(usual.blocked)
    return Result(used, threads, timed["without"], timed["with"], timed["session"], layout)


def _shape(spec: Spec, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape to measure an input at."""
    known = [size if isinstance(size, int) else None for size in spec.shape]
    if spec.name not in shapes:
        shape = tuple(1 if axis == 0 and n is None else n for axis, n in enumerate(known))
        if None in shape:
            raise ArgumentError(
                f"the input {spec.name!r} has unknown sizes: {spec.shape}; say what to measure, "
                f"for example --shape {spec.name}=1,224,224,3"
            )
        return shape
    shape = shapes[spec.name]
    if len(shape) != len(known) or any(
        n is not None and n != m for n, m in zip(known, shape, strict=True)
    ):
        raise ArgumentError(f"the input {spec.name!r} has the shape {spec.shape}, received {shape}")
    return shape
