"""The HTTP interface, in process: every endpoint, and every way to use it wrongly."""

import asyncio
import gzip
import json
import zlib

import httpx
import numpy as np
import pytest
import tolerances
from serving import example_models
from serving.example_models import DATATYPES, WEIGHTS

from frn_onnx import reference
from frn_onnx.serving.codec import LENGTH_HEADER
from frn_onnx.serving.content import join
from frn_onnx.serving.options import Limits

INFER = "/v2/models/linear/infer"


def v2(x, name="x", datatype="FP32", **more):
    return {
        "inputs": [
            {"name": name, "shape": list(x.shape), "datatype": datatype, "data": x.tolist()}
        ],
        **more,
    }


def binary_v2(x, name="x", datatype="FP32", **more):
    """Content and headers of a request with a raw tensor."""
    entry = {"name": name, "shape": list(x.shape), "datatype": datatype}
    entry["parameters"] = {"binary_data_size": x.nbytes}
    head = json.dumps({"inputs": [entry], **more}).encode()
    return {"content": head + x.tobytes(), "headers": {LENGTH_HEADER: str(len(head))}}


def raw_output(response, dtype=np.float32):
    """The one raw output of a response."""
    length = int(response.headers[LENGTH_HEADER])
    (output,) = json.loads(response.content[:length])["outputs"]
    assert output["parameters"]["binary_data_size"] == len(response.content) - length
    return np.frombuffer(response.content[length:], dtype).reshape(output["shape"])


@pytest.fixture
def x(rng):
    return rng.normal(size=(3, 4)).astype(np.float32)


def test_server_and_health(serve):
    client = serve("linear", "lookup")
    metadata = client.get("/v2").json()
    assert metadata["name"] == "frn_onnx"
    assert metadata["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    index = client.post("/v2/repository/index").json()
    assert [(m["name"], m["version"], m["state"]) for m in index] == [
        ("linear", "1", "READY"),
        ("lookup", "1", "READY"),
    ]


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_model_endpoints(serve, x, version):
    client = serve("linear")
    assert client.get(f"/v2/models/linear{version}").json() == {
        "name": "linear",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
    }
    assert client.get(f"/v2/models/linear{version}/ready").json()["ready"] is True
    assert client.post(f"/v2/models/linear{version}/infer", json=v2(x)).status_code == 200


def test_json_in_json_out(serve, x):
    response = serve("linear").post(INFER, json=v2(x, id="abc"))
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert LENGTH_HEADER not in response.headers
    message = response.json()
    assert (message["model_name"], message["model_version"], message["id"]) == (
        "linear",
        "1",
        "abc",
    )
    (output,) = message["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("y", [3, 3], "FP32")
    example_models.assert_linear(output["data"], x)


def test_binary_in_binary_out(serve, x):
    request = binary_v2(x, parameters={"binary_data_output": True})
    response = serve("linear").post(INFER, **request)
    assert response.headers["content-type"] == "application/octet-stream"
    example_models.assert_linear(raw_output(response), x)


def test_frn_runs_in_the_plugin(serve, rng):
    x = rng.normal(1, 2, size=(2, 3, 5, 7)).astype(np.float32)
    request = binary_v2(x, "X", parameters={"binary_data_output": True})
    y = raw_output(serve("frn").post("/v2/models/frn/infer", **request))
    params = example_models.frn_parameters()
    tolerances.assert_within(
        y,
        reference.frn(x, *params, axes=(2, 3)),
        tolerances.frn_bound(x, *params, axes=(2, 3)),
    )


def test_mixed_inputs_and_outputs(serve, rng):
    a, b = rng.normal(size=(2, 2, 2)).astype(np.float32)
    entry = {"shape": [2, 2], "datatype": "FP32"}
    message = {
        "inputs": [
            {**entry, "name": "b", "data": b.ravel().tolist()},
            {**entry, "name": "a", "parameters": {"binary_data_size": 16}},
        ],
        "outputs": [
            {"name": "product", "parameters": {"binary_data": True}},
            {"name": "total", "parameters": {"binary_data": False}},
        ],
    }
    head = json.dumps(message).encode()
    headers = {LENGTH_HEADER: str(len(head))}
    response = serve("two_inputs").post(
        "/v2/models/two_inputs/infer", content=head + a.tobytes(), headers=headers
    )
    length = int(response.headers[LENGTH_HEADER])
    product, total = json.loads(response.content[:length])["outputs"]
    np.testing.assert_array_equal(np.float32(total["data"]).reshape(2, 2), a + b)
    raw = np.frombuffer(response.content[length:], np.float32)
    np.testing.assert_array_equal(raw.reshape(product["shape"]), a * b)


def test_only_outputs_asked_for_come_back(serve):
    request = {
        "inputs": [
            {"name": name, "shape": [1, 2], "datatype": "FP32", "data": [1, 2]} for name in "ab"
        ],
        "outputs": [{"name": "product"}],
    }
    outputs = (
        serve("two_inputs").post("/v2/models/two_inputs/infer", json=request).json()["outputs"]
    )
    assert [output["name"] for output in outputs] == ["product"]
    assert outputs[0]["data"] == [1, 4]


JSON_VALUES = {"BOOL": [True, False], "FP16": [0.5, -2], "BF16": [1.5, -3]}


@pytest.mark.parametrize("as_binary", [True, False])
def test_every_datatype_passes_through(serve, as_binary):
    inputs = [
        {
            "name": f"in_{name}",
            "shape": [1, 2],
            "datatype": name,
            "data": JSON_VALUES.get(name, [1, 100]),
        }
        for name in DATATYPES
    ]
    client = serve("every_datatype")
    path = "/v2/models/every_datatype/infer"
    if not as_binary:
        outputs = client.post(path, json={"inputs": inputs}).json()["outputs"]
        assert {o["name"]: o["data"] for o in outputs} == {
            f"out_{name}": JSON_VALUES.get(name, [1, 100]) for name in DATATYPES
        }
        return
    raw = {
        "BF16": np.array([0x3FC0, 0xC040], np.uint16).tobytes(),
        "FP16": np.float16([0.5, -2]).tobytes(),
        "FP32": np.float32([np.nan, -np.inf]).tobytes(),
        "INT16": np.int16([1, -100]).tobytes(),
    }
    kept = []
    for entry in inputs:
        data = raw.get(entry["datatype"])
        if data is not None:
            del entry["data"]
            entry["parameters"] = {"binary_data_size": len(data)}
            kept.append(data)
    names = [entry["datatype"] for entry in inputs if "parameters" in entry]
    wanted = [{"name": f"out_{name}", "parameters": {"binary_data": True}} for name in names]
    head = json.dumps({"inputs": inputs, "outputs": wanted}).encode()
    response = client.post(
        path, content=head + b"".join(kept), headers={LENGTH_HEADER: str(len(head))}
    )
    assert response.content[int(response.headers[LENGTH_HEADER]) :] == b"".join(kept)


@pytest.mark.parametrize("as_binary", [True, False])
def test_strings_pass_through(serve, as_binary):
    entry = {"name": "in_text", "shape": [1, 2], "datatype": "BYTES"}
    raw = b"\2\0\0\0\xc3\xa4\0\0\0\0"
    if as_binary:
        entry["parameters"] = {"binary_data_size": len(raw)}
    else:
        entry["data"] = ["ä", ""]
    head = json.dumps({"inputs": [entry], "parameters": {"binary_data_output": as_binary}}).encode()
    response = serve("texts").post(
        "/v2/models/texts/infer",
        content=head + raw * as_binary,
        headers={LENGTH_HEADER: str(len(head))} if as_binary else {},
    )
    if as_binary:
        assert response.content[int(response.headers[LENGTH_HEADER]) :] == raw
    else:
        assert response.json()["outputs"][0]["data"] == ["ä", ""]


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_requests(serve, x, coding, pack):
    plain = json.dumps(v2(x)).encode()
    response = serve("linear").post(
        INFER, content=pack(plain), headers={"Content-Encoding": coding}
    )
    assert response.status_code == 200


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_responses(serve, rng, coding):
    x = rng.normal(size=(2000, 4)).astype(np.float32)
    client = serve("linear")
    plain = client.post(INFER, json=v2(x), headers={"Accept-Encoding": "identity"})
    packed = client.post(INFER, json=v2(x), headers={"Accept-Encoding": coding})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == coding
    assert packed.json() == plain.json()
    assert int(packed.headers["content-length"]) < 0.7 * int(plain.headers["content-length"])


def test_raw_tensors_are_compressed_only_for_who_asks_for_that_alone(serve, rng):
    x = rng.normal(size=(2000, 4)).astype(np.float32)
    request = binary_v2(x, parameters={"binary_data_output": True})
    client = serve("linear")
    for accept, expected in (("gzip", "gzip"), ("gzip, deflate, br", None), ("gzip;q=0", None)):
        request["headers"]["Accept-Encoding"] = accept
        response = client.post(INFER, **request)
        assert response.headers.get("content-encoding") == expected
        assert raw_output(response).shape == (2000, 3)


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
        assert error_of(response) == "there is no model 'nope'; this server has 'linear'"
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
        (gzip.compress(b"{}")[:-3], "gzip", 400, "the gzip body ends too early"),
        (gzip.compress(b"{}") + b"x", "gzip", 400, "the gzip body goes on after its end"),
    ],
)
def test_bad_content_coding(serve, content, coding, status, expected):
    headers = {"Content-Encoding": coding}
    response = serve("linear").post(INFER, content=content, headers=headers)
    assert response.status_code == status
    assert expected in error_of(response)


@pytest.mark.parametrize("split", [0, 1, 7, 63, 64, 100, 10**17])
def test_joined_bodies_are_aligned_behind_their_json(split):
    chunks = [b"", b"abc", bytes(range(100)), b"z"]
    body = join(chunks, split)
    assert bytes(body) == b"".join(chunks)
    assert (np.frombuffer(body, np.uint8).ctypes.data + split) % 64 == 0
    assert len(join([], split)) == 0


def test_slow_body_is_408(serve):
    async def drip():
        yield b"{"
        await asyncio.sleep(5)
        yield b"}"

    client = serve("linear", limits=Limits(body_seconds=0.2))
    response = client.post(INFER, content=drip())
    assert response.status_code == 408
    assert "must arrive within 0.2 s; 1 bytes came" in error_of(response)


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


def test_metrics(serve, x):
    client = serve("linear")
    client.post(INFER, json=v2(x))
    client.post(INFER, json=v2(x, name="z"))
    client.post("/v2/models/nope/infer", json=v2(x))
    response = client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    lines = response.text.splitlines()
    for line in (
        'frn_onnx_requests_total{model="linear"} 2.0',
        'frn_onnx_errors_total{model="linear",status="400"} 1.0',
        'frn_onnx_request_seconds_count{model="linear"} 2.0',
        'frn_onnx_run_seconds_count{model="linear"} 1.0',
        'frn_onnx_batch_samples_bucket{le="2.0",model="linear"} 0.0',
        'frn_onnx_batch_samples_bucket{le="4.0",model="linear"} 1.0',
        'frn_onnx_queue_requests{model="linear"} 0.0',
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_page_needs_nothing_from_elsewhere(serve):
    response = serve("linear").get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "http://" not in response.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in response.text
