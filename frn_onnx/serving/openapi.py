"""The OpenAPI description of a server, written from the models it serves."""

from typing import Any

import frn_onnx
from frn_onnx.serving import datatypes
from frn_onnx.serving.codec import LENGTH_HEADER
from frn_onnx.serving.metrics import Metrics, PrometheusMetrics
from frn_onnx.serving.service import Service
from frn_onnx.serving.signature import Signature, TensorSpec

_JSON = "application/json"
_NAME = {"type": "string"}
_INTEGER = {"type": "integer"}
_ANY_OBJECT = {"type": "object"}
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
    "b": {"type": "boolean"},
    "i": _INTEGER,
    "u": _INTEGER,
    "f": {"type": "number"},
    "O": {"type": "string"},
}


def describe(service: Service, metrics: Metrics) -> dict[str, Any]:
    """The description, OpenAPI 3.1; one set of paths per model, with its own shapes."""
    paths: dict[str, Any] = {
        "/v2": _get("Server metadata", _object(name=_NAME, version=_NAME, extensions=_list(_NAME))),
        "/v2/health/live": _get("Whether the server runs", _object(live={"type": "boolean"})),
        "/v2/health/ready": _get(
            "Whether every model can answer", _object(ready={"type": "boolean"}), unready=True
        ),
        "/v2/repository/index": {
            "post": _operation(
                "The models",
                _content(
                    _list(_object(name=_NAME, version=_NAME, state=_NAME, reason=_NAME)), "Models"
                ),
            )
        },
    }
    paths["/v2/models/stats"] = _get("What every model has done so far", _STATISTICS)
    if isinstance(metrics, PrometheusMetrics):
        text = {"text/plain": {"schema": {"type": "string"}}}
        metrics_answer = {"description": "Prometheus' text format", "content": text}
        paths["/metrics"] = {"get": _operation("Metrics", metrics_answer)}
    for served in service.models.values():
        signature = served.signature
        path = f"/v2/models/{signature.name}"
        for root in (path, f"{path}/versions/{signature.version}"):
            paths[root] = _get("Model metadata", _metadata_schema())
            paths[f"{root}/ready"] = _get(
                "Whether the model can answer", _object(name=_NAME, ready={"type": "boolean"})
            )
            paths[f"{root}/config"] = _get("The model's configuration, as Triton's", _ANY_OBJECT)
            paths[f"{root}/stats"] = _get("What the model has done so far", _STATISTICS)
            paths[f"{root}/infer"] = {"post": _infer(signature)}
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
    body = {
        "required": True,
        "content": {
            _JSON: {"schema": _request_schema(signature)},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
    answer = _content(_response_schema(), "The outputs")
    answer["content"]["application/octet-stream"] = {
        "schema": {"type": "string", "format": "binary"}
    }
    answer["headers"] = {
        LENGTH_HEADER: {
            "description": "Length of the JSON part, where raw tensors follow it.",
            "schema": _INTEGER,
        }
    }
    operation = _operation("Inference", answer, errors=tuple(_ERROR_TEXTS))
    operation["requestBody"] = body
    operation["parameters"] = [
        {
            "name": LENGTH_HEADER,
            "in": "header",
            "required": False,
            "description": "Length of the JSON part, where raw tensors follow it.",
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
        "properties": {"binary_data": {"type": "boolean"}},
    }
    schema["properties"] |= {
        "id": _NAME,
        "parameters": {
            "type": "object",
            "properties": {"binary_data_output": {"type": "boolean"}},
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


def _get(summary: str, schema: dict[str, Any], *, unready: bool = False) -> dict[str, Any]:
    operation = _operation(summary, _content(schema, summary))
    if unready:
        operation["responses"]["503"] = _content(schema, "Not every model can answer yet.")
    return {"get": operation}
