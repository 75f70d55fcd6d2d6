"""The ways in which a request can fail, each with its HTTP status."""

import math
import reprlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from frn_onnx.errors import FrnError, ModelError

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60
# In the log and the metrics, the status of a request whose client went before its answer.
CLIENT_GONE = 499


class RecordingError(ModelError):
    """A run of the model cannot be recorded as a CUDA graph; not a fault of the request."""


class RequestError(FrnError, ValueError):
    """A request that cannot be answered as it was sent; the text goes to the client."""

    status = 400
    headers: Mapping[str, str] = MappingProxyType({})
    # What stood against it, in a word, where the server refuses for its own sake.
    rejection = ""


class ForeignError(RequestError):
    """A web page, or a name, that is not the server's own."""

    status = 403
    rejection = "foreign"


class NotFoundError(RequestError):
    """There is no such model, version or page."""

    status = 404


class MethodError(RequestError):
    """The path is there, and takes other methods: those in ``allowed``."""

    status = 405

    def __init__(self, text: str, allowed: str) -> None:
        super().__init__(text)
        self.headers = {"Allow": allowed}


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


class UnavailableError(RequestError):
    """The server cannot take the request now, and may soon.

    Args:
        retry_after: seconds after which to try again; told in whole seconds, at least 1.
    """

    status = 503

    def __init__(self, text: str, *, retry_after: float = 1.0) -> None:
        super().__init__(text)
        self.headers = {"Retry-After": str(max(1, math.ceil(retry_after)))}


class QueueFullError(UnavailableError):
    """More requests wait than the server holds."""

    rejection = "queue_full"


class WaitError(UnavailableError):
    """The request would wait too long for its run, or has."""

    rejection = "max_wait"


class MemoryFullError(UnavailableError):
    """The requests in flight hold as much as they may."""

    rejection = "max_memory"


class RunTimeoutError(UnavailableError):
    """The model's run does not end."""

    rejection = "run_timeout"


def show(value: Any) -> str:
    """A received value for a message, shortened, whatever its size and depth."""
    return _SHORT.repr(value)
