"""Timing alternatives against each other, on a machine that is doing other things too."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_REST_SECONDS = 0.005
_LONGEST_REST_SECONDS = 1.0


@dataclass(frozen=True)
class Latency:
    """How long one call takes.

    Attributes:
        median_ms: median over the calls, in milliseconds.
        low_ms, high_ms: the quartiles, in milliseconds.
        calls: how many calls were timed.
        turns_ms: the median of each turn, in milliseconds; those of one turn were timed close to
            one another.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    calls: int
    turns_ms: tuple[float, ...]


def compare(
    calls: Mapping[str, Callable[[], object]], *, seconds: float = 2.0, turns: int = 5
) -> dict[str, Latency]:
    """Times each call, in turns, so that a disturbance meets all of them.

    Before its turn the process comes to rest, since thread pools go on spinning after their work
    is done (ONNX Runtime's for 60 ms) and would take the cores from whoever is next. The first call
    of a turn is not counted: it brings threads and caches from the predecessor's state to its own.
    Only the ratios of one comparison mean anything on a shared machine.

    Args:
        calls: name -> the call.
        seconds: about how long all of them are timed together.
        turns: of each call, which runs twice at least in each.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    for _ in range(turns):
        for name, call in calls.items():
            come_to_rest()
            times[name].append(_turn(call, seconds / turns / len(calls)))
    return {name: _summary(taken) for name, taken in times.items()}


def come_to_rest() -> None:
    """Returns when the threads of this process have stopped spinning, or after a second."""
    end = time.perf_counter() + _LONGEST_REST_SECONDS
    busy = 1.0
    while busy > 0.1 and time.perf_counter() < end:
        start = time.process_time()
        time.sleep(_REST_SECONDS)
        busy = (time.process_time() - start) / _REST_SECONDS


def _turn(call: Callable[[], object], seconds: float) -> list[float]:
    """The durations of the calls of one turn, in milliseconds, without the first."""
    call()
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while not taken or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def _summary(turns: list[list[float]]) -> Latency:
    taken = [duration for turn in turns for duration in turn]
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Latency(median, low, high, len(taken), tuple(map(statistics.median, turns)))
