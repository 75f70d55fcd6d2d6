"""Everything that tritonclient[http] does against a server with the models linear and frn.

Runs in the environment ``clients``: triton_client.py HOST:PORT. Compares with NumPy itself.
"""

import sys

import numpy as np
import tritonclient.http as triton
from google.protobuf import json_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.grpc.service_pb2 import ModelStatistics
from tritonclient.utils import InferenceServerException

WEIGHTS = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)


def infer(client, x, *, binary_in=True, binary_out=True, **options):
    tensor = triton.InferInput("x", list(x.shape), "FP32")
    tensor.set_data_from_numpy(x, binary_data=binary_in)
    wanted = [triton.InferRequestedOutput("y", binary_data=binary_out)]
    return client.infer("linear", [tensor], outputs=wanted, **options)


# One connection for each request at once: the client keeps a connection until its answer is read,
# so with fewer, answers read in another order than they came would wait for ever.
AT_ONCE = 20
client = triton.InferenceServerClient(sys.argv[1], concurrency=AT_ONCE, network_timeout=60)
assert client.is_server_live()
assert client.is_server_ready()
assert client.is_model_ready("linear")
assert client.is_model_ready("linear", "1")
assert not client.is_model_ready("nope")
assert client.get_server_metadata()["name"] == "frn_onnx"
metadata = client.get_model_metadata("linear", "1")
assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}], metadata
assert "linear" in [model["name"] for model in client.get_model_repository_index()]

rng = np.random.default_rng(1)
for rows in (1, 5):
    x = rng.normal(size=(rows, 4)).astype(np.float32)
    for options in (
        {},
        {"binary_in": False},
        {"binary_out": False},
        {"binary_in": False, "binary_out": False},
        {"request_id": "abc"},
        {"model_version": "1"},
        {"request_compression_algorithm": "gzip"},
        {"request_compression_algorithm": "deflate"},
        {"response_compression_algorithm": "gzip"},
        {"response_compression_algorithm": "deflate"},
    ):
        result = infer(client, x, **options)
        np.testing.assert_allclose(result.as_numpy("y"), x @ WEIGHTS, rtol=1e-5, atol=1e-6)
        assert result.get_response().get("id", "") == options.get("request_id", "")

pending = []
for _ in range(AT_ONCE):
    x = rng.normal(size=(2, 4)).astype(np.float32)
    tensor = triton.InferInput("x", [2, 4], "FP32").set_data_from_numpy(x)
    pending.append((x, client.async_infer("linear", [tensor])))
for x, request in pending:
    np.testing.assert_allclose(
        request.get_result().as_numpy("y"), x @ WEIGHTS, rtol=1e-5, atol=1e-6
    )


def refusal(call, *arguments):
    """The client's exception."""
    try:
        call(*arguments)
    except InferenceServerException as error:
        return error
    raise AssertionError(f"{call} raised nothing")


error = refusal(infer, client, rng.normal(size=(2, 5)).astype(np.float32))
assert error.status() == "400", error
assert "must have shape [-1, 4]" in error.message(), error
error = refusal(client.get_model_metadata, "nope")
assert error.message().startswith("Request for unknown model"), error
for change in (client.load_model, client.unload_model):
    error = refusal(change, "linear")
    assert error.status() == "501", error
    assert "loads its models when it starts" in error.message(), error

# What Triton's own examples read.
for version in ("", "1"):
    config = client.get_model_config("linear", version)
    assert config["max_batch_size"] > 1, config
    json_format.ParseDict(config, ModelConfig())  # refuses what Triton's message does not have
    (stats,) = client.get_inference_statistics("linear", version)["model_stats"]
    json_format.ParseDict(stats, ModelStatistics())
    assert stats["inference_stats"]["success"]["count"] > 0, stats
print("ok")
