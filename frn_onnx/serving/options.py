"""What can be chosen about a served model, and what a client may ask for."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from frn_onnx.errors import ArgumentError
from frn_onnx.serving.memory import MIB, default_bytes
from frn_onnx.whole import at_least

DEVICES = ("auto", "cpu", "cuda")
# What is in flight when the server is told to stop may take this long: less than the 30 s after
# which Kubernetes kills.
GRACE_SECONDS = 25
LOG_LEVELS = ("debug", "info", "warning", "error")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_TAKEN = "stats"  # /v2/models/stats are the statistics of all models
# Field of ModelOptions -> the least it may be, and what there is to know about that.
_LEAST = {
    "threads": (0, "; 0 means automatic"),
    "gpu_mem_limit_mb": (1, ""),
    "max_batch": (1, "; 1 puts no requests together"),
    "max_batch_mb": (1, ""),
    "max_queue": (1, ""),
}


def check_name(name: str) -> str:
    """The name that a model is served under.

    Raises: ArgumentError if it would not survive in a URL and as a folder.
    """
    if not _NAME.fullmatch(name) or name == _TAKEN:
        raise ArgumentError(
            "the name of a model must be 1 to 128 letters, digits, '_', '-' and '.', not "
            f"starting with '-' or '.' and not {_TAKEN!r}, received {name!r}; pass another with "
            "--name, or as NAME=FILE.onnx"
        )
    return name


@dataclass(frozen=True)
class ModelOptions:
    """How one model is served; the fields are the options of ``frn-onnx serve``.

    Attributes:
        model: path of the ONNX file.
        name: served name; None takes the file's.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: CUDA where ONNX Runtime has it.
        threads: ONNX Runtime's threads in one run; 0 leaves the number to it.
        fuse: whether FRN that the file has in standard ops is fused when it is loaded.
        gpu_mem_limit_mb: most MiB that ONNX Runtime's arena takes on a GPU; None is all there are.
        cuda_graph: whether runs of one shape are recorded as a CUDA graph; for device ``"cuda"``.
        max_batch: most samples put together in one run.
        max_batch_mb: most MiB of inputs put together in one run.
        max_queue: most requests that wait for a run.
        max_wait: longest that a request waits for its run, in seconds; who would wait longer is
            refused.
        run_timeout: longest that a run may take, in seconds; then it is ended.

    Raises: ArgumentError if one of these is of another type, or means nothing.
    """

    model: str | os.PathLike
    name: str | None = None
    device: str = "auto"
    threads: int = 0
    fuse: bool = False
    gpu_mem_limit_mb: int | None = None
    cuda_graph: bool = False
    max_batch: int = 32
    max_batch_mb: int = 16
    max_queue: int = 128
    max_wait: float = 1.0
    run_timeout: float = 60.0

    @property
    def served_name(self) -> str:
        """The name in the URL, which :func:`check_name` may refuse."""
        return Path(self.model).stem if self.name is None else self.name

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ArgumentError(
                f"device must be one of {', '.join(DEVICES)}, received {self.device!r}"
            )
        if self.cuda_graph and self.device != "cuda":
            raise ArgumentError(
                f"a CUDA graph needs device 'cuda', received {self.device!r}; pass --device cuda "
                "as well"
            )
        for name in ("max_wait", "run_timeout"):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float | np.number):
                raise ArgumentError(f"{name} must be a number, received {seconds!r}; it is seconds")
            if not seconds > 0:
                raise ArgumentError(f"{name} must be more than 0 seconds, received {seconds}")
            object.__setattr__(self, name, float(seconds))  # Python's own, as it is written down
        for name, (least, hint) in _LEAST.items():
            given = getattr(self, name)
            if given is None and name == "gpu_mem_limit_mb":
                continue
            object.__setattr__(self, name, at_least(least, name, given, hint))


@dataclass(frozen=True)
class Limits:
    """What a client may ask for.

    Attributes:
        body_bytes: most bytes of a body, before and after a content coding is undone.
        body_seconds: within this time a body must have arrived, and an answer been taken; a large
            answer has more.
        head_seconds: within this time the head of a request must have arrived.
        memory_bytes: most bytes that all requests in flight may hold together.
        idle_seconds: so long a connection is kept between two requests.

    Raises: ArgumentError if ``body_bytes`` or ``memory_bytes`` is below 1.
    """

    body_bytes: int = 64 * MIB
    body_seconds: float = 60.0
    head_seconds: float = 15.0
    idle_seconds: float = 75.0
    memory_bytes: int = field(default_factory=default_bytes)

    def __post_init__(self) -> None:
        if self.body_bytes < 1:
            raise ArgumentError(
                f"the largest body must have at least 1 byte, received {self.body_bytes}; "
                "--max-body takes MiB"
            )
        if self.memory_bytes < 1:
            raise ArgumentError(
                f"requests must be allowed at least 1 byte of memory, received "
                f"{self.memory_bytes}; --max-memory takes MiB"
            )
