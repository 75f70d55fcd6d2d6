"""Requests as a client writes them, and what it reads; written from the protocol's text alone."""

import json

import numpy as np

from frn_onnx.serving.codec import LENGTH_HEADER

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
