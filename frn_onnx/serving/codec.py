"""V2 requests to arrays, and arrays to V2 responses; pure functions over bytes.

A body is JSON, or JSON followed by the raw bytes of the tensors it announces with
``binary_data_size``; the header ``Inference-Header-Content-Length`` then holds the length of
the JSON part.

Every request that comes out of :func:`decode` fits the model's signature in names, datatypes
and shapes. Whatever does not is refused with a ``RequestError`` whose text says what was
expected.

Source: Open Inference Protocol, REST, https://github.com/kserve/open-inference-protocol, and
its binary tensor data extension as in Triton Inference Server.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from frn_onnx.serving import datatypes, tensors
from frn_onnx.serving.errors import RequestError, show
from frn_onnx.serving.json_numbers import SMALL_BYTES, Run, cut
from frn_onnx.serving.memory import Take
from frn_onnx.serving.signature import Signature, TensorSpec

LENGTH_HEADER = "Inference-Header-Content-Length"
# Parameters that would change the answer and that this server does not know; others, such as
# priority, are hints.
_REFUSED_INPUT = ("shared_memory_region",)
_REFUSED_OUTPUT = ("shared_memory_region", "classification")
_REFUSED_REQUEST = ("sequence_id",)
# What a short string takes in Python.
_TEXT_BYTES = 64


@dataclass(frozen=True)
class InferRequest:
    """A request that fits the model.

    Attributes:
        id: the client's own name for it, or None.
        inputs: input name -> array; every input of the model.
        outputs: output name -> whether it goes out as raw bytes; in the order asked for.
    """

    id: str | None
    inputs: dict[str, np.ndarray]
    outputs: dict[str, bool]


def parse_length(header: str | None) -> int | None:
    """The value of ``Inference-Header-Content-Length``; None where there is no such header.

    Raises: RequestError if it is no number of bytes.
    """
    if header is None:
        return None
    if not (header.isascii() and header.isdigit()) or len(header) > 18:
        raise RequestError(
            f"{LENGTH_HEADER} must be the length of the JSON part in bytes, received {show(header)}"
        )
    return int(header)


def decode(
    body: bytes | memoryview,
    json_length: int | None,
    signature: Signature,
    take: Take = lambda size: None,
) -> InferRequest:
    """The request in a body.

    Args:
        body: the whole body, without content coding.
        json_length: length of its JSON part; None where it is all JSON.
        signature: what the request must fit.
        take: told about the memory that is about to be used.

    Raises: RequestError.
    """
    split = len(body) if json_length is None else json_length
    if split > len(body):
        raise RequestError(
            f"{LENGTH_HEADER} is {split}, and the whole body has only {len(body)} bytes"
        )
    view = memoryview(body)
    text: bytes | memoryview = view[:split]
    runs: dict[str, Run] = {}
    if split > SMALL_BYTES:
        text, runs = cut(view[:split])
    message = _json(text, split < len(body))
    parameters = _parameters(message, "the request", _REFUSED_REQUEST)
    identity = message.get("id")
    if identity is not None and not isinstance(identity, str):
        raise RequestError(f"'id' must be a string, received {show(identity)}")
    return InferRequest(
        id=identity,
        inputs=_inputs(message, runs, view[split:], signature, take),
        outputs=_outputs(message, parameters.get("binary_data_output", False), signature),
    )


def encode(
    request: InferRequest,
    arrays: Mapping[str, np.ndarray],
    signature: Signature,
    take: Take = lambda size: None,
) -> tuple[list[bytes | memoryview], int | None]:
    """The body of the response.

    NaN and infinity, which JSON cannot write, become ``null`` in JSON data; raw tensors keep them.

    Args:
        request: the request answered.
        arrays: output name -> array, all that the request asks for.
        signature: of the model that gave them.
        take: told about the memory that is about to be used.

    Returns: the body in pieces, and the length of its JSON part where raw tensors follow, else
    None.
    """
    message: dict[str, Any] = {"model_name": signature.name, "model_version": signature.version}
    if request.id is not None:
        message["id"] = request.id
    pieces: list[bytes | memoryview] = [orjson.dumps(message)[:-1], b',"outputs":[']
    raw: list[bytes | memoryview] = []
    for name, as_binary in request.outputs.items():
        array, datatype = arrays[name], signature.outputs[name].datatype
        output: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype}
        if as_binary:
            raw.append(tensors.to_bytes(array, datatype))
            output["parameters"] = {"binary_data_size": len(raw[-1])}
        if len(pieces) > 2:
            pieces.append(b",")
        pieces.append(orjson.dumps(output)[:-1])
        if not as_binary:
            pieces.append(b',"data":')
            for piece in tensors.to_json(array, datatype):
                take(len(piece))
                pieces.append(piece)
        pieces.append(b"}")
    pieces.append(b"]}")
    if True not in request.outputs.values():
        return pieces, None
    return [*pieces, *raw], sum(map(len, pieces))


def _json(data: bytes | memoryview, has_binary: bool) -> dict[str, Any]:
    """The JSON part, an object."""
    try:
        message = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if b"NaN" in bytes(data) or b"Infinity" in bytes(data):
            cure = "NaN and Infinity are not JSON; binary tensors carry them"
        elif has_binary:
            cure = f"check {LENGTH_HEADER}, which says that it has {len(data)} bytes"
        else:
            cure = f"where raw tensors follow the JSON, {LENGTH_HEADER} must hold its length"
        raise RequestError(
            f"the body must be a V2 inference request in JSON, and is not: {error}; {cure}"
        ) from None
    if not isinstance(message, dict):
        raise RequestError(f"the request must be a JSON object, received {show(message)}")
    return message


def _parameters(holder: dict[str, Any], what: str, refused: tuple[str, ...] = ()) -> dict[str, Any]:
    """The "parameters" of a request, input or output."""
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise RequestError(f"'parameters' of {what} must be an object, received {show(parameters)}")
    for name in refused:
        if parameters.get(name):
            raise RequestError(f"{what} asks for {name!r}, which this server does not do; leave it")
    return parameters


def _named(message: dict[str, Any], key: str, known: Mapping[str, TensorSpec]) -> dict[str, dict]:
    """The list of tensors under ``key``: name -> entry, each known and there once."""
    entries = message.get(key)
    kind = key[:-1]
    if not isinstance(entries, list):
        raise RequestError(f"{key!r} must be a list of {key}, received {show(entries)}")
    named: dict[str, dict] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise RequestError(
                f"each {kind} must be an object with a string 'name', received {show(entry)}"
            )
        name = entry["name"]
        if name not in known:
            raise RequestError(
                f"the model has no {kind} {show(name)}; its {key} are {', '.join(map(repr, known))}"
            )
        if name in named:
            raise RequestError(f"{kind} {name!r} is there twice")
        named[name] = entry
    return named


def _outputs(message: dict[str, Any], default: Any, signature: Signature) -> dict[str, bool]:
    """The outputs asked for; all where none is named."""
    if not isinstance(default, bool):
        raise RequestError(f"'binary_data_output' must be true or false, received {show(default)}")
    if message.get("outputs") in (None, []):
        return dict.fromkeys(signature.outputs, default)
    outputs = {}
    for name, entry in _named(message, "outputs", signature.outputs).items():
        what = f"output {name!r}"
        binary = _parameters(entry, what, _REFUSED_OUTPUT).get("binary_data", default)
        if not isinstance(binary, bool):
            raise RequestError(
                f"'binary_data' of {what} must be true or false, received {show(binary)}"
            )
        outputs[name] = binary
    return outputs


def _inputs(
    message: dict[str, Any],
    runs: Mapping[str, Run],
    binary: memoryview,
    signature: Signature,
    take: Take,
) -> dict[str, np.ndarray]:
    """All inputs of the model as arrays."""
    arrays = {}
    used = 0
    entries = _named(message, "inputs", signature.inputs)
    for name, entry in entries.items():
        spec = signature.inputs[name]
        shape = _shape(entry, spec)
        size = _parameters(entry, f"input {name!r}", _REFUSED_INPUT).get("binary_data_size")
        if (size is None) == ("data" not in entry):
            raise RequestError(
                f"input {name!r} must have either 'data' or the parameter 'binary_data_size', "
                f"and has {'neither' if size is None else 'both'}"
            )
        if size is None:
            data = entry["data"]
            if isinstance(data, str) and data in runs:
                data = runs[data]
                take(data.cost(shape, datatypes.NUMPY[spec.datatype].itemsize))
            arrays[name] = tensors.from_json(data, shape, spec)
            continue
        if type(size) is not int or size < 0:
            raise RequestError(
                f"'binary_data_size' of input {name!r} must be a number of bytes, at least 0, "
                f"received {show(size)}"
            )
        if used + size > len(binary):
            raise RequestError(
                f"input {name!r} announces {size} bytes, and the body has {len(binary) - used} "
                "left for it"
            )
        if spec.datatype == "BYTES":
            take(_TEXT_BYTES * min(math.prod(shape), size // 4) + size)
        arrays[name] = tensors.from_bytes(binary[used : used + size], shape, spec)
        used += size
    missing = [name for name in signature.inputs if name not in arrays]
    if missing:
        raise RequestError(
            f"the request lacks the input {', '.join(map(repr, missing))}; the model needs "
            f"{', '.join(map(repr, signature.inputs))}"
        )
    if used != len(binary):
        raise RequestError(
            f"the body has {len(binary)} bytes after the JSON part, and its inputs announce {used} "
            "('binary_data_size')"
        )
    return arrays


def _shape(entry: dict[str, Any], spec: TensorSpec) -> tuple[int, ...]:
    """The shape of an input, which fits the model's; the datatype is checked along."""
    if entry.get("datatype") != spec.datatype:
        raise RequestError(
            f"input {spec.name!r} must have datatype {spec.datatype!r}, received "
            f"{show(entry.get('datatype'))}"
        )
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(dim) is int for dim in shape):
        raise RequestError(
            f"'shape' of input {spec.name!r} must be a list of integers, received {show(shape)}"
        )
    fits = len(shape) == len(spec.shape) and all(
        dim > 0 and want in (-1, dim) for dim, want in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise RequestError(
            f"input {spec.name!r} must have shape {list(spec.shape)} (-1: any length, at least 1), "
            f"received {show(shape)}"
        )
    return tuple(shape)
