"""The HTTP interface, in process: every endpoint, every datatype, every coding."""

import gzip
import json
import time
import zlib

import numpy as np
import onnxruntime
import pytest
import tolerances
from serving import example_models
from serving.bodies import INFER, binary_v2, raw_output, v2
from serving.example_models import DATATYPES

import frn_onnx
from frn_onnx import reference
from frn_onnx.serving import content
from frn_onnx.serving.codec import LENGTH_HEADER
from frn_onnx.serving.options import Limits


def test_server_and_health(serve):
    client = serve("linear", "lookup")
    metadata = client.get("/v2").json()
    assert metadata["name"] == "frn_onnx"
    assert metadata["extensions"] == ["binary_tensor_data", "model_configuration", "statistics"]
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


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_configuration_is_tritons(serve, version):
    client = serve("linear", "batch_mean", "images", max_batch=8)
    config = client.get(f"/v2/models/linear{version}/config").json()
    assert (config["name"], config["platform"]) == ("linear", "onnxruntime_onnx")
    assert config["max_batch_size"] == 8
    (x,) = config["input"]
    assert (x["name"], x["data_type"], x["dims"]) == ("x", "TYPE_FP32", [4])
    assert x["format"] == "FORMAT_NONE"
    assert [y["dims"] for y in config["output"]] == [[3]]
    assert config["dynamic_batching"] == {}
    assert config["instance_group"] == [{"name": "linear", "kind": "KIND_CPU", "count": 1}]
    alone = client.get(f"/v2/models/batch_mean{version}/config").json()
    assert (alone["max_batch_size"], alone["input"][0]["dims"]) == (0, [-1, 4])
    assert "dynamic_batching" not in alone
    (image,) = client.get(f"/v2/models/images{version}/config").json()["input"]
    assert (image["dims"], image["format"]) == ([3, -1, -1], "FORMAT_NCHW")
    assert client.get(f"/v2/models/nope{version}/config").status_code == 404


def test_statistics_are_tritons(serve, x):
    client = serve("linear", "lookup")
    for _ in range(2):
        client.post(INFER, json=v2(x))
    client.post(INFER, json=v2(x[:1]))
    client.post(INFER, json=v2(x, name="z"))
    (stats,) = client.get("/v2/models/linear/versions/1/stats").json()["model_stats"]
    assert (stats["name"], stats["version"]) == ("linear", "1")
    assert (stats["inference_count"], stats["execution_count"]) == (7, 3)
    parts = stats["inference_stats"]
    assert parts["fail"]["count"] == 1
    answered = ("success", "queue", "compute_input", "compute_infer", "compute_output")
    assert {parts[part]["count"] for part in answered} == {3}
    assert all(parts[part]["ns"] > 0 for part in (*answered, "fail"))
    assert parts["success"]["ns"] >= sum(parts[part]["ns"] for part in answered[1:])
    assert [(b["batch_size"], b["compute_infer"]["count"]) for b in stats["batch_stats"]] == [
        (1, 1),
        (3, 2),
    ]
    runs = sum(b["compute_infer"]["ns"] for b in stats["batch_stats"])
    assert runs == pytest.approx(parts["compute_infer"]["ns"], rel=0.01)
    assert abs(stats["last_inference"] / 1e3 - time.time()) < 60
    both = client.get("/v2/models/stats").json()["model_stats"]
    assert both[0] == stats
    assert (both[1]["name"], both[1]["execution_count"]) == ("lookup", 0)
    assert client.get("/v2/models/nope/stats").status_code == 404


@pytest.mark.parametrize("change", ["load", "unload"])
def test_models_are_loaded_at_the_start_alone(serve, change):
    response = serve("linear").post(f"/v2/repository/models/linear/{change}", json={})
    assert response.status_code == 501
    assert "loads its models when it starts" in response.json()["error"]


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


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("gzip;q=0.000, deflate;q=0.5", "deflate"),
        ("gzip;q=0.2, deflate; Q=0.3", "deflate"),
        ("gzip;q=0.5, identity", None),
        ("gzip, identity;q=0.5", "gzip"),
        ("gzip;q=0.00, deflate;q=0.", None),
        ("gzip;q=x", None),
        ("br", None),
    ],
)
def test_weights_of_codings(accept, expected):
    assert content.choose_coding(accept, length=5000, has_binary=False) == expected


def test_raw_tensors_are_compressed_only_for_who_asks_for_that_alone(serve, rng):
    x = rng.normal(size=(2000, 4)).astype(np.float32)
    request = binary_v2(x, parameters={"binary_data_output": True})
    client = serve("linear")
    for accept, expected in (
        ("gzip", "gzip"),
        ("gzip, deflate, br", None),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
    ):
        request["headers"]["Accept-Encoding"] = accept
        response = client.post(INFER, **request)
        assert response.headers.get("content-encoding") == expected
        assert raw_output(response).shape == (2000, 3)


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
        'frn_onnx_queue_seconds_count{model="linear"} 1.0',
        f'frn_onnx_info{{device="auto",model="linear",onnxruntime="{onnxruntime.__version__}",'
        f'provider="CPUExecutionProvider",version="{frn_onnx.__version__}"}} 1.0',
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_what_is_refused_is_counted_by_reason(serve, x):
    client = serve("linear", limits=Limits(body_bytes=100))
    for _ in range(2):
        assert client.post(INFER, content=bytes(101)).status_code == 413
    assert client.post(INFER, json=v2(x, name="z")).status_code in (400, 413)
    text = client.get("/metrics").text
    assert 'frn_onnx_rejections_total{reason="body_too_large"} 3.0' in text.splitlines()


def test_page_needs_nothing_from_elsewhere(serve):
    response = serve("linear").get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert "http://" not in response.text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in response.text


def test_every_route_of_the_protocol_is_described(serve):
    client = serve("linear", "lookup")
    described = client.get("/openapi.json").json()["paths"]
    left_out = {"/", "/openapi.json", "/v2/repository/models/{model}/{change}"}
    for route in client.app.routes:
        for model in ("linear", "lookup"):
            path = route.path.replace("{model}", model).replace("{version}", "1")
            methods = {method.lower() for method in route.methods} - {"head"}
            assert route.path in left_out or set(described[path]) == methods
