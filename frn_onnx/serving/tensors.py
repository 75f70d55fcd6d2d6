"""One tensor of a request or response: raw bytes or JSON data on one side, an array on the other.

Raw tensors are little-endian and row-major; an element of BYTES is 4 bytes of length, then
UTF-8. JSON data is flat, or nested as the shape says.

Source: Open Inference Protocol, "Tensor Data", and the binary tensor data extension,
https://github.com/kserve/open-inference-protocol
"""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from frn_onnx.serving import datatypes
from frn_onnx.serving.errors import RequestError, show
from frn_onnx.serving.json_numbers import Run, misfit
from frn_onnx.serving.signature import TensorSpec

# Elements that are written as JSON at one go.
_PIECE = 32 * 1024


def to_bytes(array: np.ndarray, datatype: str) -> bytes | memoryview:
    """A tensor as the binary extension sends it; shares memory with ``array`` where it can."""
    if datatype != "BYTES":
        plain = np.ascontiguousarray(array, datatypes.NUMPY[datatype])
        return plain.reshape(-1).view(np.uint8).data
    texts = [str(text).encode() for text in array.ravel()]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))


def to_json(array: np.ndarray, datatype: str) -> Iterator[bytes]:
    """A tensor as flat JSON data, in pieces that each take a few milliseconds."""
    flat = np.ascontiguousarray(array).reshape(-1)
    yield b"["
    for start in range(0, flat.size, _PIECE):
        part: Any = flat[start : start + _PIECE]
        if datatype == "BF16":
            part = datatypes.bfloat16_values(part)
        elif datatype == "BYTES":
            part = [str(text) for text in part]
        text = orjson.dumps(part, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
        yield b"," + text if start else text
    yield b"]"


def from_bytes(data: memoryview, shape: tuple[int, ...], spec: TensorSpec) -> np.ndarray:
    """A tensor from the binary extension; shares memory with ``data`` where it can."""
    count = math.prod(shape)
    if spec.datatype == "BYTES":
        return _as_array(_texts(data, count, spec), shape)
    dtype = datatypes.NUMPY[spec.datatype]
    if count * dtype.itemsize != len(data):
        raise RequestError(
            f"input {spec.name!r} of shape {list(shape)} and datatype {spec.datatype} must have "
            f"{count * dtype.itemsize} bytes, received {len(data)}"
        )
    if spec.datatype == "BOOL":
        raw = np.frombuffer(data, np.uint8)
        if raw.max(initial=0) > 1:
            raise RequestError(f"input {spec.name!r} is BOOL: its bytes must be 0 or 1")
    # The JSON part has any length, so what follows it may lie unaligned.
    return np.require(np.frombuffer(data, dtype).reshape(shape), requirements="A")


def _texts(data: memoryview, count: int, spec: TensorSpec) -> list[str]:
    """The ``count`` strings of a BYTES tensor."""
    texts: list[str] = []
    at = 0
    while at + 4 <= len(data) and len(texts) < count:
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            break
        try:
            texts.append(str(data[at + 4 : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise RequestError(
                f"input {spec.name!r}: element {len(texts)} is not UTF-8: {error.reason}"
            ) from None
        at = end
    if at != len(data) or len(texts) != count:
        raise RequestError(
            f"input {spec.name!r} must have {count} elements of 4 bytes of length (little-endian) "
            f"and the text; byte {at} of {len(data)}, after {len(texts)} elements, does not fit"
        )
    return texts


def _as_array(texts: list[str], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(shape)


def from_json(data: Any, shape: tuple[int, ...], spec: TensorSpec) -> np.ndarray:
    """A tensor from JSON data, flat or nested as its shape; perhaps cut out of its request."""
    if not isinstance(data, Run):
        return _from_list(_flatten(data, shape, spec), spec).reshape(shape)
    tensor: np.ndarray | None = None
    at = 0
    for part in data.lists(shape):
        values = _from_list(part, spec)
        if tensor is None:  # now it is known that the text is long enough for it
            tensor = np.empty(math.prod(shape), values.dtype)
        tensor[at : at + len(values)] = values
        at += len(values)
    assert tensor is not None
    return tensor.reshape(shape)


def _from_list(flat: list, spec: TensorSpec) -> np.ndarray:
    """Elements as JSON has them in an array of the input's type."""
    kind = datatypes.kind(spec.datatype)
    allowed, words = datatypes.JSON_TYPES[kind]
    wrong = set(map(type, flat)) - allowed
    if wrong:
        first = next(value for value in flat if type(value) in wrong)
        raise RequestError(
            f"'data' of input {spec.name!r} ({spec.datatype}) must hold {words} only, received "
            f"{show(first)}"
        )
    if kind == "O":
        return _as_array(flat, (len(flat),))
    if kind == "f":
        return _floats(np.array(flat, dtype=np.float64), spec)
    dtype = datatypes.NUMPY[spec.datatype]
    if kind in "iu" and flat:
        limits = np.iinfo(dtype)
        if min(flat) < limits.min or max(flat) > limits.max:
            raise RequestError(
                f"'data' of input {spec.name!r} must be within {limits.min}..{limits.max} "
                f"({spec.datatype}), received {min(flat)}..{max(flat)}"
            )
    return np.array(flat, dtype=dtype)


def _floats(wide: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """float64 values in the input's type; JSON has no infinity, so none may come of it."""
    with np.errstate(over="ignore"):
        if spec.datatype == "BF16":
            narrow = datatypes.bfloat16_bits(wide)
            finite = np.isfinite(datatypes.bfloat16_values(narrow))
        else:
            narrow = wide.astype(datatypes.NUMPY[spec.datatype])
            finite = np.isfinite(narrow)
    if not finite.all():
        raise RequestError(
            f"'data' of input {spec.name!r} holds {wide[~finite][0]:g}, which is too large for "
            f"{spec.datatype}"
        )
    return narrow


def _flatten(data: Any, shape: tuple[int, ...], spec: TensorSpec) -> list:
    """The elements of flat or nested data, which have the shape announced."""
    count = math.prod(shape)
    if not shape and not isinstance(data, list):
        return [data]
    if not isinstance(data, list):
        raise RequestError(f"'data' of input {spec.name!r} must be a list, received {show(data)}")
    if len(data) == count and not isinstance(data[0], list):
        return data
    level = [data]
    for length in shape:
        if not all(isinstance(row, list) and len(row) == length for row in level):
            break
        level = list(itertools.chain.from_iterable(level))
    else:
        if shape:
            return level
    raise misfit(f"'data' of input {spec.name!r}", shape, _count(data))


def _count(data: list) -> int:
    """The elements of nested lists."""
    found, level = 0, data
    while level:
        lists = [row for row in level if isinstance(row, list)]
        found += len(level) - len(lists)
        level = list(itertools.chain.from_iterable(lists))
    return found
