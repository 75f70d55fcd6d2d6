"""Bodies as they travel: in pieces, and in gzip or deflate both ways."""

import re
import zlib

import numpy as np

from frn_onnx.serving.errors import EncodingError, RequestError, TooLargeError, show

# zlib's window bits that also choose the container.
_WBITS = {"gzip": 31, "deflate": 15}
# https://www.rfc-editor.org/rfc/rfc9110#name-quality-values
_WEIGHT = re.compile(r"q=[01](\.[0-9]{0,3})?")
# Shorter bodies do not get shorter by what a coding adds.
_SHORTEST = 1024
# What vector loads like best.
_ALIGNMENT = 64
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


def join(chunks: list[bytes], split: int) -> memoryview:
    """A body in one piece, in which the part behind ``split`` bytes is aligned in memory.

    The JSON part in front of a tensor has any length, and ONNX Runtime wants tensors aligned:
    joined as they come, a large one would have to be copied once more.
    """
    size = sum(map(len, chunks))
    space = np.empty(size + _ALIGNMENT, np.uint8)
    start = -(space.__array_interface__["data"][0] + split) % _ALIGNMENT
    body = space.data[start : start + size]
    at = 0
    for chunk in chunks:
        body[at : at + len(chunk)] = chunk
        at += len(chunk)
    return body


def decompress(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """A body without its coding; never allocates more than the limit.

    Raises:
        RequestError: the body is not in the coding.
        TooLargeError: it grows over the limit.
    """
    stream = zlib.decompressobj(_WBITS[coding])
    try:
        plain = stream.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise RequestError(f"the body is not {coding}, as Content-Encoding says: {error}") from None
    if len(plain) > limit_bytes:
        raise too_large(limit_bytes)
    if not stream.eof or stream.unused_data:
        what = "goes on after its end" if stream.eof else "ends too early"
        raise RequestError(f"the {coding} body {what}")
    return plain


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


def compress(body: bytes, coding: str) -> bytes:
    """A body in a coding."""
    stream = zlib.compressobj(_LEVEL, wbits=_WBITS[coding])
    return stream.compress(body) + stream.flush()
