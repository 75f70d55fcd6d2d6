"""What server.py takes for granted of uvicorn's inside, so that a new uvicorn says what it changed.

These are names and the order of calls; what comes of them is in test_connection.py. Both run with
the oldest uvicorn that the extra ``serve`` allows as well.
"""

import inspect
import re
import sys
from pathlib import Path

import environments
import httptools
import pytest
import uvicorn
from uvicorn.protocols.http import httptools_impl
from uvicorn.server import ServerState

from frn_onnx.serving import server

OLDEST = "oldest-serve"
VERSION = f"uvicorn {uvicorn.__version__}"
PROTOCOL = httptools_impl.HttpToolsProtocol
# Overridden, and called by uvicorn or httptools with these arguments.
OVERRIDDEN = {
    "data_received": ["data"],
    "on_message_begin": [],
    "on_header": ["name", "value"],
    "on_headers_complete": [],
    "on_body": ["body"],
    "on_message_complete": [],
    "on_response_complete": [],
    "timeout_keep_alive_handler": [],
    "connection_lost": ["exc"],
    "shutdown": [],
}


@pytest.fixture
def connection():
    """A connection that has just been made, without a loop."""

    class Loop:
        time = staticmethod(lambda: 0.0)

    async def app(scope, receive, send):
        raise AssertionError("nothing is asked")

    config = uvicorn.Config(app, ws="none", log_config=None)
    limits = server.Limits()
    kind = server.connection(limits, lambda *refusal: None)
    return kind(config=config, server_state=ServerState(), app_state={}, _loop=Loop())


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_is_there(name):
    method = getattr(PROTOCOL, name, None)
    assert method, f"{VERSION}: HttpToolsProtocol has no {name}, which server.py overrides"
    arguments = list(inspect.signature(method).parameters)[1:]
    assert arguments == OVERRIDDEN[name], f"{VERSION}: {name} takes {arguments}"


@pytest.mark.parametrize(
    "name",
    [
        "parser",
        "url",
        "headers",
        "scope",
        "cycle",
        "pipeline",
        "flow",
        "transport",
        "client",
        "loop",
        "server_state",
    ],
)
def test_what_is_read_is_there(connection, name):
    if name in ("url", "headers", "scope"):
        connection.on_message_begin()
    assert hasattr(connection, name), f"{VERSION}: HttpToolsProtocol has no {name}"


def test_what_is_private_and_called_is_there():
    for name in ("_unset_keepalive_if_required",):
        assert hasattr(PROTOCOL, name), f"{VERSION}: HttpToolsProtocol has no {name}"
    for name in ("pause_reading", "resume_reading"):
        assert hasattr(httptools_impl.FlowControl, name), f"{VERSION}: FlowControl has no {name}"
    assert httptools_impl.STATUS_LINE[431].startswith(b"HTTP/1.1 431 "), VERSION
    source = inspect.getsource(httptools_impl.RequestResponseCycle.__init__)
    for line in ("disconnected = False", "response_started = False", "response_complete = False"):
        assert f"self.{line}" in source, f"{VERSION}: a cycle has no {line}"
    assert "self.keep_alive = keep_alive" in source, f"{VERSION}: a cycle has no keep_alive"


def test_the_newest_of_a_pipeline_is_left():
    source = inspect.getsource(PROTOCOL)
    for line in ("self.pipeline.appendleft((self.cycle, app))", "cycle, app = self.pipeline.pop()"):
        assert line in source, f"{VERSION}: not any more: {line}"


def test_a_server_has_connections_and_starts_with_sockets():
    assert list(inspect.signature(uvicorn.Server.startup).parameters) == ["self", "sockets"], (
        VERSION
    )
    assert isinstance(ServerState().connections, set), VERSION


def test_an_offer_stops_the_parser_behind_the_head():
    """That is why server.py parses such a head a second time."""
    seen = []

    class Callbacks:
        def on_body(self, body):
            seen.append(body)

    head = b"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\n"
    parser = httptools.HttpRequestParser(Callbacks())
    with pytest.raises(httptools.HttpParserUpgrade) as offer:
        parser.feed_data(head + b"abc")
    assert offer.value.args[0] == len(head)
    assert not seen


def test_only_one_module_knows():
    """No other file of the server touches uvicorn's protocol."""
    folder = Path(server.__file__).parent
    users = {p.name for p in folder.glob("*.py") if re.search(r"uvicorn\.\w+\.", p.read_text())}
    assert users == {"server.py"}


@pytest.mark.skipif(OLDEST in sys.prefix, reason="this is it")
def test_the_oldest_uvicorn_does_too():
    """This file and test_connection.py, in an environment of the oldest versions."""
    files = [Path(__file__).with_name(name) for name in ("test_uvicorn.py", "test_connection.py")]
    root = str(environments.ROOT)
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", root, *map(str, files)]
    code = f"import sys, pytest; sys.path.insert(0, {root!r}); sys.exit(pytest.main({options}))"
    environments.run(OLDEST, "-c", code, timeout=300)
