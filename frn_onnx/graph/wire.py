"""An ONNX file's message without its large weights, which stay where they are in the file.

A weight takes most of the time that a file takes to load, and is copied more than once. Protobuf
itself cannot skip it: here the message is read field by field, as its encoding lays them out, and
each large ``raw_data`` becomes external data: the file's name, an offset and a length.

https://protobuf.dev/programming-guides/encoding, and the field numbers of onnx.proto.
"""

import contextlib
import mmap
from collections.abc import Callable, Iterator
from pathlib import Path

from google.protobuf.message import Message
from onnx import GraphProto, ModelProto, TensorProto

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SIZES = {_FIXED64: 8, _FIXED32: 4}


def _tag(message: type[Message], field: str, kind: int = _BYTES) -> int:
    return message.DESCRIPTOR.fields_by_name[field].number << 3 | kind


# Of another kind, a field of the same number is one that protobuf does not know.
_GRAPH = _tag(ModelProto, "graph")
_INITIALIZER = _tag(GraphProto, "initializer")
_RAW_DATA = _tag(TensorProto, "raw_data")
_ELSEWHERE = {_tag(TensorProto, "external_data"), _tag(TensorProto, "data_location", _VARINT)}


def without_weights(path: Path, larger_than: int) -> bytes | None:
    """The message of an ONNX file, with weights of the main graph left in the file.

    Args:
        path: of the file.
        larger_than: bytes of a weight that is left out.

    Returns:
        None where the file is no message, or an empty one.

    Raises:
        OSError: the file cannot be read.
    """
    with (
        path.open("rb") as file,
        contextlib.suppress(ValueError),
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        return _Message(content, path.name, larger_than).model()
    return None


class _Message:
    """Reads a model's message; ValueError where it is none."""

    def __init__(self, content: mmap.mmap, location: str, larger_than: int) -> None:
        self._content = content
        self._location = location
        self._larger_than = larger_than

    def model(self) -> bytes:
        return self._changed(0, len(self._content), _GRAPH, self._graph)

    def _graph(self, begin: int, end: int) -> bytes:
        return self._changed(begin, end, _INITIALIZER, self._tensor)

    def _tensor(self, begin: int, end: int) -> bytes:
        fields = list(self._fields(begin, end))
        data = [field for field in fields if field[0] == _RAW_DATA]
        # One that says itself where its data are, or says twice what they are, stays as it is.
        if len(data) != 1 or any(tag in _ELSEWHERE for tag, *_ in fields):
            return self._content[begin:end]
        ((_, start, value, stop),) = data
        if stop - value <= self._larger_than:
            return self._content[begin:end]
        outside = TensorProto(data_location=TensorProto.EXTERNAL)
        outside.external_data.add(key="location", value=self._location)
        outside.external_data.add(key="offset", value=str(value))
        outside.external_data.add(key="length", value=str(stop - value))
        around = self._content[begin:start], self._content[stop:end]
        return b"".join((*around, outside.SerializeToString()))

    def _changed(
        self, begin: int, end: int, changed: int, change: Callable[[int, int], bytes]
    ) -> bytes:
        """The fields of a message, each of one tag made another."""
        pieces = []
        for tag, start, value, stop in self._fields(begin, end):
            if tag == changed:
                inner = change(value, stop)
                pieces += [_varint(tag), _varint(len(inner)), inner]
            else:
                pieces.append(self._content[start:stop])
        return b"".join(pieces)

    def _fields(self, begin: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Of each field its tag, and where it, its value and what follows begin."""
        at = begin
        while at < end:
            tag, value = self._read_varint(at, end)
            kind = tag & 7
            if kind == _VARINT:
                stop = self._read_varint(value, end)[1]
            elif kind == _BYTES:
                length, value = self._read_varint(value, end)
                stop = value + length
            elif kind in _SIZES:
                stop = value + _SIZES[kind]
            else:
                raise ValueError(f"a field at byte {at} is of an unknown kind: {kind}")
            if stop > end:
                raise ValueError(f"a field at byte {at} ends beyond what holds it")
            yield tag, at, value, stop
            at = stop

    def _read_varint(self, at: int, end: int) -> tuple[int, int]:
        """A number of seven bits a byte, and where it ends."""
        number = shift = 0
        while at < end and shift < 64:
            byte = self._content[at]
            at += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number, at
            shift += 7
        raise ValueError(f"a number ends beyond byte {at}")


def _varint(number: int) -> bytes:
    content = bytearray()
    while number > 0x7F:
        content.append(number & 0x7F | 0x80)
        number >>= 7
    content.append(number)
    return bytes(content)
