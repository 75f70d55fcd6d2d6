"""The ways in which a request can fail, each with its HTTP status."""

import reprlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from frn_onnx.errors import FrnError

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


class RequestError(FrnError, ValueError):
    """A request that cannot be answered as it was sent; the text goes to the client."""

    status = 400
    headers: Mapping[str, str] = MappingProxyType({})
    # What stood against it, in a word, where the server refuses for its own sake.
    rejection = ""


class NotFoundError(RequestError):
    """There is no such model, version or page."""

    status = 404


class RequestTimeoutError(RequestError):
    """The body did not arrive in time."""

    status = 408
    rejection = "body_timeout"
    headers = MappingProxyType({"Connection": "close"})


class TooLargeError(RequestError):
    """The body is over the limit."""

    status = 413
    rejection = "body_too_large"
    headers = MappingProxyType({"Connection": "close"})


class EncodingError(RequestError):
    """The body has a content coding that the server cannot undo."""

    status = 415
    headers = MappingProxyType({"Accept-Encoding": "gzip, deflate"})


class ModelRunError(RequestError):
    """The request was valid, and the model failed on it."""

    status = 500


class ModelUnavailableError(RequestError):
    """The model's file could not be loaded when the server started."""

    status = 503
    rejection = "model_unavailable"


class UnsupportedError(RequestError):
    """The protocol has it, and this server does not."""

    status = 501


class QueueFullError(RequestError):
    """More requests wait than the server holds."""

    status = 503
    rejection = "queue_full"
    headers = MappingProxyType({"Retry-After": "1"})


def show(value: Any) -> str:
    """A received value for a message, shortened, whatever its size and depth."""
    return _SHORT.repr(value)
