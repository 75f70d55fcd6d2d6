"""Bandwidth of the planner's choices, against copies of the same tensor from device to device.

A CUDA graph of several calls, each on buffers of its own, together larger than L2 (as far as 64 of
them are), is replayed seven times; the copies, one by a plain kernel and one by the driver, are
measured in the same way on the same buffers. Reported is the ratio of the medians to the kernel's
copy: 1.0 is as fast as a copy, which, like FRN, reads and writes every element once, and reads that
of the residual where there is one.
"""

import math
from collections.abc import Iterator

import numpy as np
from context import Context, Problem, problems, random_values, summary
from harness import DTYPES, Call, Harness, Memory, Param

REPLAYS = 7
_MOST_BUFFERS = 64
_BLOCK = 1 << 22  # random values that memory is filled with, over and over


class Pool:
    """Memory for x, residual and y, filled for each type, and parameters for all channels."""

    def __init__(self, harness: Harness, size: int, channels: int) -> None:
        self._harness = harness
        self._l2_bytes = harness.device()["l2_bytes"]
        self._x, self._residual, self._y = (harness.memory(size) for _ in range(3))
        values = np.random.default_rng(0).standard_normal((3, channels)).astype(np.float32)
        self._params = harness.memory(values.nbytes)
        self._params.upload(values)
        self._step = values[0].nbytes
        self._dtype = ""

    def calls(self, problem: Problem) -> list[Call]:
        """As many calls as it takes for their buffers not to fit L2 together, at least two."""
        if problem.dtype != self._dtype:
            self._fill(self._x, problem.dtype)
            self._fill(self._residual, problem.dtype)
        size = -(-problem.size // 256) * 256
        wanted = max(2, min(_MOST_BUFFERS, math.ceil(2 * self._l2_bytes / size)))
        count = max(1, min(wanted, self._x.size // size))
        start = self._params.address
        return [
            Call(
                x=self._x.address + i * size,
                residual=self._residual.address + i * size if problem.residual else None,
                y=self._y.address + i * size,
                shape=problem.shape,
                dtype=problem.dtype,
                gamma=Param(start),
                beta=Param(start + self._step),
                tau=Param(start + 2 * self._step),
            )
            for i in range(count)
        ]

    def _fill(self, memory: Memory, dtype: str) -> None:
        block = random_values(np.random.default_rng(1), _BLOCK, dtype)
        for offset in range(0, memory.size, block.nbytes):
            left = (memory.size - offset) // block.itemsize
            memory.upload(block[:left], offset)
        self._dtype = dtype


def pool_for(context: Context, wanted: list[Problem]) -> Pool:
    """A pool with room for two of the largest tensors."""
    largest = max(problem.size for problem in wanted)
    size = 2 * largest if not context.dry_run else 4 * largest
    return Pool(context.harness, size, max(problem.channels for problem in wanted))


def by_type(wanted: list[Problem]) -> list[Problem]:
    """One type after the other, for each of which a pool is filled anew."""
    return sorted(wanted, key=lambda problem: list(DTYPES).index(problem.dtype))


def measure(context: Context, wanted: list[Problem]) -> Iterator[dict]:
    """One row per problem, as long as there is time; types in turn, for the pool's sake."""
    harness = context.harness
    pool = pool_for(context, wanted)
    for problem in by_type(wanted):
        if not context.in_time:
            return
        calls = pool.calls(problem)
        plan = harness.plans(problem.shape, problem.dtype, residual=problem.residual)[0]
        ours = harness.time(calls, replays=REPLAYS)
        copies, driver_copies = (
            harness.time_copy(calls, problem.size, by_kernel=by_kernel, replays=REPLAYS)
            for by_kernel in (True, False)
        )
        passes = 3 if problem.residual else 2
        median, copy = summary(ours)["median"], summary(copies)["median"]
        yield {
            **problem.to_dict(),
            "ms": summary(ours),
            "gbps": passes * problem.size / median / 1e6,
            "copy_ms": summary(copies),
            "copy_gbps": passes * problem.size / copy / 1e6,
            "driver_copy_ms": summary(driver_copies),
            "of_copy": copy / median,
            "predicted": plan.estimate,
            "buffers": len(calls),
            "kernel": harness.kernel_name(plan),
            "plan": plan.to_dict(),
        }


def run(context: Context) -> dict:
    wanted = problems(context)
    rows = list(measure(context, wanted))
    return {"rows": rows, "complete": len(rows) == len(wanted)}
