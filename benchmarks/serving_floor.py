"""The least that a Python server can do: one client, no checks, no batches, Python's http.server.

    serving_floor.py MODEL.onnx INPUT SHAPE THREADS

What a request takes here beside session.run is the client's and the loopback's part, which no
server can take away. Prints its URL; logs each request to stderr as frn-onnx serve does.
"""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np

from frn_onnx.serving.model import Model
from frn_onnx.serving.options import ModelOptions

path, name, shape, threads = sys.argv[1:]
shape = json.loads(shape)
model = Model(ModelOptions(path, threads=int(threads)))
count = 4 * int(np.prod(shape))
(output,) = model.signature.outputs


class Handler(BaseHTTPRequestHandler):
    """One request: bytes to an array, run, array to bytes."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one write per answer
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._answer(json.dumps(model.signature.metadata()).encode(), b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        start = time.perf_counter()
        y = model.run({name: np.frombuffer(body[-count:], np.float32).reshape(shape)}, [output])
        run_ms = (time.perf_counter() - start) * 1e3
        array = y[output]
        entry = {"name": output, "shape": array.shape, "datatype": "FP32"}
        entry["parameters"] = {"binary_data_size": array.nbytes}
        head = {"model_name": model.signature.name, "model_version": "1", "outputs": [entry]}
        self._answer(json.dumps(head).encode(), array.tobytes())
        identity = json.loads(body[: int(self.headers["Inference-Header-Content-Length"])])["id"]
        print(json.dumps({"status": 200, "id": identity, "run_ms": run_ms}), file=sys.stderr)

    def _answer(self, head: bytes, raw: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(head) + len(raw)))
        if raw:
            self.send_header("Inference-Header-Content-Length", str(len(head)))
        self.end_headers()
        self.wfile.write(head + raw)
        self.wfile.flush()

    def log_message(self, *args: object) -> None:
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
