"""A log that never makes its writer wait.

A pipe that nobody reads (a log shipper that hangs, a supervisor that forgot) fills up, and a
write to it waits for ever. So a thread writes, unless it is to a file, which waits for nobody;
what the thread cannot get rid of is kept up to a limit, and beyond that dropped and counted.
"""

import logging
import os
import select
import stat
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
    """Writes records to a file descriptor, in a thread where that may take time.

    Args:
        descriptor: for example 2, stderr's.
        on_drop: called for every record that is dropped.
    """

    def __init__(self, descriptor: int, on_drop: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._on_drop = on_drop
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._take = self._write if is_file else self._keep
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
            line = b""  # logging's own way is to write about it, to stderr, and to wait
        if not line or not self._take(line):
            self._on_drop()

    def _keep(self, line: bytes) -> bool:
        """Hands a line to the thread; False if that has too much already."""
        with self._changed:
            if self._bytes + len(line) > _KEPT_BYTES:
                self._dropped += 1
                return False
            self._lines.append(line)
            self._bytes += len(line)
            self._changed.notify_all()
            return True

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
            lost = sum(piece.count(b"\n") for piece in _pieces(lines) if not self._write(piece))
            for _ in range(lost):
                self._on_drop()
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
