"""Whether a model can still answer: never a constant, and never what one client decides.

Requests can fail by their own fault, so failures only raise the suspicion. It is settled by a run
of the model's own sample, which is known to work: while that fails the model is not ready, and it
is tried again until it succeeds. A process whose model does not come back has lost its device,
and only a new process gets it again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from frn_onnx.serving.errors import RequestError

# Runs that fail in a row before the model's own sample is tried.
_SUSPICIOUS = 3
_RETRY_SECONDS = 2.0
# A model that has not been ready for so long does not come back.
_GIVE_UP_SECONDS = 30.0


class Health:
    """The state of one model; everything is called in the event loop.

    Args:
        check: runs the model's own sample; raises RequestError where that fails.
    """

    def __init__(self, check: Callable[[], Awaitable[object]]) -> None:
        self._check = check
        self._failures = 0
        self._down_since: float | None = None
        self._examination: asyncio.Task | None = None

    @property
    def ready(self) -> bool:
        """Whether the model answers."""
        return self._down_since is None

    @property
    def live(self) -> bool:
        """Whether it does, or may come to do so again."""
        return self._down_since is None or time.monotonic() < self._down_since + _GIVE_UP_SECONDS

    def state(self) -> dict[str, str]:
        """As the protocol's repository index tells it."""
        if self.ready:
            return {"state": "READY", "reason": ""}
        return {"state": "UNAVAILABLE", "reason": "its runs fail, or one does not end"}

    def note(self, succeeded: bool) -> None:
        """A run ended."""
        if succeeded:
            self._failures, self._down_since = 0, None
            return
        self._failures += 1
        if self._failures >= _SUSPICIOUS:
            self._examine()

    def hangs(self) -> None:
        """A run does not end."""
        self._down_since = self._down_since or time.monotonic()
        self._examine()

    def _examine(self) -> None:
        if self._examination is None:
            self._examination = asyncio.get_running_loop().create_task(self._until_it_runs())

    async def _until_it_runs(self) -> None:
        while True:
            try:
                await self._check()
            except RequestError:
                self._down_since = self._down_since or time.monotonic()
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self.note(True)
                self._examination = None
                return
