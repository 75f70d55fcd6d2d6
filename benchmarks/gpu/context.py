"""What every stage is given: where it runs, how long it may take, the harness, the shapes."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from harness import DTYPES, Harness

# (channels, side at 224 pixels) of the norms of a ResNet-50, and of the widest of a small U-Net.
NORMS = (
    *((32, 112), (64, 112), (64, 56), (256, 56), (128, 28), (512, 28)),
    *((256, 14), (1024, 14), (512, 7), (2048, 7)),
)

# Those at the end of a ResNet-50's blocks, to which the block's input is added.
RESIDUALS = ((256, 56), (512, 28), (1024, 14), (2048, 7))


class SkipError(Exception):
    """A stage that cannot run here; the text says why."""


@dataclass(frozen=True)
class Context:
    """How a stage is to run.

    Attributes:
        dry_run: on the CPU, at sizes of a few kilobytes: everything but the numbers.
        deadline: when the stage has to stop, by ``time.monotonic``.
        build: the folder for what is compiled.
    """

    dry_run: bool
    deadline: float
    build: Path

    @property
    def in_time(self) -> bool:
        return time.monotonic() < self.deadline

    @cached_property
    def harness(self) -> Harness:
        return Harness(self.build, dry_run=self.dry_run)


@dataclass(frozen=True)
class Problem:
    """One tensor: NCHW or NHWC, as benchmarks name it."""

    batch: int
    channels: int
    side: int
    layout: str
    dtype: str
    residual: bool = False

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """As the kernels see it: (batch, outer, channels, inner)."""
        plane = self.side**2
        outer, inner = (plane, 1) if self.layout == "NHWC" else (1, plane)
        return (self.batch, outer, self.channels, inner)

    @property
    def size(self) -> int:
        """Bytes of x."""
        return self.batch * self.channels * self.side**2 * DTYPES[self.dtype].itemsize

    def to_dict(self) -> dict[str, object]:
        return {
            **{name: getattr(self, name) for name in ("batch", "channels", "side", "layout")},
            "dtype": self.dtype,
            "residual": self.residual,
            "megabytes": self.size / 1e6,
        }


def problems(
    context: Context, *, batches: Sequence[int] = (1, 8, 64), images: Sequence[int] = (224, 512)
) -> list[Problem]:
    """NORMS, and RESIDUALS, in both layouts, float32 and float16; a few small ones when dry."""
    layouts, dtypes = ("NCHW", "NHWC"), ("float16", "float32")
    if context.dry_run:
        return [
            Problem(2, channels, side, layout, dtype, residual)
            for channels, side, residual in ((8, 6, False), (5, 30, False), (8, 6, True))
            for layout in layouts
            for dtype in dtypes
        ]
    return [
        Problem(batch, channels, side * image // 224, layout, dtype, residual)
        for batch in reversed(batches)  # the large ones first: they are what counts
        for image in images
        for norms, residual in ((NORMS, False), (RESIDUALS, True))
        for channels, side in norms
        for layout in layouts
        for dtype in dtypes
    ]


def collect(
    context: Context, items: Sequence[Any], measure: Callable[[Any], dict]
) -> dict[str, object]:
    """One row per item while there is time; an item that fails is named, the next one tried."""
    rows, failures = [], []
    for item in items:
        if not context.in_time:
            break
        try:
            rows.append(measure(item))
        except SkipError:
            raise
        except Exception as error:
            failures.append({"case": str(item), "what": f"{type(error).__name__}: {error}"})
    complete = len(rows) + len(failures) == len(items)
    return {"rows": rows, "failures": failures, "complete": complete}


def random_values(rng: np.random.Generator, count: int, dtype: str) -> np.ndarray:
    """Signed, about an offset, as activations are."""
    return (rng.standard_normal(count, dtype=np.float32) * 1.5 - 0.4).astype(DTYPES[dtype])


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and extremes of repeated measurements."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
