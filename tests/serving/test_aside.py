"""Work beside the event loop: whoever has gone leaves nothing behind."""

import asyncio
import gc
import threading

import pytest

from frn_onnx.serving.aside import Aside


@pytest.mark.parametrize("way", ["read", "write"])
def test_an_error_that_nobody_waits_for_any_more_is_not_logged(way, caplog):
    begun, gone = threading.Event(), threading.Event()

    def work():
        begun.set()
        gone.wait(10)
        raise ValueError("the request has ended")

    async def play():
        aside = Aside("test", max_wait=30)
        client = asyncio.create_task(getattr(aside, way)(True, work))
        await asyncio.to_thread(begun.wait, 10)
        client.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client
        gone.set()
        aside._pool.shutdown(wait=True)
        await asyncio.sleep(0)  # what the thread told the loop
        del client
        gc.collect()

    asyncio.run(play())
    assert not caplog.records
