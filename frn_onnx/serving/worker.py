"""A thread for work that may never end: the process does not wait for it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """A thread that calls functions one after the other; an executor's would outlive the process.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def put(self, function: Callable[[], object]) -> None:
        """Calls a function, which must not raise, when its turn comes."""
        self._calls.put(function)

    def call(self, function: Callable[[], T]) -> T:
        """What a function returns, or raises."""
        future: Future[T] = Future()

        def settle() -> None:
            try:
                future.set_result(function())
            except Exception as error:
                future.set_exception(error)

        self.put(settle)
        return future.result()

    def close(self, seconds: float) -> None:
        """Ends the thread behind what it has to do, and waits for that, no longer than so."""
        self._calls.put(None)
        self._thread.join(seconds)

    def _work(self) -> None:
        while function := self._calls.get():
            function()
            del function  # and what it holds, until there is another
