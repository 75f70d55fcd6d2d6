"""One connection as raw bytes: HTTP as it should be, as it should not, in any pieces and pace.

The server answers every request with what it understood of it, so a lost, a doubled and a
misunderstood request all show.
"""

import contextlib
import socket
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving.echo import answers, connected, exchange, read_all, request, serving

from frn_onnx.serving.options import Limits

LIMITS = Limits(head_seconds=0.8, body_seconds=1.0, idle_seconds=0.9)
# The longest that a connection can be open without a request: its time, the clock's period, and
# the time in which a client can read why it is refused.
SOON = 4.5


@pytest.fixture(scope="module")
def server():
    with serving(LIMITS) as echo:
        yield echo


CLOSE = "Connection: close"
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ")
INNER = request("GET", "/smuggled")


@pytest.mark.parametrize("chunks", [0, 2])
@pytest.mark.parametrize("pieces", ["one", "two", "bytes"])
def test_an_upgrade_is_declined_and_the_body_served(server, chunks, pieces):
    """The head that Java's HttpClient sends; the body is a request, which it must not become."""
    sent = request("POST", "/a", INNER, *UPGRADE, chunks=chunks) + request("GET", "/b", b"", CLOSE)
    end = sent.index(b"\r\n\r\n") + 4
    split = {"one": [sent], "two": [sent[:end], sent[end:]], "bytes": [bytes([b]) for b in sent]}
    first, second = exchange(server, *split[pieces], pause=0.03 if pieces == "two" else 0.0002)
    assert first[:3] == ["POST", "/a", INNER.decode()]
    assert "upgrade" not in first[3]
    assert "http2-settings" in first[3]
    assert second[:2] == ["GET", "/b"]


def test_an_upgrade_with_a_long_head_is_declined_too(server):
    """It is parsed twice, and counted once."""
    sent = request("GET", "/a", b"", f"X: {'x' * 50_000}", *UPGRADE, CLOSE)
    ((method, path, *_),) = exchange(server, sent)
    assert (method, path) == ("GET", "/a")


def test_two_upgrades_in_one_packet(server):
    offer = request("GET", "/a", b"", *UPGRADE)
    found = exchange(server, offer + offer + request("GET", "/c", b"", CLOSE))
    assert [answer[1] for answer in found] == ["/a", "/a", "/c"]


def test_this_is_no_proxy(server):
    sent = b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n" + INNER
    assert exchange(server, sent) == [400]


def test_trailers_are_no_headers(server):
    trailers = ("Content-Encoding: br", "X-Name: a")
    sent = request("POST", "/", b"abc", chunks=1, trailers=trailers)
    found = exchange(server, sent + request("GET", "/b", b"", CLOSE))
    assert found[0][:4] == ["POST", "/", "abc", ["transfer-encoding"]]
    assert found[1][1] == "/b"


@pytest.mark.parametrize(
    "endless", [b"a: \r\n" * 4000, b"1;" + b"x" * 20_000, b"a: " + b"b" * 20_000]
)
def test_what_lies_between_bodies_is_bounded(server, endless):
    """Trailers, extensions of a chunk, one long trailer: 431 after 64 KiB, and a packet."""
    start = request("POST", "/", b"abc", chunks=1)
    start = start[: -len(b"0\r\n\r\n")] + (b"0\r\n" if endless[:1] == b"a" else b"")
    with connected(server) as client:
        sent = 0
        with contextlib.suppress(ConnectionError):
            client.sendall(start)
            while sent < 200:
                client.sendall(endless)
                time.sleep(0.002)
                sent += 1
        assert sent < 200 or answers(read_all(client)) == [431]
    assert server.refused[-1][0] == 431


@pytest.mark.parametrize(
    ("size", "status"), [(60_000, None), (66_000, 431), (70_000, 431), (200_000, 431)]
)
def test_a_long_head_that_comes_at_once(server, size, status):
    for sent in (
        request("GET", "/a", b"", f"X: {'x' * size}", CLOSE),
        request("GET", "/a", b"", *[f"X-{i}: {'x' * 994}" for i in range(size // 1000)], CLOSE),
        request("GET", "/a?" + "x" * size, b"", CLOSE),
    ):
        (found,) = exchange(server, sent)
        assert found == status or (status is None and found[1] == "/a")
    trailers = [f"X: {'x' * size}"]
    sent = request("POST", "/a", b"abc", CLOSE, chunks=1, trailers=trailers)
    (found,) = exchange(server, sent)
    assert found == status or (status is None and found[2] == "abc")


@pytest.mark.parametrize(("fields", "status"), [(95, None), (101, 431), (8000, 431)])
def test_many_fields(server, fields, status):
    """Each takes more room than its bytes."""
    many = [f"{i}:" for i in range(fields)]
    (found,) = exchange(server, request("GET", "/a", b"", CLOSE, *many))
    assert found == status or (status is None and found[1] == "/a")
    sent = request("POST", "/a", b"abc", CLOSE, chunks=1, trailers=many)
    (found,) = exchange(server, sent)
    assert found == status or (status is None and found[2] == "abc")


@pytest.mark.parametrize(
    ("head", "text"),
    [
        ("GET /a HTTP/1.1", "a request must have one Host, received 0"),
        ("GET /a HTTP/1.1\r\nHost: a\r\nHost: a", "a request must have one Host, received 2"),
        ("GET /a HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade", "one Host, received 0"),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
            "Transfer-Encoding must be chunked, received 'gzip, chunked'",
        ),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1",
            "this is not an HTTP/1.1 request: Duplicate Content-Length",
        ),
    ],
)
def test_what_is_wrong_with_a_head_is_said(server, head, text):
    assert exchange(server, head.encode() + b"\r\n\r\n" + INNER) == [400]
    assert server.refused[-1][1].endswith(text)


def test_the_host_of_an_absolute_target_is_the_one_that_counts(server):
    sent = request("GET", "http://example.org:80/a?b=c://d", b"", CLOSE)
    ((_, path, *_, host),) = exchange(server, sent)
    assert (path, host) == ("/a", "example.org:80")
    sent = request("GET", "/a?b=http://example.org/", b"", CLOSE)
    assert exchange(server, sent)[0][-1] == "localhost"
    old = b"GET /a HTTP/1.0\r\n\r\n"
    assert exchange(server, old)[0][-1] == ""


def test_what_is_pipelined_is_parsed_when_it_gets_its_turn(server):
    """A request takes more room than its bytes, and each is work that others wait for."""
    count = 5000
    server.go_on.clear()
    with connected(server) as client:
        sent = request("GET", "/wait") + request("GET", "/b") * count
        thread = threading.Thread(
            target=client.sendall, args=(sent + request("GET", "/c", b"", CLOSE),)
        )
        thread.start()
        time.sleep(0.5)
        (waiting,) = [len(c.pipeline) for c in server.state.connections if c.pipeline]
        server.go_on.set()
        found = [answer[1] for answer in answers(read_all(client))]
        thread.join()
    assert 0 < waiting < 1000
    assert found == ["/wait", *["/b"] * count, "/c"]


@pytest.mark.parametrize("chunks", [0, 9])
def test_an_answer_that_comes_early_and_closes_is_not_lost(server, chunks):
    """Who sends all of a large body first would find the connection reset."""
    body = b"x" * 20_000_000
    with connected(server) as client:
        client.sendall(request("POST", "/early", body, CLOSE, chunks=chunks))
        (found,) = answers(read_all(client))
        assert found[1] == "/early"


def test_an_early_answer_ends_before_the_body_does(server):
    """Who waits for leave to send it never does."""
    with connected(server) as client:
        client.sendall(request("POST", "/early", b"12345", CLOSE)[:-5])
        start = time.monotonic()
        (found,) = answers(read_all(client))
        assert found[1] == "/early"
        assert time.monotonic() - start < 0.5


def test_pipelined_requests_are_answered_in_order_and_then_what_is_wrong(server):
    sent = b"".join(request("POST", f"/{i}", b"x" * i, chunks=i % 3) for i in range(30))
    found = exchange(server, sent + b"\x00nonsense\r\n\r\n" + INNER)
    assert [answer[1] for answer in found[:-1]] == [f"/{i}" for i in range(30)]
    assert found[-1] == 400


def test_a_refusal_waits_for_the_answer_before_it(server):
    server.go_on.clear()
    with connected(server) as client:
        client.sendall(request("GET", "/wait") + b"\x16\x03\x01 TLS\r\n\r\n")
        time.sleep(0.2)
        server.go_on.set()
        first, second = answers(read_all(client))
    assert first[1] == "/wait"
    assert second == 400


def remains(server, client, seconds=SOON) -> bool:
    """Whether the server still has a client's connection after so long; it is not closed here."""
    name, end = client.getsockname(), time.monotonic() + seconds
    while any(c.client == name for c in server.state.connections):
        if time.monotonic() > end:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("before", [b"", request("GET", "/wait")])
@pytest.mark.parametrize(
    "wrong",
    [
        b"\x00",
        b"GET /b HTTP/1.1\r\nHost: a\r\nno field\r\n\r\n",
        request("POST", "/b", b"abc", chunks=1)[:-5] + b"nonsense\r\n",
    ],
)
def test_who_is_refused_and_stays_is_left(server, before, wrong):
    """He is told once, has a moment to read it, and the clock of the others goes on."""
    server.go_on.clear()
    with connected(server) as client, connected(server) as other:
        refusals = len(server.refused)
        client.sendall(before + wrong)
        time.sleep(0.2)
        server.go_on.set()
        assert answers(read_all(client))[-1] == 400
        assert not remains(server, client)
        assert len(server.refused) == refusals + 1
        assert not remains(server, other)


def test_a_body_that_is_none_waits_for_the_answer_before_it(server):
    """However long that takes."""
    server.go_on.clear()
    body = request("POST", "/b", b"abc", chunks=1)[:-5] + b"nonsense\r\n"
    with connected(server) as client:
        client.sendall(request("GET", "/wait") + body)
        time.sleep(LIMITS.body_seconds + 1)
        server.go_on.set()
        first, second = answers(read_all(client))
    assert (first[1], second) == ("/wait", 400)


def test_a_body_that_is_none_ends_an_answer_in_its_middle(server, caplog):
    start = request("POST", "/early/large", b"abc", chunks=1)[:-5]
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", server.port))
        client.settimeout(10)
        client.sendall(start)
        time.sleep(0.2)
        client.sendall(b"nonsense\r\n")
        got = read_all(client)
    assert got.startswith(b"HTTP/1.1 200 ")
    assert len(got) < 2**20
    assert not caplog.records


def test_a_body_that_is_none_behind_the_last_answer(server, caplog):
    """Nothing may follow an answer that said it was the last."""
    start = request("POST", "/early", b"abc", CLOSE, chunks=1)[:-5]
    with connected(server) as client:
        client.sendall(start)
        ((_, path, *_),) = answers(read_all(client))
        assert path == "/early"
        client.sendall(b"nonsense\r\n")
        assert not remains(server, client)
    assert not caplog.records


def test_the_end_of_the_grace_ends_an_answer_in_its_middle(caplog):
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        with serving(LIMITS) as ending:
            client.connect(("127.0.0.1", ending.port))
            client.sendall(request("GET", "/large"))
            time.sleep(0.2)
    assert [record.getMessage()[:6] for record in caplog.records] == ["Cancel"]


def test_a_body_that_is_none_is_one_400(server):
    head = request("POST", "/", b"abc", chunks=1)[: -len(b"0\r\n\r\n")]
    assert exchange(server, head, b"nonsense\r\n") == [400]
    first, second = exchange(server, request("GET", "/a") + head, b"nonsense\r\n")
    assert (first[1], second) == ("/a", 400)


def test_an_early_answer_and_the_rest_of_its_body(server):
    early = request("POST", "/early", b"12345")
    found = exchange(server, early[:-3], early[-3:] + request("GET", "/b", b"", CLOSE), pause=0.2)
    assert [answer[1] for answer in found] == ["/early", "/b"]


def seconds_open(client, drip: bytes = b"", every: float = 0.15) -> float:
    """How long the server keeps a connection on which now and then a byte comes."""
    begin = time.monotonic()
    client.settimeout(every)
    while time.monotonic() - begin < 12:
        try:
            if not client.recv(1 << 16):
                break
        except TimeoutError:
            with contextlib.suppress(ConnectionError):
                client.sendall(drip)
        except ConnectionError:
            break
    return time.monotonic() - begin


@pytest.mark.parametrize(
    ("start", "drip"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (request("GET", "/"), b""),
        (request("GET", "/"), b"\r\n"),
        (request("GET", "/") + b"GET / HTTP/1.1\r\nX: ", b"a"),
        (request("POST", "/", b"abc")[:-3] + b"", b""),
        (request("POST", "/", b"a" * 999)[:-999], b"a"),
        (request("POST", "/early", b"a" * 999)[:-999], b"a"),
        (request("POST", "/", b"abc", chunks=1)[:-2], b"a: b\r\n"),
        (b"\x00", b"a"),
    ],
)
def test_nothing_that_is_sent_keeps_a_connection(server, start, drip):
    with connected(server) as client:
        client.sendall(start)
        assert seconds_open(client, drip) < SOON


def test_a_client_that_goes_with_requests_behind_the_one_that_runs(server, caplog):
    server.go_on.clear()
    with connected(server) as client:
        client.sendall(request("GET", "/wait") + request("GET", "/b"))
        time.sleep(0.2)
    end = time.monotonic() + 5
    while server.state.tasks and time.monotonic() < end:
        time.sleep(0.02)
    server.go_on.set()
    assert not server.state.tasks
    assert not caplog.records


def test_a_slow_head_behind_a_request_that_runs_is_timed_from_its_answer(server):
    server.go_on.clear()
    with connected(server) as client:
        client.sendall(request("GET", "/wait") + b"GET /b HTTP/1.1\r\n")
        time.sleep(1.5)
        server.go_on.set()
        time.sleep(0.3)
        client.sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
        first, second = answers(read_all(client))
    assert (first[1], second[1]) == ("/wait", "/b")


@pytest.mark.parametrize("drip", [0, 1 << 13])
@pytest.mark.parametrize("path", ["/", "/large"])
def test_answers_that_nobody_reads_end_the_connection(server, monkeypatch, path, drip):
    """Or of which a part is read again and again, more slowly than is asked for."""
    monkeypatch.setattr("frn_onnx.serving.server.TAKEN_BYTES_PER_SECOND", 1 << 22)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * drip or 2048)
        client.connect(("127.0.0.1", server.port))
        client.settimeout(0.2)
        with contextlib.suppress(OSError):
            for _ in range(400):
                client.sendall(request("GET", path) * 100)
        name = client.getsockname()
        client.settimeout(0.01)
        time.sleep(0.2)
        end = time.monotonic() + 2 * SOON
        while time.monotonic() < end and any(c.client == name for c in server.state.connections):
            time.sleep(0.05)
            with contextlib.suppress(OSError):
                client.recv(drip)
        assert not any(c.client == name for c in server.state.connections)


def test_an_answer_that_is_read_slowly_but_in_time_arrives(server):
    with connected(server) as client:
        client.sendall(request("GET", "/large", b"", CLOSE))
        got = b""
        for _ in range(8):
            time.sleep(0.08)
            got += client.recv(1 << 17)
        got += read_all(client)
    assert len(got) > 2**20


def test_a_client_that_goes_ends_the_work_for_it(server):
    server.go_on.clear()
    server.gone.clear()
    with connected(server) as client:
        client.sendall(request("GET", "/wait"))
        time.sleep(0.2)
    time.sleep(0.3)
    assert server.gone == ["/wait"]


FIELDS = st.sampled_from([(), UPGRADE, ("X: y",), ("Expect: nothing",)])
REQUESTS = st.builds(
    lambda method, path, body, chunks, headers, trailers: (
        request(
            method,
            path,
            body if method == "POST" else b"",
            *headers,
            chunks=chunks if method == "POST" else 0,
            trailers=trailers,
        ),
        [method, path, body.decode("latin-1") if method == "POST" else ""],
    ),
    st.sampled_from(["GET", "POST"]),
    st.sampled_from(["/a", "/b", "/c?d"]),
    st.binary(max_size=40) | st.sampled_from([INNER, b"0\r\n\r\n", b"a" * 70_000]),
    st.integers(0, 3),
    FIELDS,
    st.lists(st.sampled_from(["A: b", "Content-Encoding: br"]), max_size=2),
)
# Answered before they have come as a whole; perhaps the last.
EARLY = st.builds(
    lambda body, chunks, fields: request("POST", "/early", body, *fields, chunks=chunks),
    st.binary(max_size=40),
    st.integers(0, 3),
    FIELDS | st.just((CLOSE,)),
)
ENDS = st.sampled_from([b"", b"\x00", b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00"])


@settings(max_examples=60, deadline=None)
@given(requests=st.lists(REQUESTS, min_size=1, max_size=5), end=ENDS, data=st.data())
def test_fuzz_requests_in_any_pieces(server, requests, end, data):
    """No answer is lost, doubled or another's, however the bytes are split."""
    sent = b"".join(raw for raw, _ in requests) + (end or request("GET", "/end", b"", CLOSE))
    cuts = data.draw(st.lists(st.integers(1, len(sent)), max_size=6))
    pieces = [
        sent[a:b] for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), len(sent)], strict=True)
    ]
    found = exchange(server, *pieces, pause=0.001)
    expected = [[m, path.partition("?")[0], body] for _, (m, path, body) in requests]
    assert [answer[:3] for answer in found[:-1]] == expected
    assert found[-1] == 400 if end else found[-1][1] == "/end"


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(REQUESTS.map(lambda made: made[0]) | EARLY, min_size=1, max_size=3),
    data=st.data(),
)
def test_fuzz_broken_bytes(server, requests, data):
    """Bytes changed anywhere: whole answers of 200 or 4xx, and the connection ends."""
    sent = bytearray(b"".join(requests) + request("GET", "/end", b"", CLOSE))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(sent) - 1))
        sent[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(sent)))
    with connected(server) as client:
        with contextlib.suppress(OSError):  # it may be closed before all is sent
            client.sendall(bytes(sent[:cut]))
            time.sleep(0.001)
            client.sendall(bytes(sent[cut:]))
            client.shutdown(socket.SHUT_WR)
        found = answers(read_all(client))
    assert all(isinstance(answer, list) or answer in (400, 408, 431) for answer in found)


def test_nothing_is_left(server):
    end = time.monotonic() + SOON
    while server.state.connections and time.monotonic() < end:
        time.sleep(0.05)
    assert not server.state.connections
    assert not server.state.tasks
    assert not server.errors
