"""Who may ask a server that listens on this machine only: no web page but its own.

Any page can make a browser post to 127.0.0.1, and with a name that it lets point there (DNS
rebinding) also read the answers. The browser says whose page it was in ``Origin``, and which name
in ``Host``.
"""

import ipaddress
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from frn_onnx.serving.app import error_response
from frn_onnx.serving.errors import ForeignError, show
from frn_onnx.serving.metrics import Metrics


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware that answers 403 to a foreign ``Host`` or ``Origin``.

    Args:
        app: what is guarded.
        allowed: names besides those of the loopback; a port with them does not matter.
        metrics: told of what is refused.
    """

    def __init__(self, app: ASGIApp, allowed: Sequence[str], metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._allowed = frozenset(map(_name, allowed))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        reason = self._reason(Headers(scope=scope)) if scope["type"] == "http" else None
        if reason is None:
            await self._app(scope, receive, send)
        else:
            response = error_response(scope, ForeignError(reason), self._metrics)
            await response(scope, receive, send)

    def _reason(self, headers: Headers) -> str | None:
        """Why a request is refused; None if it is not."""
        # More than one Host: whichever a proxy would have looked at must be right.
        for host in headers.getlist("host"):
            name = _name(host)
            if name not in self._allowed and not is_loopback(name):
                return (
                    f"the host {show(host)} is not one of this server, which is for this machine "
                    "only; --allowed-host allows another name"
                )
        origin = headers.get("origin")
        if origin is None:
            return None
        scheme, _, authority = origin.lower().partition("://")
        own = scheme in ("http", "https") and authority == headers.get("host", "").lower()
        if own or (authority and _name(authority) in self._allowed):
            return None
        return (
            f"pages of the origin {show(origin)} may not use this server; --allowed-host allows "
            "another name"
        )


def _name(authority: str) -> str:
    """The host of ``host:port``, without the brackets that IPv6 may have."""
    authority = authority.strip().lower()
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    if authority.count(":") > 1:
        return authority
    return authority.partition(":")[0]
