"""One tensor of a request or response: raw bytes or JSON data on one side, an array on the other.

Raw tensors are little-endian and row-major; an element of BYTES is 4 bytes of length, then
UTF-8. JSON data is flat, or nested as the shape says.

Source: Open Inference Protocol, "Tensor Data", and the binary tensor data extension,
https://github.com/kserve/open-inference-protocol
"""

import itertools
import math
from typing import Any

import numpy as np

from frn_onnx.serving import datatypes
from frn_onnx.serving.errors import RequestError, show
from frn_onnx.serving.signature import TensorSpec


def to_bytes(array: np.ndarray, datatype: str) -> bytes:
    """A tensor as the binary extension sends it."""
    if datatype != "BYTES":
        return array.astype(datatypes.NUMPY[datatype], copy=False).tobytes()
    texts = [str(text).encode() for text in array.ravel()]
    return b"".join(part for text in texts for part in (len(text).to_bytes(4, "little"), text))


def to_json(array: np.ndarray, datatype: str) -> Any:
    """A tensor as JSON data: flat, as a list or an array that orjson can write."""
    flat = np.ascontiguousarray(array).ravel()
    if datatype == "BF16":
        return datatypes.bfloat16_values(flat)
    return [str(text) for text in flat] if datatype == "BYTES" else flat


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
    """A tensor from JSON data, flat or nested as its shape."""
    flat = _flatten(data, shape, spec)
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
        return _as_array(flat, shape)
    if kind == "f":
        return _floats(np.array(flat, dtype=np.float64), spec).reshape(shape)
    dtype = datatypes.NUMPY[spec.datatype]
    if kind in "iu":
        limits = np.iinfo(dtype)
        if min(flat) < limits.min or max(flat) > limits.max:
            raise RequestError(
                f"'data' of input {spec.name!r} must be within {limits.min}..{limits.max} "
                f"({spec.datatype}), received {min(flat)}..{max(flat)}"
            )
    return np.array(flat, dtype=dtype).reshape(shape)


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
    raise RequestError(
        f"'data' of input {spec.name!r} must hold the {count} elements of shape {list(shape)}, in "
        "one flat list or in lists nested as the shape says"
    )
