"""Readiness and liveness: true whatever clients send, and back when the model is."""

import asyncio
import time

import numpy as np
import pytest

from frn_onnx.serving import health as health_module
from frn_onnx.serving.batcher import Batcher
from frn_onnx.serving.errors import ModelRunError, RunTimeoutError

GOOD = {"x": np.ones((1, 2), np.float32)}
BAD = {"x": np.full((1, 2), 13, np.float32)}


class Model:
    """Fails on 13, and on everything while the device is lost; may hang until it is stopped."""

    def __init__(self):
        self.lost = False
        self.hangs = False
        self.stopped = False
        self.runs = 0

    def run(self, feeds, outputs):
        self.runs += 1
        end = time.monotonic() + 5
        while self.hangs and not self.stopped and time.monotonic() < end:
            time.sleep(0.01)
        if self.lost or self.stopped or (feeds["x"] == 13).any():
            self.stopped = False
            raise RuntimeError("CUDA failure 700")
        return {"y": feeds["x"]}

    def stop(self):
        self.stopped = self.hangs


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(health_module, "_RETRY_SECONDS", 0.05)


def play(scenario, **options):
    """Runs ``await scenario(model, batcher, health)``; the model's own sample is GOOD."""

    async def inside():
        model = Model()
        batcher = Batcher(
            model.run, stop=model.stop, max_batch=4, max_queue=9, observe=lambda *_: None, **options
        )
        batcher.set_sample(GOOD, ["y"])
        try:
            await scenario(model, batcher, batcher.health)
        finally:
            batcher.close()

    asyncio.run(inside())


async def fail(batcher, feeds, times):
    for _ in range(times):
        with pytest.raises(ModelRunError):
            await batcher.submit(feeds, ["y"])


def test_requests_that_fail_by_their_own_fault_change_nothing():
    async def scenario(model, batcher, health):
        await fail(batcher, BAD, 20)
        await asyncio.sleep(0.1)
        assert health.ready
        assert health.live
        assert model.runs > 20  # the sample was tried

    play(scenario)


def test_a_lost_device_is_not_ready_and_comes_back_by_itself():
    async def scenario(model, batcher, health):
        model.lost = True
        await fail(batcher, GOOD, 3)
        await asyncio.sleep(0.2)
        assert not health.ready
        assert health.live
        assert health.state()["state"] == "UNAVAILABLE"
        model.lost = False
        await asyncio.sleep(0.2)
        assert health.ready

    play(scenario)


def test_what_does_not_come_back_is_not_live(monkeypatch):
    monkeypatch.setattr(health_module, "_GIVE_UP_SECONDS", 0.3)

    async def scenario(model, batcher, health):
        model.lost = True
        await fail(batcher, GOOD, 3)
        await asyncio.sleep(0.2)
        assert health.live
        await asyncio.sleep(0.4)
        assert not health.live

    play(scenario)


def test_a_run_that_hangs_is_ended_and_told():
    async def scenario(model, batcher, health):
        model.hangs = True
        begin = time.monotonic()
        with pytest.raises(RunTimeoutError, match="longer than 0"):
            await batcher.submit(GOOD, ["y"])
        assert time.monotonic() - begin < 1
        assert not health.ready
        model.hangs = model.stopped = False
        await asyncio.sleep(0.4)
        assert health.ready
        assert (await batcher.submit(GOOD, ["y"])).batch == 1

    play(scenario, run_timeout=0.2)


def test_a_run_that_hung_once_where_no_sample_is_known():
    """Ready again when it has ended: a balancer sends nothing to who is not."""

    async def scenario(model, batcher, health):
        batcher._sample = None
        model.hangs = True
        with pytest.raises(RunTimeoutError):
            await batcher.submit(GOOD, ["y"])
        assert not health.ready
        model.hangs = False
        for _ in range(100):
            await asyncio.sleep(0.02)
            if health.ready:
                return
        raise AssertionError(health.state())

    play(scenario, run_timeout=0.2)
