"""Every way to use the HTTP interface wrongly, in process: who is told what, who is not hurt."""

import asyncio
import gzip

import httpx
import numpy as np
import pytest
from serving import example_models
from serving.bodies import INFER, binary_v2, v2
from serving.example_models import WEIGHTS

from frn_onnx.serving.codec import LENGTH_HEADER
from frn_onnx.serving.content import Body
from frn_onnx.serving.options import Limits


def error_of(response: httpx.Response) -> str:
    """The error's text; every error is JSON of the same shape."""
    assert response.headers["content-type"] == "application/json"
    assert list(response.json()) == ["error"]
    return response.json()["error"]


def test_unknown_model_version_and_page(serve, x):
    client = serve("linear")
    for method, path in (("POST", "/infer"), ("GET", "/ready"), ("GET", "")):
        response = client.request(method, f"/v2/models/nope{path}", json=v2(x))
        assert response.status_code == 404
        expected = "there is no model 'nope'; this server has 'linear'"
        assert error_of(response) == f"Request for unknown model: {expected}"
        response = client.request(method, f"/v2/models/linear/versions/7{path}", json=v2(x))
        assert response.status_code == 404
        assert error_of(response) == "model 'linear' has no version '7'; it has '1'"
    response = client.get("/v1/models")
    assert response.status_code == 404
    assert "the API is under /v2" in error_of(response)


def test_wrong_method(serve):
    response = serve("linear").get(INFER)
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"
    assert "takes POST, received 'GET'" in error_of(response)


def test_bad_request_is_400_with_the_reason(serve, x):
    response = serve("linear").post(INFER, json=v2(x, name="z"))
    assert response.status_code == 400
    assert error_of(response) == "the model has no input 'z'; its inputs are 'x'"


def test_limit_on_the_body(serve, x):
    client = serve("linear", limits=Limits(body_bytes=1000))
    assert client.post(INFER, json=v2(x)).status_code == 200
    for content in (b"[" * 1001, gzip.compress(b" " * 1001), gzip.compress(bytes(10**6))):
        coding = {"Content-Encoding": "gzip"} if content[:2] == b"\x1f\x8b" else {}
        response = client.post(INFER, content=content, headers=coding)
        assert response.status_code == 413
        assert "larger than the limit of 1000 bytes" in error_of(response)
    refused_at_once = client.post(INFER, content=b"[" * 1001, headers={"Expect": "100-continue"})
    assert refused_at_once.status_code == 413


@pytest.mark.parametrize(
    ("content", "coding", "status", "expected"),
    [
        (b"{}", "br", 415, "must be gzip, deflate or identity, received 'br'"),
        (b"{}", "gzip", 400, "the body is not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-3], "gzip", 400, "the gzip body ends too early"),
        (gzip.compress(b"{}", mtime=0) + b"x", "gzip", 400, "the gzip body goes on after its end"),
    ],
)
def test_bad_content_coding(serve, content, coding, status, expected):
    headers = {"Content-Encoding": coding}
    response = serve("linear").post(INFER, content=content, headers=headers)
    assert response.status_code == status
    assert expected in error_of(response)


@pytest.mark.parametrize("split", [0, 1, 7, 63, 64, 100, 10**17])
def test_bodies_are_aligned_behind_their_json(split):
    chunks = [b"", b"abc", bytes(range(100)), b"z"]
    for announced in (0, 50, 104, 10**9):
        taken = []
        body = Body(announced, split, 2**20, taken.append)
        for chunk in chunks:
            body.append(chunk)
        assert bytes(body.whole()) == b"".join(chunks)
        assert (np.frombuffer(body.whole(), np.uint8).ctypes.data + split) % 64 == 0
        assert sum(taken) == body.size == 104
    assert len(Body(0, split, 1, taken.append).whole()) == 0


def test_slow_body_is_408(serve):
    async def drip():
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    client = serve("linear", limits=Limits(body_seconds=0.2))
    response = client.post(INFER, content=drip())
    assert response.status_code == 408
    assert "must arrive within 0.2 s; 1 bytes came" in error_of(response)


def test_a_slow_body_that_is_too_large_is_413(serve):
    async def drip():
        yield b"{" * 11
        await asyncio.sleep(5)

    client = serve("linear", limits=Limits(body_bytes=10, body_seconds=0.2))
    response = client.post(INFER, content=drip())
    assert response.status_code == 413


def test_a_client_that_goes_in_the_middle_of_a_body_is_logged(serve):
    """By a host that does not end the work for it."""
    client = serve("linear")
    path = INFER.encode()
    scope = {"type": "http", "method": "POST", "path": INFER, "raw_path": path, "headers": []}
    messages = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        pass

    asyncio.run(client.app(scope, receive, send))
    assert scope["frn_onnx.log"]["error"] == "the client went before the whole body had come"


def test_a_model_that_fails_is_500_for_that_request_only(serve):
    client = serve("lookup")

    async def play(http):
        def send(i):
            return http.post("/v2/models/lookup/infer", json=v2(np.array([i]), "index", "INT64"))

        return await asyncio.gather(*[send(i) for i in (0, 1, 2, 99, 3, 0)])

    responses = client.run(play)
    assert [r.status_code for r in responses] == [200, 200, 200, 500, 200, 200]
    assert "the model failed on this request" in error_of(responses[3])
    for response, i in zip(responses, (0, 1, 2, None, 3, 0), strict=True):
        if i is not None:
            np.testing.assert_array_equal(
                np.float32(response.json()["outputs"][0]["data"]), WEIGHTS[i]
            )


def test_bad_requests_among_good_ones_change_nothing(serve, rng):
    """Every second request is broken in another way; every other one gets its own rows."""
    x = rng.normal(size=(40, 1, 4)).astype(np.float32)
    broken = [
        {"json": v2(x[0], name="z")},
        {"json": v2(x[0][:, :3])},
        {"content": b"NaN"},
        {"content": binary_v2(x[0])["content"], "headers": {LENGTH_HEADER: "9999"}},
        {"content": binary_v2(x[0])["content"][:-1], "headers": binary_v2(x[0])["headers"]},
    ]
    client = serve("linear")

    async def play(http):
        good = [http.post(INFER, json=v2(sample)) for sample in x]
        bad = [http.post(INFER, **broken[i % len(broken)]) for i in range(len(x))]
        mixed = [request for pair in zip(good, bad, strict=True) for request in pair]
        return await asyncio.gather(*mixed)

    responses = client.run(play)
    for sample, response in zip(x, responses[::2], strict=True):
        example_models.assert_linear(response.json()["outputs"][0]["data"], sample)
    assert {response.status_code for response in responses[1::2]} == {400}


def test_full_queue_is_503_with_retry_after(serve, x, monkeypatch):
    client = serve("linear", max_queue=2)
    run = client.served[0].model.run

    def slow(feeds, outputs):
        import time

        time.sleep(0.2)
        return run(feeds, outputs)

    monkeypatch.setattr(client.served[0].batcher, "_run", slow)

    async def play(http):
        return await asyncio.gather(*[http.post(INFER, json=v2(x)) for _ in range(8)])

    responses = client.run(play)
    refused = [r for r in responses if r.status_code == 503]
    assert 1 <= len(refused) < 8
    assert {r.status_code for r in responses} == {200, 503}
    assert refused[0].headers["retry-after"] == "1"
    assert "2 requests are waiting, which is the limit" in error_of(refused[0])


def test_an_unexpected_error_is_hidden_and_json(serve, x, monkeypatch):
    client = serve("linear")
    monkeypatch.setattr(client.served[0], "infer", lambda *_: 1 / 0)
    response = client.post(INFER, json=v2(x))
    assert response.status_code == 500
    assert error_of(response) == "an error inside the server; its log has the details"
