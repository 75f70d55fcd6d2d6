"""Large JSON without a long breath: arrays of numbers are cut out and read piece by piece.

A JSON parser holds Python's lock until it is through: half a second for 63 MiB, in which no other
client is answered, whatever thread it runs in. And it makes an object of every two bytes. So the
arrays under ``"data"``, which are nearly all of a large request, are cut out of the text, and
read in windows straight into their tensor. What is left is small, or refused.
"""

import math
import re
import secrets
from collections.abc import Iterator

import numpy as np
import orjson

from frn_onnx.serving.errors import RequestError, TooLargeError, show

# JSON below this is parsed at one go.
SMALL_BYTES = 64 * 1024
# So much may remain when the arrays are cut out: names, shapes, strings.
TEXT_BYTES = 2**20
# A shorter array stays where it is.
_LONG_BYTES = 4096
# Read at one go: a few milliseconds.
_WINDOW_BYTES = 256 * 1024
# "data", of which JSON lets every letter be written by its number as well.
_DATA = re.compile(
    rb'(?<!\\)"(?:d|\\u0064)(?:a|\\u0061)(?:t|\\u0074)(?:a|\\u0061)"\s{0,64}:\s{0,64}(?=\[)'
)
_SPACE = b" \t\r\n"
# What is deleted to see an array's structure; the letters are those of true, false and null.
_ELEMENTS = b"0123456789.+-eEtrufalsn" + _SPACE
_OPEN, _CLOSE, _COMMA = b"[],"
_NUMBERS = tuple(bytes([byte]) for byte in b"0123456789-tfn")
_NO_NUMBER = re.compile(rb'["{}]')
# Stands in a request for an array; no client knows it.
_MARK = f"numbers {secrets.token_hex(8)} "


class Run:
    """The text of an array of numbers, ``[1, 2]`` or ``[[1], [2]]``, cut out of a request."""

    def __init__(self, text: memoryview) -> None:
        self._text = text

    def cost(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Bytes that reading it as a tensor takes."""
        return min(math.prod(shape), len(self._text)) * itemsize

    def lists(self, shape: tuple[int, ...]) -> Iterator[list]:
        """The elements in order, some at a time; as many as the shape says.

        Raises: RequestError where the text is not JSON, or not of the shape.
        """
        count = math.prod(shape)
        if 2 * count > len(self._text):  # a digit each, and a comma or a bracket
            raise self._misfit(shape)
        nested = bytes(self._text[1:_WINDOW_BYTES]).lstrip(_SPACE).startswith(b"[")
        expected = _Structure(shape if nested else (count,))
        found = 0
        for piece in self._windows():
            own = piece.translate(None, _ELEMENTS)
            fits = own == expected.read(len(own)) and (not nested or _is_separated(piece))
            values = _parse(piece.translate(None, b"[]"))  # first: what is no JSON is no misfit
            if not fits:
                raise self._misfit(shape)
            found += len(values)
            yield values
        if expected.read(1) or found != count:
            raise self._misfit(shape)

    def _misfit(self, shape: tuple[int, ...]) -> RequestError:
        starts = range(0, len(self._text), _WINDOW_BYTES)
        commas = (bytes(self._text[at : at + _WINDOW_BYTES]).count(b",") for at in starts)
        return misfit("'data'", shape, sum(commas) + 1)

    def _windows(self) -> Iterator[bytes]:
        """The text in pieces, each but the last ending behind a comma."""
        at = 0
        while at < len(self._text):
            piece = bytes(self._text[at : at + _WINDOW_BYTES])
            if at + len(piece) < len(self._text):
                piece = piece[: piece.rfind(b",") + 1]
                if not piece:
                    raise RequestError(f"there is no element in {_WINDOW_BYTES} bytes of 'data'")
            yield piece
            at += len(piece)


class _Structure:
    """The brackets and commas that an array of these lengths has, made as they are read."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        part, inner = b",", len(dims)  # a list has one comma less than elements
        while inner > 0 and len(part) * dims[inner - 1] <= _WINDOW_BYTES:
            inner -= 1
            part = b"[" + (part * dims[inner])[:-1] + b"],"
        self._pieces = _lists(dims[:inner], part)
        self._ahead = b""

    def read(self, size: int) -> bytes:
        """The next so many of them, or what is left."""
        parts = [self._ahead]
        room = size - len(self._ahead)
        while room > 0 and (piece := next(self._pieces, None)) is not None:
            parts.append(piece)
            room -= len(piece)
        whole = b"".join(parts)
        self._ahead = whole[size:]
        return whole[:size]


def _lists(dims: tuple[int, ...], part: bytes) -> Iterator[bytes]:
    """The structure of nested lists whose innermost hold ``part``, which ends with a comma."""
    if not dims:
        yield part[:-1]
        return
    yield b"["
    if len(dims) > 1:
        for i in range(dims[0]):
            yield from (b",",) if i else ()
            yield from _lists(dims[1:], part)
    else:
        several = max(1, _WINDOW_BYTES // len(part))
        for _ in range((dims[0] - 1) // several):
            yield part * several
        yield (part * ((dims[0] - 1) % several + 1))[:-1]
    yield b"]"


def cut(text: memoryview) -> tuple[bytes, dict[str, Run]]:
    """A large request's JSON without its arrays of numbers.

    Returns: the JSON with a string in place of each, and the arrays by these strings.

    Raises:
        TooLargeError: too much is left.
        RequestError: and that because of numbers which do not end, or not as numbers.
    """
    kept: list[bytes] = []
    runs: dict[str, Run] = {}
    room, at, start = TEXT_BYTES, 0, 0
    left: int | None = None
    while found := _DATA.search(text, at, min(len(text), start + room + 1)):
        at = found.end()
        end = _end_of_numbers(text, at)
        if end is None:
            left = at
            continue
        name = f"{_MARK}{len(runs)}"
        runs[name] = Run(text[at:end])
        kept += [bytes(text[start:at]), b'"%s"' % name.encode()]
        room -= at - start
        at = start = end
    if len(text) - start > room:
        if left is not None:
            _check_numbers(text, left)
        raise TooLargeError(
            f"the JSON has more than {TEXT_BYTES} bytes besides the numbers in 'data'; send "
            "strings and other large tensors as binary data"
        )
    kept.append(bytes(text[start:]))
    return b"".join(kept), runs


def _end_of_numbers(text: memoryview, at: int) -> int | None:
    """Where a long array ends that holds neither strings nor objects; None where it does."""
    start, size = at, _LONG_BYTES
    while start < len(text):
        window = bytes(text[start : start + size])
        ends = [end for end in map(window.find, (b'"', b"}", b"{")) if end >= 0]
        if ends:
            break
        start, size = start + len(window), _WINDOW_BYTES
    else:
        return None
    end = start + min(ends)
    tail = bytes(text[max(at, end - 256) : end])
    close = tail.rfind(b"]")
    if start == at or close < 0 or tail[close + 1 :].strip(_SPACE + b","):
        return None
    return end - len(tail) + close + 1


def _check_numbers(text: memoryview, at: int) -> None:
    """Raises RequestError if the array there begins with a number and goes on with others."""
    if bytes(text[at : at + _LONG_BYTES]).lstrip(b"[" + _SPACE)[:1] not in _NUMBERS:
        return
    # In windows: a search holds Python's lock until it is through.
    windows = range(at, len(text), _WINDOW_BYTES)
    found = (_NO_NUMBER.search(text, start, start + _WINDOW_BYTES) for start in windows)
    end = next(filter(None, found), None)
    if end is None:
        raise RequestError(
            f"the body must be a V2 inference request in JSON, and ends after {len(text)} bytes in "
            "the middle of an array under 'data'; it was cut off, or a bracket is missing"
        )
    before = bytes(text[max(at, end.start() - 256) : end.start()])
    if before.rstrip(_SPACE + b",").endswith(b"]"):
        return
    there = bytes(text[end.start() : end.start() + 64]).decode(errors="replace")
    raise RequestError(
        f"'data' begins with a number and must hold numbers only, received {show(there)} at byte "
        f"{end.start()} of the body"
    )


def _is_separated(piece: bytes) -> bool:
    """Whether lists open only behind a list or a comma, and end only in front of one."""
    text = np.frombuffer(piece.translate(None, _SPACE), np.uint8)
    opened = np.flatnonzero(text == _OPEN)
    closed = np.flatnonzero(text == _CLOSE)
    before = text[opened[opened > 0] - 1]
    behind = text[closed[closed < len(text) - 1] + 1]
    return bool(
        ((before == _OPEN) | (before == _COMMA)).all()
        and ((behind == _CLOSE) | (behind == _COMMA)).all()
    )


def _parse(elements: bytes) -> list:
    """The elements between commas; the last comma may have nothing behind it."""
    text = elements.rstrip(_SPACE)
    try:
        return orjson.loads(b"[" + text.removesuffix(b",") + b"]")
    except orjson.JSONDecodeError as error:
        hint = "; NaN and Infinity are not JSON, binary tensors carry them"
        is_it = b"N" in text or b"I" in text
        raise RequestError(
            f"'data' must hold JSON, and does not: {error.msg}{hint if is_it else ''}"
        ) from None


def misfit(what: str, shape: tuple[int, ...], received: int) -> RequestError:
    """The error for data that has so many elements, or the right number in other lists."""
    count = math.prod(shape)
    return RequestError(
        f"{what} must hold the {count} elements of shape {list(shape)}, in one flat list or in "
        f"lists nested as the shape says, received {received}"
        f"{' in other lists' if received == count else ''}"
    )
