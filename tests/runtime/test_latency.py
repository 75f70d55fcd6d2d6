"""Timing: turns that begin at rest, and whose first call is not counted."""

import threading
import time

from frn_onnx.runtime import latency


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_waits_for_threads_that_spin():
    thread = threading.Thread(target=spin, args=(0.2,))
    thread.start()
    latency.come_to_rest()
    assert not thread.is_alive()


def test_does_not_wait_for_ever():
    thread = threading.Thread(target=spin, args=(2.5,))
    start = time.perf_counter()
    thread.start()
    latency.come_to_rest()
    assert thread.is_alive()
    assert time.perf_counter() - start < 2
    thread.join()


def test_the_first_call_of_a_turn_is_not_counted():
    """Every other call is slow, so with turns of two the slow ones are the first."""
    durations = [0.02, 0.0] * 20
    calls = {"slow once": lambda: time.sleep(durations.pop(0))}
    durations.insert(0, 0.0)  # the warm-up
    taken = latency.compare(calls, seconds=0)["slow once"]
    assert taken.calls == 5
    assert taken.high_ms < 15
    assert taken.low_ms <= taken.median_ms <= taken.high_ms
