"""What a model has done since the start, as Triton's statistics extension tells it.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class _Sum:
    """How often something was done, and how long it took together."""

    count: int = 0
    ns: int = 0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.ns += round(seconds * 1e9)


# The parts of a request that was answered, in Triton's words.
PARTS = ("queue", "compute_input", "compute_infer", "compute_output")


@dataclass
class Statistics:
    """Sums over one model's requests and runs."""

    _success: _Sum = field(default_factory=_Sum)
    _fail: _Sum = field(default_factory=_Sum)
    _parts: dict[str, _Sum] = field(default_factory=lambda: {part: _Sum() for part in PARTS})
    _last_ms: int = 0
    _samples: int = 0
    _runs: defaultdict[int, _Sum] = field(default_factory=lambda: defaultdict(_Sum))

    def failed(self, seconds: float) -> None:
        """A request was answered with an error."""
        self._fail.add(seconds)

    def answered(self, seconds: float, *parts: float) -> None:
        """A request was answered; ``parts`` are the seconds of each of ``PARTS``."""
        self._success.add(seconds)
        for part, value in zip(PARTS, parts, strict=True):
            self._parts[part].add(value)
        self._last_ms = time.time_ns() // 1_000_000

    def ran(self, samples: int, seconds: float) -> None:
        """The model ran once."""
        self._samples += samples
        self._runs[samples].add(seconds)

    def to_dict(self, name: str, version: str) -> dict[str, Any]:
        """The entry of the answer's ``model_stats``."""
        nothing = asdict(_Sum())
        runs = sorted(self._runs.items())
        return {
            "name": name,
            "version": version,
            "last_inference": self._last_ms,
            "inference_count": self._samples,
            "execution_count": sum(run.count for _, run in runs),
            "inference_stats": {
                "success": asdict(self._success),
                "fail": asdict(self._fail),
                **{part: asdict(total) for part, total in self._parts.items()},
                # There is no cache of answers.
                "cache_hit": nothing,
                "cache_miss": nothing,
            },
            # Requests are read and answers written one by one, not for a batch.
            "batch_stats": [
                {
                    "batch_size": samples,
                    "compute_input": {"count": run.count, "ns": 0},
                    "compute_infer": asdict(run),
                    "compute_output": {"count": run.count, "ns": 0},
                }
                for samples, run in runs
            ],
            "memory_usage": [],
            "response_stats": {},
        }
