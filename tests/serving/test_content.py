"""Bodies in a content coding, at the sizes where pieces end."""

import os
import zlib

import pytest

from frn_onnx.serving import content
from frn_onnx.serving.errors import RequestError

KIB, MIB = 2**10, 2**20
LIMIT = 8 * MIB


def undo(body: bytes, take=lambda size: None) -> bytes:
    return bytes(content.decompress(memoryview(body), "gzip", LIMIT, take))


@pytest.mark.parametrize("size", [0, 1, 64 * KIB - 23, MIB - 1, MIB, MIB + 1, 3 * MIB])
@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("make", [bytes, os.urandom])
def test_what_was_packed_comes_out(size, level, make):
    plain, taken = make(size), []
    packed = zlib.compress(plain, level, wbits=31)
    assert undo(packed, taken.append) == plain
    assert sum(taken) == size
    for end in {1, len(packed) // 2, len(packed) - 1}:
        with pytest.raises(RequestError, match="the gzip body ends too early"):
            undo(packed[:end])
    for more in (b"x", bytes(64 * KIB - len(packed) % (64 * KIB)), packed):
        with pytest.raises(RequestError, match="the gzip body goes on after its end"):
            undo(packed + more)


def test_an_end_where_a_part_ends():
    plain = os.urandom(64 * KIB)
    while len(zlib.compress(plain, 0, wbits=31)) > 64 * KIB:
        plain = plain[:-1]
    packed = zlib.compress(plain, 0, wbits=31)
    assert len(packed) == 64 * KIB
    assert undo(packed) == plain
    with pytest.raises(RequestError, match="goes on after its end"):
        undo(packed + b"x")


def test_what_is_not_read_yet_is_not_copied_over_and_over(monkeypatch):
    """zlib hands back what it has not read, as a copy: of a whole body for each piece of it."""
    copied = 0

    class Stream:
        def __init__(self, wbits):
            self._stream = make(wbits)

        def decompress(self, data, most):
            nonlocal copied
            piece = self._stream.decompress(data, most)
            copied += len(self._stream.unconsumed_tail)
            return piece

        def __getattr__(self, name):
            return getattr(self._stream, name)

    make = zlib.decompressobj
    packed = zlib.compress(os.urandom(6 * MIB), 1, wbits=31)
    monkeypatch.setattr(zlib, "decompressobj", Stream)
    assert len(undo(packed)) == 6 * MIB
    assert copied <= len(packed)
