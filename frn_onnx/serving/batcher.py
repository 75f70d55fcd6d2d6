"""Greedy dynamic batching: while one batch runs, what arrives becomes the next one.

Nothing waits for a batch to fill. An idle server runs a request at once; a busy one takes, when
it is free again, everything that queued up meanwhile and fits together: the same shapes but for
axis 0, up to ``max_batch`` samples. So batches grow with the load and cost an idle client nothing.

No request can harm another. What does not fit together runs apart; a batch in which the model
fails, or gives something else than one row per sample, is run again one request at a time.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from queue import SimpleQueue

import numpy as np

from frn_onnx.serving.errors import ModelRunError, QueueFullError

# ONNX Runtime cannot be told to leave a run; the thread ends with the process at the latest.
_CLOSE_SECONDS = 1
# (feeds, names of the outputs) -> outputs, as Model.run.
Run = Callable[[Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]
# (samples in the run, seconds it took); called in the batcher's thread.
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


# A job, and what its client gets.
_Answer = tuple[_Job, Result | ModelRunError]


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
        self._running = False
        # What to run, and the event loop that waits for it; None ends the thread. An executor
        # and a task would do the same with two more turns of the loop for every request.
        self._batches: SimpleQueue[tuple[list[_Job], asyncio.AbstractEventLoop] | None]
        self._batches = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="frn-onnx-run", daemon=True)
        self._thread.start()

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
        loop = asyncio.get_running_loop()
        job = _Job(feeds, outputs, loop.create_future())
        self._queue.append(job)
        if not self._running:
            self._running = True
            loop.call_soon(self._start, loop)  # what arrives in the same turn joins
        return await job.future

    def close(self) -> None:
        """Ends the thread. A run that nobody waits for any more is not waited for here either."""
        self._batches.put(None)
        self._thread.join(_CLOSE_SECONDS)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hands what can run together to the thread, if there is anything."""
        jobs = self._take()
        self._running = bool(jobs)
        if jobs:
            self._batches.put((jobs, loop))

    def _finish(self, answers: list[_Answer], loop: asyncio.AbstractEventLoop) -> None:
        """Hands the answers out, while the next batch runs already; in the event loop."""
        self._start(loop)
        for job, answer in answers:
            if job.future.done():  # its client has gone meanwhile
                continue
            if isinstance(answer, Result):
                job.future.set_result(answer)
            else:
                job.future.set_exception(answer)

    def _work(self) -> None:
        """The thread."""
        while batch := self._batches.get():
            jobs, loop = batch
            runs: list[tuple[int, float]] = []
            loop.call_soon_threadsafe(self._finish, self._answer(jobs, runs), loop)
            for samples, seconds in runs:
                self._observe(samples, seconds)

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

    def _answer(self, jobs: list[_Job], runs: list[tuple[int, float]]) -> list[_Answer]:
        """Every job with its answer; notes the runs it took."""
        if len(jobs) > 1:
            try:
                return self._answer_together(jobs, runs)
            except Exception:
                pass  # each one alone finds out whose fault it was
        return [(job, self._answer_alone(job, runs)) for job in jobs]

    def _answer_together(self, jobs: list[_Job], runs: list[tuple[int, float]]) -> list[_Answer]:
        names = list(dict.fromkeys(name for job in jobs for name in job.outputs))
        feeds = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in jobs[0].feeds}
        rows = [job.samples for job in jobs]
        start = time.perf_counter()
        outputs = self._run(feeds, names)
        seconds = time.perf_counter() - start
        for name, array in outputs.items():
            if array.shape[:1] != (sum(rows),):
                raise ValueError(f"{name} has shape {array.shape} for {sum(rows)} samples")
        runs.append((sum(rows), seconds))
        answers: list[_Answer] = []
        end = 0
        for job, count in zip(jobs, rows, strict=True):
            end += count
            own = {name: array[end - count : end] for name, array in outputs.items()}
            queue_ms = (start - job.queued) * 1e3
            answers.append((job, Result(own, sum(rows), queue_ms, seconds * 1e3)))
        return answers

    def _answer_alone(self, job: _Job, runs: list[tuple[int, float]]) -> Result | ModelRunError:
        start = time.perf_counter()
        try:
            outputs = self._run(job.feeds, job.outputs)
        except Exception as error:
            return ModelRunError(f"the model failed on this request: {error}")
        seconds = time.perf_counter() - start
        samples = job.samples or 1
        runs.append((samples, seconds))
        return Result(outputs, samples, (start - job.queued) * 1e3, seconds * 1e3)
