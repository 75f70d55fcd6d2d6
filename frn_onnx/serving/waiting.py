"""The requests that wait for a run, sorted by what can run together."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(eq=False)
class Job:
    """A request that is to be run.

    Attributes:
        feeds, outputs: as ``Model.run`` takes them.
        future: what becomes of it.
        queued: since when it waits; the oldest runs first.
        expiry: when it has waited too long.
        rows: along axis 0, those that all inputs share; 0 where they share none.
        samples: rows, and 1 where there are none.
        nbytes: of all inputs.
        key: jobs of equal keys can be stacked.
    """

    feeds: Mapping[str, np.ndarray]
    outputs: Sequence[str]
    future: asyncio.Future = field(
        default_factory=lambda: asyncio.get_running_loop().create_future(), init=False
    )
    queued: float = field(default_factory=time.perf_counter)
    expiry: asyncio.TimerHandle = field(init=False)
    rows: int = field(init=False)
    samples: int = field(init=False)
    nbytes: int = field(init=False)
    key: tuple = field(init=False)

    def __post_init__(self) -> None:
        lengths = {array.shape[0] if array.ndim else 0 for array in self.feeds.values()}
        self.rows = lengths.pop() if len(lengths) == 1 else 0
        self.samples = self.rows or 1
        self.nbytes = sum(array.nbytes for array in self.feeds.values())
        shapes = ((name, self.feeds[name].shape[1:]) for name in sorted(self.feeds))
        self.key = tuple(shapes) if self.rows else (object(),)

    def run_alone(self) -> None:
        """It is put together with no other."""
        self.key = (object(),)


class Group:
    """Jobs of one key, oldest first, and what they are together."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.samples = 0
        self.nbytes = 0

    def add(self, job: Job) -> None:
        self.jobs.append(job)
        self.samples += job.samples
        self.nbytes += job.nbytes


class Waiting:
    """Jobs that wait; how many there are makes little difference to what anything here takes."""

    def __init__(self) -> None:
        self._groups: dict[tuple, Group] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def groups(self) -> Iterator[Group]:
        """What would run one after the other."""
        yield from self._groups.values()

    def add(self, job: Job) -> None:
        """Adds a job, which is younger than those of its key."""
        self._groups.setdefault(job.key, Group()).add(job)
        self._count += 1

    def remove(self, job: Job) -> bool:
        """Takes a job out; False if it does not wait."""
        group = self._groups.get(job.key)
        if group is None or job not in group.jobs:
            return False
        self._replace(job.key, [other for other in group.jobs if other is not job])
        return True

    def take(self, most: int, most_bytes: int) -> Group:
        """The job that has waited longest, and all that can run with it; empty where none waits.

        Args:
            most: samples that are put together.
            most_bytes: of inputs that are.
        """
        taken, left = Group(), []
        if not self._groups:
            return taken
        oldest = min(self._groups.values(), key=lambda group: group.jobs[0].queued)
        first, *others = oldest.jobs
        taken.add(first)
        for job in others:
            if taken.samples + job.samples <= most and taken.nbytes + job.nbytes <= most_bytes:
                taken.add(job)
            else:
                left.append(job)
        self._replace(first.key, left)
        return taken

    def _replace(self, key: tuple, jobs: list[Job]) -> None:
        self._count -= len(self._groups.pop(key).jobs)
        for job in jobs:
            self.add(job)
