"""Timing alternatives against each other, on a machine that is doing other things too."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Latency:
    """How long one call takes.

    Attributes:
        median_ms: median over the rounds, in milliseconds.
        low_ms, high_ms: the quartiles, in milliseconds.
        rounds: how many rounds were timed.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    rounds: int


def compare(
    calls: Mapping[str, Callable[[], object]], *, seconds: float = 2.0, rounds: int = 50
) -> dict[str, Latency]:
    """Times each call, in turns, so that a disturbance meets all of them.

    In every round each call runs once, after a warm-up that is not counted. Only the ratios
    of one comparison mean anything on a shared machine.

    Args:
        calls: name -> the call.
        seconds: stop after about this long, but not before 5 rounds.
        rounds: stop after this many rounds.
    """
    for call in calls.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    for done in range(rounds):
        if done >= 5 and time.perf_counter() > end:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1e3)
    return {name: _summary(taken) for name, taken in times.items()}


def _summary(taken: list[float]) -> Latency:
    low, median, high = statistics.quantiles(taken, n=4, method="inclusive")
    return Latency(median, low, high, len(taken))
