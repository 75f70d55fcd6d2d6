"""Greedy dynamic batching: while one batch runs, what arrives becomes the next one.

Nothing waits for a batch to fill. An idle server runs a request at once; a busy one takes, when
it is free again, everything that queued up meanwhile and fits together: the same shapes but for
axis 0, up to ``max_batch`` samples. So batches grow with the load and cost an idle client nothing.

No request can harm another. What does not fit together runs apart; a batch in which the model
fails, or gives something else than one row per sample, is run again in halves.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from frn_onnx.serving.errors import ModelRunError, QueueFullError, RunTimeoutError, WaitError
from frn_onnx.serving.health import Health
from frn_onnx.serving.pace import Pace
from frn_onnx.serving.waiting import Group, Job, Waiting
from frn_onnx.serving.worker import Worker

# A run that does not end when it is told to is left; the thread ends with the process.
_CLOSE_SECONDS = 1
# How often it is looked whether a run has ended that should.
_LOOK_SECONDS = 0.1
# A batch of no more requests that failed is run again one by one: halves would take as many runs.
_FEW = 4
# A run is short that takes no more than this part of the longest wait.
_SHORT = 0.25
# An answer should come within this part of the longest wait; the rest is for estimates that are
# wrong, and for the way to the client.
_PROMISE = 0.75
# (feeds, names of the outputs) -> outputs, as Model.run.
Run = Callable[[Mapping[str, np.ndarray], Sequence[str]], dict[str, np.ndarray]]
# (samples in the run, seconds it took); called in the event loop, before the answers are known.
Observe = Callable[[int, float], None]


@dataclass(frozen=True)
class Result:
    """The answer to one request.

    Attributes:
        outputs: output name -> array; at least those asked for.
        batch: samples in the run that computed it.
        queue_seconds, run_seconds: how long it waited, and how long the run took.
    """

    outputs: dict[str, np.ndarray]
    batch: int
    queue_seconds: float
    run_seconds: float


class Batcher:
    """Runs requests of one model, one run at a time, in a thread of its own.

    Args:
        run: runs the model.
        stop: makes a run that is under way end early.
        max_batch: most samples that are put together; 1 puts none together. A request that
            alone has more is run as it is.
        max_batch_bytes: the same for the bytes of the inputs.
        max_queue: most requests that wait; one more is refused.
        max_wait: longest that a request waits for its run, in seconds.
        run_timeout: longest that a run may take, in seconds.
        observe: told of every run.

    Attributes:
        pace: how long runs take.
        health: whether they succeed.
    """

    def __init__(
        self,
        run: Run,
        *,
        stop: Callable[[], None] = lambda: None,
        max_batch: int,
        max_batch_bytes: int = 2**62,
        max_queue: int,
        max_wait: float = math.inf,
        run_timeout: float = math.inf,
        observe: Observe,
    ) -> None:
        self._run = run
        self._stop = stop
        self._max_batch = max_batch
        self._max_batch_bytes = max_batch_bytes
        self._max_queue = max_queue
        self._max_wait = max_wait
        self._run_timeout = run_timeout
        self._observe = observe
        self._sample: tuple[Mapping[str, np.ndarray], Sequence[str]] | None = None
        self.pace = Pace()
        self.health = Health(self._check_sample)
        self._queue = Waiting()
        self._most = max_batch
        self._current: Group | None = None  # what runs; empty: about to be taken from the queue
        self._began = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        # An executor and a task would take two more turns of the loop for every request.
        self._worker = Worker("frn-onnx-run")

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return len(self._queue)

    def check_room(self) -> None:
        """Refuses a request that would not be answered in time, before anything is done for it.

        Raises:
            QueueFullError: as many wait as may.
            WaitError: it would wait too long.
        """
        if len(self._queue) >= self._max_queue:
            raise QueueFullError(
                f"{self._max_queue} requests are waiting, which is the limit (--max-queue); "
                "try again in a second"
            )
        if self._current is None:
            return
        wait, run = self._expect()
        # Whoever waits for max_wait gives up about then: the answer, and not the run alone, should
        # come within it. A run that takes a good part of it needs more patience than that.
        longest = max(_PROMISE * self._max_wait - run, self._max_wait / 2)
        if wait > longest:
            raise WaitError(
                f"a request would wait {wait:.2g} s for its run, and no more than {longest:.2g} s "
                f"leaves time for the answer to come within about {self._max_wait:g} s "
                "(--max-wait); try again later",
                retry_after=wait,
            )

    async def submit(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> Result:
        """Runs one request, perhaps together with others; cancelled, it is not run for nobody.

        Raises:
            QueueFullError, WaitError: it would wait too long, or has.
            ModelRunError: the model failed on this request.
            RunTimeoutError: the run does not end.
        """
        self.check_room()
        job = Job(feeds, outputs)
        if job.rows > self._max_batch or job.nbytes > self._max_batch_bytes:
            job.run_alone()
        return await self._answer_of(job, self._max_wait)

    def set_sample(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> None:
        """A request that the model is known to answer; ``health`` tries it when others fail."""
        self._sample = feeds, outputs

    async def _check_sample(self) -> None:
        if self._sample is None:  # then all that can be known is that no run hangs
            current = self._current
            while current is not None and self._current is current:
                await asyncio.sleep(_LOOK_SECONDS)
            return
        job = Job(*self._sample, queued=-math.inf)  # before all others
        job.run_alone()
        await self._answer_of(job, math.inf)

    async def _answer_of(self, job: Job, max_wait: float) -> Result:
        loop = job.future.get_loop()
        job.expiry = loop.call_later(max_wait, self._expire, job)
        self._queue.add(job)
        if self._current is None:
            self._current = Group()
            loop.call_soon(self._start)  # what arrives in the same turn joins
        try:
            return await job.future
        except asyncio.CancelledError:
            self._abandon(job)
            raise

    def close(self) -> None:
        """Ends the thread, and a run that nobody waits for any more."""
        self._stop()
        self._worker.close(_CLOSE_SECONDS)

    def _expect(self) -> tuple[float, float]:
        """Seconds until a request that comes now would be run, and that its run would take."""
        wait, rest = 0.0, 0
        if self._current is not None and self._current.jobs:
            expected = self.pace.expect(self._current.samples)
            # A run that is late by so much may well take as much again.
            wait = abs(expected - (time.perf_counter() - self._began))
        for group in self._queue.groups():
            room = self._max_batch_bytes * group.samples // max(group.nbytes, 1)
            most = max(1, min(self._most, room))
            runs, rest = divmod(group.samples, most)
            if len(group.jobs) == 1 and runs:  # it runs as it is
                wait += self.pace.expect(group.samples)
                rest = 0
                continue
            wait += runs * self.pace.expect(most)
            if rest and len(group.jobs) < len(self._queue):  # else the newcomer joins it
                wait += self.pace.expect(rest)
        return wait, self.pace.expect(rest + 1)

    def _expire(self, job: Job) -> None:
        """Refuses a job that has waited too long."""
        if not job.future.done():
            self._queue.remove(job)
            job.future.set_exception(
                WaitError(
                    f"the request has waited {self._max_wait:g} s for its run, which is the limit "
                    "(--max-wait); try again later",
                    retry_after=self._max_wait,
                )
            )

    def _abandon(self, job: Job) -> None:
        """A job's client has gone: it is not run, or its run ends if nobody else waits for it."""
        job.expiry.cancel()
        if self._queue.remove(job):
            return
        batch = self._current
        if batch is not None and job in batch.jobs and all(job.future.done() for job in batch.jobs):
            self._end(batch)

    def _end(self, batch: Group) -> None:
        """Tells a run to end until it has: the thread may be just about to begin it."""
        if self._current is batch:
            self._stop()
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._end, batch)

    def _start(self) -> None:
        """Hands what can run together to the thread, if there is anything."""
        self._most = self.pace.worthwhile(self._max_batch, _SHORT * self._max_wait)
        batch = self._queue.take(self._most, self._max_batch_bytes)
        for job in batch.jobs:
            job.expiry.cancel()
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._current = batch if batch.jobs else None
        if self._current is not None:
            loop = asyncio.get_running_loop()
            self._began = time.perf_counter()
            self._watchdog = loop.call_later(self._run_timeout, self._give_up, batch)
            self._worker.put(partial(self._work, batch, loop))

    def _give_up(self, batch: Group) -> None:
        """A run does not end: tells it to, and its clients that they need not wait."""
        self._end(batch)
        self.health.hangs()
        for job in batch.jobs:
            if not job.future.done():
                job.future.set_exception(
                    RunTimeoutError(
                        f"the run took longer than {self._run_timeout:g} s (--run-timeout)"
                    )
                )

    def _finish(self, batch: Group, results: list[Result] | str) -> None:
        """Hands the answers out, while the next batch runs already; in the event loop."""
        # From here to here: on a busy machine that is longer than the run alone.
        seconds = time.perf_counter() - self._began
        waiting = [job for job in batch.jobs if not job.future.done()]  # others have gone
        if isinstance(results, str):
            self.pace.note_at_least(batch.samples, seconds)
            if len(batch.jobs) > 1:
                self._run_in_parts(waiting)
                waiting = []
            self._start()
            for job in waiting:  # else it may have been told to end
                self.health.note(False)
                job.future.set_exception(ModelRunError(results))
            return
        self.pace.note(batch.samples, seconds)
        self._start()
        self._observe(batch.samples, results[0].run_seconds)
        self.health.note(True)
        if self._sample is None:
            self._sample = batch.jobs[0].feeds, batch.jobs[0].outputs
        for job, result in zip(batch.jobs, results, strict=True):
            if not job.future.done():
                job.future.set_result(result)

    def _run_in_parts(self, jobs: list[Job]) -> None:
        """Their halves, and theirs, find out whose fault it was that they failed together."""
        size = 1 if len(jobs) <= _FEW else (len(jobs) + 1) // 2
        for start in range(0, len(jobs), size):
            part = (object(),)
            for job in jobs[start : start + size]:
                job.key = part  # it runs with these only
                self._queue.add(job)

    def _work(self, batch: Group, loop: asyncio.AbstractEventLoop) -> None:
        """Runs a batch; in the thread."""
        results: list[Result] | str
        try:
            results = self._results(batch)
        except Exception as error:
            results = f"the model failed on this request: {error}"
        loop.call_soon_threadsafe(self._finish, batch, results)

    def _results(self, batch: Group) -> list[Result]:
        """What each job gets."""
        first, *others = batch.jobs
        feeds = first.feeds
        if others:
            arrays = {name: [job.feeds[name] for job in batch.jobs] for name in feeds}
            feeds = {name: np.concatenate(each) for name, each in arrays.items()}
        names = list(dict.fromkeys(name for job in batch.jobs for name in job.outputs))
        start = time.perf_counter()
        outputs = self._run(feeds, names)
        seconds = time.perf_counter() - start
        parts = _apart(outputs, [job.rows for job in batch.jobs]) if others else [outputs]
        return [
            Result(part, batch.samples, start - job.queued, seconds)
            for job, part in zip(batch.jobs, parts, strict=True)
        ]


def _apart(
    outputs: Mapping[str, np.ndarray], rows: Sequence[int]
) -> Iterator[dict[str, np.ndarray]]:
    """The outputs of each of several requests, which have so many rows."""
    for name, array in outputs.items():
        if array.shape[:1] != (sum(rows),):
            raise ValueError(f"{name} has shape {array.shape} for {sum(rows)} samples")
    for end, count in zip(itertools.accumulate(rows), rows, strict=True):
        # A view would keep the whole batch until the last of its answers is sent.
        yield {name: array[end - count : end].copy() for name, array in outputs.items()}
