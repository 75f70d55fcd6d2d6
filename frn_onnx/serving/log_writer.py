"""A log that never makes its writer wait.

A pipe that nobody reads (a log shipper that hangs, a supervisor that forgot) fills up, and a
write to it waits for ever. Here a thread writes; what it cannot get rid of is kept up to a limit,
and beyond that dropped and counted.
"""

import logging
import os
import select
import threading
from collections import deque
from collections.abc import Callable

# Most bytes that wait to be written.
_KEPT_BYTES = 2**20
# Lines that come within this time go out together: waking the thread for each would cost the
# event loop more than writing it.
_PAUSE_SECONDS = 0.05
# How long the end of the process waits for the last lines.
_FLUSH_SECONDS = 1.0
# POSIX' least for PIPE_BUF is 512, Linux' is 4096: a write of so many bytes is not torn apart.
_ATOMIC_BYTES = select.PIPE_BUF


class BackgroundHandler(logging.Handler):
    """Writes records to a file descriptor in a thread.

    Args:
        descriptor: for example 2, stderr's.
        on_drop: called for every record that is dropped, in the thread that logs.
    """

    def __init__(self, descriptor: int, on_drop: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._on_drop = on_drop
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._hurry = threading.Event()
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="frn-onnx-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Takes a record; never waits, never raises."""
        try:
            line = self.format(record).encode(errors="backslashreplace") + b"\n"
        except Exception:
            line = None  # logging's own way is to write about it, to stderr, and to wait
        with self._changed:
            kept = line is not None and self._bytes + len(line) <= _KEPT_BYTES
            if kept:
                self._lines.append(line)
                self._bytes += len(line)
                self._changed.notify_all()
            else:
                self._dropped += 1
        if not kept:
            self._on_drop()

    def flush(self) -> None:
        """Waits a moment for what there is to be written."""
        self._hurry.set()
        with self._changed:
            self._changed.wait_for(lambda: not self._bytes, _FLUSH_SECONDS)
        self._hurry.clear()

    def close(self) -> None:
        """Ends the thread, after a flush."""
        self.flush()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        super().close()

    def _work(self) -> None:
        """The thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lines or self._closed)
                if self._closed:
                    return
            self._hurry.wait(_PAUSE_SECONDS)
            with self._changed:
                lines, self._lines = self._lines, deque()
            lost = sum(not self._write(piece) for piece in _pieces(lines))
            with self._changed:
                self._bytes -= sum(map(len, lines))
                dropped, self._dropped = self._dropped, 0
                self._changed.notify_all()
            if dropped and not lost:
                self._tell(dropped)

    def _tell(self, dropped: int) -> None:
        """Writes how many records are missing here."""
        self.emit(
            logging.makeLogRecord(
                {
                    "name": "frn_onnx.serving",
                    "levelname": "WARNING",
                    "msg": "log lines were dropped: nobody took them",
                    "fields": {"dropped": dropped},
                }
            )
        )

    def _write(self, data: bytes) -> bool:
        """Writes everything, however long that takes; False if nobody will ever read it."""
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # somebody made the descriptor non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                self._on_drop()
                return False
        return True


def _pieces(lines: deque[bytes]) -> list[bytes]:
    """Lines put together as far as one write keeps them whole; a longer one stays alone."""
    pieces = [b""]
    for line in lines:
        if len(pieces[-1]) + len(line) > _ATOMIC_BYTES:
            pieces.append(b"")
        pieces[-1] += line
    return pieces
