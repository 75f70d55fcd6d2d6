"""Bodies as they travel: in pieces, and in gzip or deflate both ways."""

import re
import zlib
from collections.abc import Iterable, Iterator

import numpy as np

from frn_onnx.serving.errors import EncodingError, RequestError, TooLargeError, show
from frn_onnx.serving.memory import Take

# zlib's window bits that also choose the container.
_WBITS = {"gzip": 31, "deflate": 15}
# https://www.rfc-editor.org/rfc/rfc9110#name-quality-values
_WEIGHT = re.compile(r"q=[01](\.[0-9]{0,3})?")
# Shorter bodies do not get shorter by what a coding adds.
_SHORTEST = 1024
# What vector loads like best.
_ALIGNMENT = 64
# Sent, or decompressed, at one go.
_PART_BYTES = 64 * 1024
_PIECE_BYTES = 2**20
# The fastest level: on tensors the others take several times as long for a few per cent.
_LEVEL = 1


def check_coding(header: str | None) -> str | None:
    """The coding in ``Content-Encoding``, None for none.

    Raises: EncodingError if it is one that this server does not know.
    """
    coding = (header or "identity").strip().lower()
    if coding == "identity":
        return None
    if coding not in _WBITS:
        raise EncodingError(
            f"Content-Encoding must be gzip, deflate or identity, received {show(header)}"
        )
    return coding


def too_large(limit_bytes: int) -> TooLargeError:
    """The error for a body over the limit."""
    return TooLargeError(
        f"the body is larger than the limit of {limit_bytes} bytes; send fewer samples per "
        "request, use binary tensors rather than JSON, or raise --max-body"
    )


class Body:
    """A body that arrives in pieces, and its place in memory.

    The JSON part in front of a tensor has any length, and ONNX Runtime wants tensors aligned: a
    large one would have to be copied once more, if the part behind ``split`` were not.

    Args:
        announced: the length that the client announced; 0 where it did not.
        split: length of the JSON part.
        limit_bytes: most bytes that are kept; what is more is only counted.
        take: told about the memory that is about to be used.

    Attributes:
        size: bytes that came.
    """

    def __init__(self, announced: int, split: int, limit_bytes: int, take: Take) -> None:
        self.size = 0
        self._split = split
        self._limit = limit_bytes
        self._take = take
        # The system gives memory when it is written to: who only announces much takes none.
        self._place = self._room_for(min(announced, limit_bytes))

    def _room_for(self, size: int) -> memoryview:
        space = np.empty(size + _ALIGNMENT, np.uint8)
        start = -(space.__array_interface__["data"][0] + self._split) % _ALIGNMENT
        return space.data[start : start + size]

    def append(self, chunk: bytes) -> None:
        """Keeps a piece."""
        start, self.size = self.size, self.size + len(chunk)
        if self.size > self._limit:
            self._place = self._place[:0]
            return
        self._take(len(chunk))
        if self.size > len(self._place):  # in chunks, and of unknown length
            larger = self._room_for(max(2 * self.size, _SHORTEST))
            # By NumPy, which lets other threads go on meanwhile.
            np.copyto(np.asarray(larger[:start]), np.asarray(self._place[:start]))
            self._place = larger
        self._place[start : self.size] = chunk

    def whole(self) -> memoryview:
        """All that came, in one piece."""
        return self._place[: self.size]


def decompress(body: memoryview, coding: str, limit_bytes: int, take: Take) -> memoryview:
    """A body without its coding.

    Args:
        limit_bytes: most bytes that may come of it.
        take: told about the memory that is about to be used.

    Raises:
        RequestError: the body is not in the coding.
        TooLargeError: it grows over the limit.
    """
    stream = zlib.decompressobj(_WBITS[coding])
    plain = Body(0, 0, limit_bytes, take)
    start = 0
    while start < len(body) and not stream.eof:
        # zlib copies what it has not read when a piece is full: never the whole body.
        rest: bytes | memoryview = body[start : start + _PART_BYTES]
        start += len(rest)
        is_full = True
        while (rest or is_full) and not stream.eof:
            try:
                piece = stream.decompress(rest, _PIECE_BYTES)
            except zlib.error as error:
                text = f"the body is not {coding}, as Content-Encoding says: {error}"
                raise RequestError(text) from None
            rest, is_full = stream.unconsumed_tail, len(piece) == _PIECE_BYTES
            plain.append(piece)
            if plain.size > limit_bytes:
                raise too_large(limit_bytes)
    if not stream.eof or stream.unused_data or start < len(body):
        what = "goes on after its end" if stream.eof else "ends too early"
        raise RequestError(f"the {coding} body {what}")
    return plain.whole()


def choose_coding(accept: str | None, *, length: int, has_binary: bool) -> str | None:
    """The coding for a response.

    Many clients list codings in every request without a thought. Raw tensors hardly shrink and
    cost time, so they are compressed only for a client that names one coding and no other.

    Args:
        accept: the header ``Accept-Encoding``.
        length: of the body, in bytes.
        has_binary: whether the body holds raw tensors.
    """
    if not accept or length < _SHORTEST:
        return None
    qualities = dict(map(_quality, accept.split(",")))
    if has_binary and sum(map(bool, qualities.values())) > 1:
        return None
    best = max(_WBITS, key=lambda name: qualities.get(name, 0.0))
    wanted = qualities.get(best, 0.0)
    return best if wanted and wanted >= qualities.get("identity", 0.0) else None


def _quality(part: str) -> tuple[str, float]:
    """A coding in ``Accept-Encoding`` and its weight; 0 refuses it, and so does nonsense."""
    name, _, weight = part.replace(" ", "").lower().partition(";")
    if not weight:
        return name, 1.0
    return name, float(weight[2:]) if _WEIGHT.fullmatch(weight) else 0.0


def compress(
    pieces: Iterable[bytes | memoryview], coding: str, take: Take
) -> list[bytes | memoryview]:
    """A body in a coding, both in pieces."""
    stream = zlib.compressobj(_LEVEL, wbits=_WBITS[coding])
    packed: list[bytes | memoryview] = []
    for part in (*map(stream.compress, pieces), stream.flush()):
        take(len(part))
        packed.append(part)
    return packed


def in_parts(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes in parts that fit a socket's buffer: what is not sent yet is held once."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        for start in range(0, len(piece), _PART_BYTES):
            waiting.append(bytes(piece[start : start + _PART_BYTES]))
            size += len(waiting[-1])
            if size >= _PART_BYTES:
                yield b"".join(waiting)
                waiting, size = [], 0
    yield b"".join(waiting)
