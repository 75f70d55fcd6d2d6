"""Resident memory stays flat: FRN_ONNX_LONG_LIFE times as much as CI does, 1 unless told."""

import os
import sys

import long_life
import pytest

TIMES = int(os.environ.get("FRN_ONNX_LONG_LIFE", "1"))
# What the allocators may still gain after the first quarter: arenas of threads, fragmentation.
SLACK_BYTES = 2 << 20
COUNTS = {"sessions": 400, "runs": 8_000, "arrays": 8_000}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", COUNTS)
def test_memory_stays_flat(name):
    points = long_life.in_process_of_its_own(name, COUNTS[name] * TIMES)
    assert long_life.growth_bytes(points) < SLACK_BYTES, points
