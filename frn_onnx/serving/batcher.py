"""Greedy dynamic batching: while one batch runs, what arrives becomes the next one.

Nothing waits for a batch to fill. An idle server runs a request at once; a busy one takes, when
it is free again, everything that queued up meanwhile and fits together: the same shapes but for
axis 0, up to ``max_batch`` samples. So batches grow with the load and cost an idle client nothing.

No request can harm another. What does not fit together runs apart; a batch in which the model
fails, or gives something else than one row per sample, is run again one request at a time.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from frn_onnx.serving.errors import ModelRunError, QueueFullError

# (feeds, names of the outputs) -> outputs, as Model.run.
Run = Callable[[Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]
# (samples in the run, seconds it took).
Observe = Callable[[int, float], None]


@dataclass(frozen=True)
class Result:
    """The answer to one request.

    Attributes:
        outputs: output name -> array; at least those asked for.
        batch: samples in the run that computed it.
        queue_ms, run_ms: how long it waited, and how long the run took, in milliseconds.
    """

    outputs: dict[str, np.ndarray]
    batch: int
    queue_ms: float
    run_ms: float


@dataclass(eq=False)
class _Job:
    feeds: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    future: asyncio.Future
    queued: float = field(default_factory=time.perf_counter)

    @cached_property
    def samples(self) -> int:
        """Rows along axis 0 that all inputs share; 0 where they share none."""
        rows = {array.shape[0] if array.ndim else 0 for array in self.feeds.values()}
        return rows.pop() if len(rows) == 1 else 0

    @cached_property
    def key(self) -> tuple:
        """Jobs of equal keys can be stacked."""
        return tuple((name, self.feeds[name].shape[1:]) for name in sorted(self.feeds))


class Batcher:
    """Runs requests of one model, one run at a time, in a thread of its own.

    Args:
        run: runs the model.
        max_batch: most samples that are put together; 1 puts none together. A request that
            alone has more is run as it is.
        max_queue: most requests that wait; one more is refused.
        observe: told of every run.
    """

    def __init__(self, run: Run, *, max_batch: int, max_queue: int, observe: Observe) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._observe = observe
        self._queue: deque[_Job] = deque()
        self._drain: asyncio.Task | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="frn-onnx-run")

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def check_room(self) -> None:
        """Raises QueueFullError where no further request can wait."""
        if len(self._queue) >= self._max_queue:
            raise QueueFullError(
                f"{self._max_queue} requests are waiting, which is the limit (--max-queue); "
                "try again in a second"
            )

    async def submit(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Result:
        """Runs one request, perhaps together with others.

        Raises:
            QueueFullError: too many wait.
            ModelRunError: the model failed on this request.
        """
        self.check_room()
        job = _Job(feeds, outputs, asyncio.get_running_loop().create_future())
        self._queue.append(job)
        if self._drain is None:
            self._drain = asyncio.create_task(self._drain_queue())
        return await job.future

    def close(self) -> None:
        """Ends the thread; what is running is finished."""
        self._thread.shutdown()

    async def _drain_queue(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._queue:
                jobs = self._take()
                for job, result in await loop.run_in_executor(self._thread, self._answer, jobs):
                    if job.future.done():  # its client has gone meanwhile
                        continue
                    if isinstance(result, Result):
                        job.future.set_result(result)
                    else:
                        job.future.set_exception(result)
        finally:
            self._drain = None

    def _take(self) -> list[_Job]:
        """The job that has waited longest, and all that can run with it; perhaps none.

        Jobs whose client has gone are dropped.
        """
        self._queue = deque(job for job in self._queue if not job.future.done())
        if not self._queue:
            return []
        first = self._queue.popleft()
        jobs, samples = [first], first.samples
        if not samples or samples >= self._max_batch:
            return jobs
        left: deque[_Job] = deque()
        for job in self._queue:
            rows = job.samples
            if rows and samples + rows <= self._max_batch and job.key == first.key:
                jobs.append(job)
                samples += rows
            else:
                left.append(job)
        self._queue = left
        return jobs

    def _answer(self, jobs: list[_Job]) -> list[tuple[_Job, Result | ModelRunError]]:
        """Every job with its result; in the thread."""
        if len(jobs) > 1:
            try:
                return self._answer_together(jobs)
            except Exception:
                pass  # each one alone finds out whose fault it was
        return [(job, self._answer_alone(job)) for job in jobs]

    def _answer_together(self, jobs: list[_Job]) -> list[tuple[_Job, Result | ModelRunError]]:
        names = list(dict.fromkeys(name for job in jobs for name in job.outputs))
        feeds = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in jobs[0].feeds}
        rows = [job.samples for job in jobs]
        start, outputs, seconds = self._timed(feeds, names, sum(rows))
        for name, array in outputs.items():
            if array.shape[:1] != (sum(rows),):
                raise ValueError(f"{name} has shape {array.shape} for {sum(rows)} samples")
        ends = np.cumsum(rows)
        return [
            (
                job,
                Result(
                    {name: array[end - count : end] for name, array in outputs.items()},
                    int(ends[-1]),
                    (start - job.queued) * 1e3,
                    seconds * 1e3,
                ),
            )
            for job, count, end in zip(jobs, rows, ends, strict=True)
        ]

    def _answer_alone(self, job: _Job) -> Result | ModelRunError:
        samples = job.samples or 1
        try:
            start, outputs, seconds = self._timed(job.feeds, job.outputs, samples)
        except Exception as error:
            return ModelRunError(f"the model failed on this request: {error}")
        return Result(outputs, samples, (start - job.queued) * 1e3, seconds * 1e3)

    def _timed(
        self, feeds: Mapping[str, np.ndarray], names: Sequence[str], samples: int
    ) -> tuple[float, dict[str, np.ndarray], float]:
        """When the run started, its outputs, and its seconds."""
        start = time.perf_counter()
        outputs = self._run(feeds, names)
        seconds = time.perf_counter() - start
        self._observe(samples, seconds)
        return start, outputs, seconds
