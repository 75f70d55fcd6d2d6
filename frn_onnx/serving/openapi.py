"""The OpenAPI description of a server, written from the models it serves."""

from collections.abc import Callable, Iterable
from typing import Any

from starlette.routing import Route

import frn_onnx
from frn_onnx.serving import datatypes
from frn_onnx.serving.codec import LENGTH_HEADER
from frn_onnx.serving.service import Service
from frn_onnx.serving.signature import Signature, TensorSpec

_JSON = "application/json"
_NAME = {"type": "string"}
_INTEGER = {"type": "integer"}
_BOOLEAN = {"type": "boolean"}
_ANY_OBJECT = {"type": "object"}
_RAW = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_LENGTH_TEXT = "Length of the JSON part, where raw tensors follow it."
_STATISTICS = {
    "type": "object",
    "properties": {"model_stats": {"type": "array", "items": _ANY_OBJECT}},
    "required": ["model_stats"],
}
_ERROR_TEXTS = {
    400: "The request does not fit the protocol or the model; the text says what was expected.",
    404: "There is no such model or version.",
    408: "The body did not arrive in time.",
    413: "The body is over the limit.",
    415: "The content coding is unknown.",
    500: "The model failed on this request.",
    503: "Too many requests wait; Retry-After says when to come again.",
}
# JSON Schema's words for the kinds of datatypes.JSON_TYPES.
_ELEMENTS = {
    "b": _BOOLEAN,
    "i": _INTEGER,
    "u": _INTEGER,
    "f": {"type": "number"},
    "O": {"type": "string"},
}


def describe(service: Service, routes: Iterable[Route]) -> dict[str, Any]:
    """The description, OpenAPI 3.1; one set of paths per model, with its own shapes.

    Args:
        service: the models.
        routes: the server's; those that are described go by their names.
    """
    paths: dict[str, Any] = {}
    signatures = [served.signature for served in service.models.values()]
    for route in routes:
        method = "post" if "POST" in (route.methods or ()) else "get"
        if route.name in _OPERATIONS:
            paths[route.path] = {method: _OPERATIONS[route.name]}
        for signature in signatures if route.name in _OF_MODEL else ():
            path = route.path.format(model=signature.name, version=signature.version)
            paths[path] = {method: _OF_MODEL[route.name](signature)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Open Inference Protocol (V2)",
            "version": frn_onnx.__version__,
            "description": "REST with JSON and raw binary tensors.",
        },
        "paths": paths,
    }


def _infer(signature: Signature) -> dict[str, Any]:
    """The inference operation of one model."""
    body = {_JSON: {"schema": _request_schema(signature)}, **_RAW}
    answer = _content(_response_schema(), "The outputs")
    answer["content"] |= _RAW
    answer["headers"] = {LENGTH_HEADER: {"description": _LENGTH_TEXT, "schema": _INTEGER}}
    operation = _operation("Inference", answer, errors=tuple(_ERROR_TEXTS))
    operation["requestBody"] = {"required": True, "content": body}
    operation["parameters"] = [
        {
            "name": LENGTH_HEADER,
            "in": "header",
            "required": False,
            "description": _LENGTH_TEXT,
            "schema": {"type": "integer", "minimum": 0},
        }
    ]
    return operation


def _request_schema(signature: Signature) -> dict[str, Any]:
    schema = _object(inputs=_list({"oneOf": [_input(spec) for spec in signature.inputs.values()]}))
    schema["properties"]["inputs"].update(
        minItems=len(signature.inputs), maxItems=len(signature.inputs)
    )
    output = _object(name={"enum": list(signature.outputs)})
    output["properties"]["parameters"] = {
        "type": "object",
        "properties": {"binary_data": _BOOLEAN},
    }
    schema["properties"] |= {
        "id": _NAME,
        "parameters": {
            "type": "object",
            "properties": {"binary_data_output": _BOOLEAN},
        },
        "outputs": _list(output),
    }
    return schema


def _input(spec: TensorSpec) -> dict[str, Any]:
    dims = [{"type": "integer", "minimum": 1} if d == -1 else {"const": d} for d in spec.shape]
    shape = {"type": "array", "prefixItems": dims, "minItems": len(dims), "maxItems": len(dims)}
    entry = _object(name={"const": spec.name}, datatype={"const": spec.datatype}, shape=shape)
    entry["properties"] |= {
        "data": {
            "description": "The elements, in one flat list or nested as the shape says.",
            "type": "array",
            "items": {"anyOf": [_ELEMENTS[datatypes.kind(spec.datatype)], {"type": "array"}]},
        },
        "parameters": {
            "type": "object",
            "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
        },
    }
    return entry


def _response_schema() -> dict[str, Any]:
    output = _object(name=_NAME, shape=_list(_INTEGER), datatype={"enum": list(datatypes.NUMPY)})
    output["properties"] |= {"data": {"type": "array"}, "parameters": _ANY_OBJECT}
    schema = _object(model_name=_NAME, model_version=_NAME, outputs=_list(output))
    schema["properties"]["id"] = _NAME
    return schema


def _metadata_schema() -> dict[str, Any]:
    tensor = _object(name=_NAME, datatype={"enum": list(datatypes.NUMPY)}, shape=_list(_INTEGER))
    return _object(
        name=_NAME,
        versions=_list(_NAME),
        platform=_NAME,
        inputs=_list(tensor),
        outputs=_list(tensor),
    )


def _object(**properties: Any) -> dict[str, Any]:
    """The schema of an object in which every property is required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _content(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": schema}}}


def _operation(
    summary: str, answer: dict[str, Any], errors: tuple[int, ...] = ()
) -> dict[str, Any]:
    error = _object(error=_NAME)
    responses = {str(status): _content(error, _ERROR_TEXTS[status]) for status in errors}
    return {"summary": summary, "responses": {"200": answer, **responses}}


def _get(summary: str, schema: dict[str, Any], unready: str | None = None) -> dict[str, Any]:
    operation = _operation(summary, _content(schema, summary))
    if unready:
        operation["responses"]["503"] = _content(schema, unready)
    return operation


# Name of a route -> what it does.
_OPERATIONS = {
    "server_metadata": _get(
        "Server metadata", _object(name=_NAME, version=_NAME, extensions=_list(_NAME))
    ),
    "live": _get("Whether the server runs", _object(live=_BOOLEAN), "A model does not come back."),
    "ready": _get(
        "Whether every model can answer", _object(ready=_BOOLEAN), "Not every one can yet."
    ),
    "index": _get(
        "The models", _list(_object(name=_NAME, version=_NAME, state=_NAME, reason=_NAME))
    ),
    "statistics": _get("What every model has done so far", _STATISTICS),
    "metrics": _operation(
        "Metrics",
        {
            "description": "Prometheus' text format",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
    ),
}
# The same for those of one model.
_OF_MODEL: dict[str, Callable[[Signature], dict[str, Any]]] = {
    "infer": _infer,
    "model_metadata": lambda _: _get("Model metadata", _metadata_schema()),
    "model_ready": lambda _: _get(
        "Whether the model can answer", _object(name=_NAME, ready=_BOOLEAN), "It cannot yet."
    ),
    "model_config": lambda _: _get("The model's configuration, as Triton's", _ANY_OBJECT),
    "model_statistics": lambda _: _get("What the model has done so far", _STATISTICS),
}
