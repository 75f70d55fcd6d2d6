"""How many bytes the requests in flight may hold altogether, and that they are given back.

What counts is what clients choose the size of: bodies from their first byte on, what is made of
them, and answers until they are sent. What a run of the model takes is the model's.
"""

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from frn_onnx.serving.errors import MemoryFullError, TooLargeError

MIB = 2**20
# Of the memory that is there, for requests; and no more than this unless it is asked for.
_SHARE = 4
_DEFAULT_BYTES = 1024 * MIB
_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")
# <malloc.h>
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
# Told about every byte that is held from now on; raises where it must not be.
Take = Callable[[int], None]


class Budget:
    """Bytes that requests hold now, and may hold at most.

    Args:
        limit: the most, in bytes.
        on_idle: called when the last byte of a large load has been given back.
    """

    def __init__(self, limit: int, on_idle: Callable[[], None] = lambda: None) -> None:
        self.limit = limit
        self.used = 0
        self._peak = 0
        self._on_idle = on_idle
        self._lock = threading.Lock()  # bodies are read in the event loop and decoded in threads

    def add(self, size: int) -> None:
        """Holds ``size`` more, or less where it is negative; raises MemoryFullError."""
        with self._lock:
            if size > 0 and self.used + size > self.limit:
                raise MemoryFullError(
                    f"the requests in flight hold {self.used // MIB} of {self.limit // MIB} MiB, "
                    "which is the limit (--max-memory); try again in a second"
                )
            self.used += size
            self._peak = max(self._peak, self.used)
            was_large = self.used == 0 and self._peak > 32 * MIB
            if self.used == 0:
                self._peak = 0
        if was_large:
            self._on_idle()


class Lease:
    """One request's part of a budget; ``close`` gives it back."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._held = 0
        self._closed = False
        self._lock = threading.Lock()  # its client may go while a thread is at work for it

    def take(self, size: int) -> None:
        """Holds ``size`` bytes more.

        Raises:
            TooLargeError: this request could never have so much.
            MemoryFullError: others hold too much now.
        """
        with self._lock:
            if self._held + size > self._budget.limit:
                raise TooLargeError(
                    f"the request would take {(self._held + size) // MIB} MiB, and all requests "
                    f"together may take {self._budget.limit // MIB} (--max-memory); send fewer "
                    "samples per request, and tensors as binary data"
                )
            if self._closed:
                raise MemoryFullError("the request has ended")
            self._budget.add(size)
            self._held += size

    def close(self) -> None:
        """Gives everything back."""
        with self._lock:
            self._closed = True
            self._budget.add(-self._held)
            self._held = 0


def default_bytes() -> int:
    """A quarter of what this process may have, by its cgroup or the machine, at most 1 GiB."""
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(min([total, *_cgroup_limits()]) // _SHARE, _DEFAULT_BYTES)


def _cgroup_limits() -> Iterator[int]:
    """Those of this process's cgroup and of the ones above it, of both versions (cgroups(7))."""
    lines = _OWN_CGROUPS.read_text().splitlines() if _OWN_CGROUPS.exists() else []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root, name = _CGROUPS, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = _CGROUPS / "memory", "memory.limit_in_bytes"
        else:
            continue
        own = root / path.strip("/")
        for folder in (own, *own.parents):
            # In a container the path may be the host's, and be missing; its root is there.
            file = folder / name
            if folder.is_relative_to(root) and file.exists():
                text = file.read_text().strip()
                yield from [int(text)] if text.isdigit() else []


def return_what_is_free() -> None:
    """Has the C library give large blocks back to the system as soon as they are free.

    By itself glibc raises its threshold to the largest block that was freed, up to 32 MiB, and
    keeps what lies below: after a few large bodies for good.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_MMAP_THRESHOLD, MIB)
        mallopt(_M_TRIM_THRESHOLD, MIB)
        mallopt(_M_ARENA_MAX, 4)


def trim() -> None:
    """Gives back what is free between other blocks; takes milliseconds, in a thread of its own."""
    if malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        threading.Thread(target=malloc_trim, args=(0,), daemon=True).start()
