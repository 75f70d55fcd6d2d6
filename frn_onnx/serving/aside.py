"""Long work on bodies, beside the event loop: each model has threads of its own for it."""

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from frn_onnx.serving.errors import WaitError

T = TypeVar("T")
# Reading JSON keeps Python's lock, so more threads do no more; a coding is undone without it.
_THREADS = 2


class Aside:
    """Runs functions in a few threads, in order; what is not large is done at once.

    A pool that models share would let large bodies of one stand before those of all others.

    Args:
        name: of the threads.
        max_wait: longest that a request waits for its turn, in seconds.
    """

    def __init__(self, name: str, max_wait: float = math.inf) -> None:
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix=name)
        self._max_wait = max_wait

    async def read(self, is_large: bool, function: Callable[..., T], *args: object) -> T:
        """What a function gives that reads a request.

        Raises: WaitError if its turn does not come in time.
        """
        if not is_large:
            return function(*args)
        job = self._pool.submit(function, *args)
        result = asyncio.wrap_future(job)
        try:
            await asyncio.wait([result], timeout=self._max_wait)
            if job.cancel():
                raise WaitError(
                    f"a request waited {self._max_wait:g} s, which is the limit (--max-wait), for "
                    "large ones before it to be read; send large tensors as binary data, or try "
                    "again later",
                    retry_after=self._max_wait,
                )
            return await result
        finally:
            result.cancel()  # its client has gone: what did not begin does not, nobody hears of it

    async def write(self, is_large: bool, function: Callable[..., T], *args: object) -> T:
        """What a function gives that writes an answer: that is not given up any more."""
        if not is_large:
            return function(*args)
        return await asyncio.wrap_future(self._pool.submit(function, *args))

    def close(self) -> None:
        """Ends the threads when they are through with what they do."""
        self._pool.shutdown(wait=False, cancel_futures=True)
