"""One thread at a time makes a session: the options that it is given are changed for a while."""

import contextlib
import os
import threading
from collections.abc import Iterator

_lock = threading.RLock()


@contextlib.contextmanager
def exclusive() -> Iterator[None]:
    """Holds off the other threads of this process."""
    with _lock:
        yield


def _renew() -> None:
    """In a child, where the thread that held it is not."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)
