"""Timing: turns that begin at rest, and whose first call is not counted. The clock is made up."""

import itertools

import pytest

from frn_onnx.runtime import latency


class Clock:
    """A process that uses all of one core until ``busy_until``."""

    def __init__(self, busy_until: float) -> None:
        self.now = 0.0
        self.busy_until = busy_until

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return min(self.now, self.busy_until)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize(("busy_until", "rested"), [(0.0, 0.005), (0.06, 0.065), (99.0, 1.0)])
def test_waits_while_threads_spin_but_not_for_ever(monkeypatch, busy_until, rested):
    clock = Clock(busy_until)
    monkeypatch.setattr(latency, "time", clock)
    latency.come_to_rest()
    assert clock.now == pytest.approx(rested, abs=0.0051)


def test_the_first_call_of_a_turn_is_not_counted(monkeypatch):
    """The slow calls are the first of five turns; the warm-up comes before them."""
    clock = Clock(0.0)
    monkeypatch.setattr(latency, "time", clock)
    durations = [9.0, *[7.0, 0.02] * 5]
    taken = latency.compare({"call": lambda: clock.sleep(durations.pop(0))}, seconds=0)["call"]
    assert not durations
    assert taken.calls == 5
    assert (taken.low_ms, taken.median_ms, taken.high_ms) == pytest.approx((20, 20, 20))


def test_alternatives_take_turns(monkeypatch):
    clock = Clock(0.0)
    monkeypatch.setattr(latency, "time", clock)
    order: list[str] = []
    calls = {name: lambda name=name: (order.append(name), clock.sleep(0.01)) for name in "ab"}
    latency.compare(calls, seconds=0.35)  # three or four calls a turn
    assert "".join(name for name, _ in itertools.groupby(order)) == "ab" * 6
    assert 2 + 10 * 4 <= len(order) <= 2 + 10 * 5
