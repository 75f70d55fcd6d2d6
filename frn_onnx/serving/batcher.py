"""Greedy dynamic batching: while one batch runs, what arrives becomes the next one.

Nothing waits for a batch to fill. An idle server runs a request at once; a busy one takes, when
it is free again, everything that queued up meanwhile and fits together: the same shapes but for
axis 0, up to ``max_batch`` samples. So batches grow with the load and cost an idle client nothing.

No request can harm another. What does not fit together runs apart; a batch in which the model
fails, or gives something else than one row per sample, is run again in halves.
"""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from frn_onnx.serving.errors import ModelRunError, QueueFullError, RunTimeoutError, WaitError
from frn_onnx.serving.health import Health
from frn_onnx.serving.pace import Pace
from frn_onnx.serving.waiting import Job, Waiting

# A run that does not end when it is told to is left; the thread ends with the process.
_CLOSE_SECONDS = 1
# How often it is looked whether a run has ended that should.
_LOOK_SECONDS = 0.1
# A batch of no more requests that failed is run again one by one: halves would take as many runs.
_FEW = 4
# A run is long that takes more than this part of the longest wait. Such a one has no more samples
# than it takes for one of them to cost no more than so many times what it costs at best.
_LONG = 0.25
_WORTH = 1.5
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
        queue_ms, run_ms: how long it waited, and how long the run took, in milliseconds.
    """

    outputs: dict[str, np.ndarray]
    batch: int
    queue_ms: float
    run_ms: float


# A job, and what its client gets.
_Answer = tuple[Job, Result | ModelRunError]


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
        self._running = False
        self._current: list[Job] = []
        self._began = 0.0
        self._watchdog: asyncio.TimerHandle | None = None
        # What to run, and the event loop that waits for it; None ends the thread. An executor
        # and a task would do the same with two more turns of the loop for every request.
        self._batches: SimpleQueue[tuple[list[Job], asyncio.AbstractEventLoop] | None]
        self._batches = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="frn-onnx-run", daemon=True)
        self._thread.start()

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
        if not self._running or self._max_wait == math.inf:
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
        job = Job(feeds, outputs, asyncio.get_running_loop().create_future())
        if job.rows > self._max_batch or job.nbytes > self._max_batch_bytes:
            job.run_alone()
        if self._max_wait < math.inf:
            job.expiry = job.future.get_loop().call_later(self._max_wait, self._expire, job)
        self._queue.add(job)
        return await self._answer_of(job)

    def set_sample(self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str]) -> None:
        """A request that the model is known to answer; ``health`` tries it when others fail."""
        self._sample = feeds, outputs

    async def _check_sample(self) -> None:
        if self._sample is None:  # then all that can be known is that no run hangs
            current = self._current
            while self._running and self._current is current:
                await asyncio.sleep(_LOOK_SECONDS)
            return
        future = asyncio.get_running_loop().create_future()
        job = Job(*self._sample, future, queued=-math.inf)  # before all others
        job.run_alone()
        self._queue.add(job)
        await self._answer_of(job)

    async def _answer_of(self, job: Job) -> Result:
        if not self._running:
            self._running = True
            loop = job.future.get_loop()
            loop.call_soon(self._start, loop)  # what arrives in the same turn joins
        try:
            return await job.future
        except asyncio.CancelledError:
            self._abandon(job)
            raise

    def close(self) -> None:
        """Ends the thread, and a run that nobody waits for any more."""
        self._batches.put(None)
        self._stop()
        self._thread.join(_CLOSE_SECONDS)

    def _expect(self) -> tuple[float, float]:
        """Seconds until a request that comes now would be run, and that its run would take."""
        wait, rest = 0.0, 0
        if self._current:
            expected = self.pace.expect(sum(job.samples for job in self._current))
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

    def _worthwhile(self) -> int:
        """Most samples of a run, where it would be long no more than they are worth.

        Who waits for a run waits for the whole of it. A model that takes half as long for half as
        many, as most do on a CPU, gains nothing by runs so long that clients give up.
        """
        sizes = [self._max_batch]
        while sizes[-1] > 1:
            sizes.append((sizes[-1] + 1) // 2)
        seconds = {size: self.pace.expect(size) for size in reversed(sizes)}
        best = min(seconds[size] / size for size in sizes)
        worth = next(size for size in seconds if seconds[size] / size <= _WORTH * best)
        short = [size for size in sizes if seconds[size] <= _LONG * self._max_wait]
        return max([worth, *short])

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
        if job.expiry is not None:
            job.expiry.cancel()
        if self._queue.remove(job):
            return
        if job in self._current and all(job.future.done() for job in self._current):
            self._end(self._current)

    def _end(self, jobs: list[Job]) -> None:
        """Tells a run to end until it has: the thread may be just about to begin it."""
        if self._running and self._current is jobs:
            self._stop()
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._end, jobs)

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Hands what can run together to the thread, if there is anything."""
        self._most = self._worthwhile()
        self._current = self._queue.take(self._most, self._max_batch_bytes)
        for job in self._current:
            if job.expiry is not None:
                job.expiry.cancel()
        self._running = bool(self._current)
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        if self._running:
            self._began = time.perf_counter()
            if self._run_timeout < math.inf:
                self._watchdog = loop.call_later(self._run_timeout, self._give_up, self._current)
            self._batches.put((self._current, loop))

    def _give_up(self, jobs: list[Job]) -> None:
        """A run does not end: tells it to, and its clients that they need not wait."""
        self._end(jobs)
        self.health.hangs()
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(
                    RunTimeoutError(
                        f"the run took longer than {self._run_timeout:g} s (--run-timeout)"
                    )
                )

    def _finish(self, answers: list[_Answer], loop: asyncio.AbstractEventLoop) -> None:
        """Hands the answers out, while the next batch runs already; in the event loop.

        Without answers a batch has failed: its halves, and theirs, find out whose fault it was.
        """
        # From here to here: on a busy machine that is longer than the run alone.
        seconds = time.perf_counter() - self._began
        result = next((answer for _, answer in answers if isinstance(answer, Result)), None)
        note = self.pace.note if result else self.pace.note_at_least
        note(sum(job.samples for job in self._current), seconds)
        failed = [job for job in self._current if not answers and not job.future.done()]
        size = 1 if len(failed) <= _FEW else (len(failed) + 1) // 2
        for start in range(0, len(failed), size):
            part = object()
            for job in failed[start : start + size]:
                job.key = part, *job.key  # it runs with these only
                self._queue.add(job)
        self._start(loop)
        if result:  # all are of one run
            self._observe(result.batch, result.run_ms / 1e3)
        for job, answer in answers:
            if isinstance(answer, Result):
                self.health.note(True)
                if self._sample is None:
                    self._sample = job.feeds, job.outputs
            elif not job.future.done():  # else it may have been told to end
                self.health.note(False)
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
            loop.call_soon_threadsafe(self._finish, self._answer(jobs), loop)
            del batch, jobs  # and the arrays they hold, until somebody asks again

    def _answer(self, jobs: list[Job]) -> list[_Answer]:
        """Every job with its answer, none where they failed together."""
        if len(jobs) == 1:
            return [(jobs[0], self._answer_alone(jobs[0]))]
        try:
            return self._answer_together(jobs)
        except Exception:
            return []

    def _answer_together(self, jobs: list[Job]) -> list[_Answer]:
        names = list(dict.fromkeys(name for job in jobs for name in job.outputs))
        feeds = {name: np.concatenate([job.feeds[name] for job in jobs]) for name in jobs[0].feeds}
        rows = [job.rows for job in jobs]
        start = time.perf_counter()
        outputs = self._run(feeds, names)
        seconds = time.perf_counter() - start
        for name, array in outputs.items():
            if array.shape[:1] != (sum(rows),):
                raise ValueError(f"{name} has shape {array.shape} for {sum(rows)} samples")
        answers: list[_Answer] = []
        end = 0
        for job, count in zip(jobs, rows, strict=True):
            end += count
            # A view would keep the whole batch until the last of its answers is sent.
            own = {name: array[end - count : end].copy() for name, array in outputs.items()}
            queue_ms = (start - job.queued) * 1e3
            answers.append((job, Result(own, sum(rows), queue_ms, seconds * 1e3)))
        return answers

    def _answer_alone(self, job: Job) -> Result | ModelRunError:
        start = time.perf_counter()
        try:
            outputs = self._run(job.feeds, job.outputs)
        except Exception as error:
            return ModelRunError(f"the model failed on this request: {error}")
        seconds = time.perf_counter() - start
        return Result(outputs, job.samples, (start - job.queued) * 1e3, seconds * 1e3)
