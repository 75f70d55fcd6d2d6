"""Whole networks on the CPU: what FRN costs in them, by runtime and form.

    python benchmarks/bench_model.py [--threads 2 1] [--seconds 5] [--only TEXT] [--no-peers]

Networks with FRN + TLU, exported from Keras. For each:

* ``session``: ``frn_onnx.InferenceSession``, which moves FRN into the blocked layout of ONNX
  Runtime's convolutions;
* ``ORT, plugin``: the same without that (``blocked=False``);
* ``ORT, primitives``: the same network in standard ops;
* ``ORT, ReLU only``: the network with its norms taken out and ReLU left, which is what batch
  normalisation folded into the convolutions costs;
* ``OpenVINO, primitives``, ``OpenVINO, ReduceL2`` (the mean of squares as the square of a norm,
  which it does faster) and ``OpenVINO, ReLU only``, if OpenVINO is installed.

What counts is the ratio to ReLU only in the same runtime, of calls that were timed close to one
another. For the session, ONNX Runtime's profiler says by which ops the time is taken.

Writes benchmarks/results/model.json; report.py makes the table of it.
"""

import argparse
import importlib.util
import itertools
import json
import os
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import harness
import keras
import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

import frn_onnx
from frn_onnx import models, op
from frn_onnx.errors import FrnWarning

# name -> (builder, image shape, batch sizes)
NETWORKS = {
    "ResNet-20": (models.resnet20, (32, 32, 3), (1, 32)),
    "ResNet-50": (models.resnet50, (224, 224, 3), (1, 8)),
    "ResNet-50-D, V2": (models.resnetv2_50d, (224, 224, 3), (1,)),
    "U-Net": (models.unet, (256, 256, 3), (1, 4)),
}
# Runtimes differ by rounding; a wrong graph differs by the outputs' own size.
WRONG = 1e-2
PROFILED_RUNS = 10
TURNS = 9

Call = Callable[[], np.ndarray]


def export(build, image_shape, norm: str) -> onnx.ModelProto:
    """The network with the given norm, in the form custom; the same weights for every norm."""
    keras.utils.set_random_seed(20191120)
    network = models.randomize(build(image_shape, norm=norm))
    with warnings.catch_warnings():
        if norm == "relu":  # which has no FRN, and export says so
            warnings.simplefilter("ignore", FrnWarning)
        return frn_onnx.export(network, form="primitives" if norm == "relu" else "custom")


def ort_session(
    model: onnx.ModelProto, options: ort.SessionOptions, **how: Any
) -> ort.InferenceSession:
    return frn_onnx.InferenceSession(model, options, ["CPUExecutionProvider"], **how)


def ort_call(model: onnx.ModelProto, image: np.ndarray, threads: int, **how: Any) -> Call:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort_session(model, options, **how)
    feeds = {session.get_inputs()[0].name: image}
    return lambda: session.run(None, feeds)[0]


def milliseconds_by_op(model: onnx.ModelProto, image: np.ndarray, threads: int) -> dict[str, float]:
    """Op type -> the time that its nodes take in one run, the largest first."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling = True
        options.profile_file_prefix = os.path.join(folder, "profile")
        session = ort_session(model, options)
        feeds = {session.get_inputs()[0].name: image}
        for _ in range(PROFILED_RUNS):
            session.run(None, feeds)
        events = json.loads(Path(session.end_profiling()).read_text())
    total: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            total[event["args"]["op_name"]] += event["dur"]
    return {op_type: round(us / PROFILED_RUNS / 1e3, 2) for op_type, us in total.most_common()}


def with_norms(primitives: onnx.ModelProto) -> onnx.ModelProto:
    """The mean of squares as ``ReduceL2(x) ** 2 / n``."""
    model = onnx.shape_inference.infer_shapes(primitives)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in model.graph.value_info
    }
    squares = {
        node.output[0]: node
        for node in model.graph.node
        if node.op_type == "Mul" and node.input[0] == node.input[1]
    }
    nodes = []
    for node in model.graph.node:
        if node.op_type != "ReduceMean" or node.input[0] not in squares:
            nodes.append(node)
            continue
        x, nu2 = squares[node.input[0]].input[0], node.output[0]
        axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), [2, 3])
        size = np.float32(np.prod([shapes[node.input[0]][axis] for axis in axes]))
        model.graph.initializer.append(numpy_helper.from_array(1 / size, f"{nu2}/1/n"))
        norm, inputs = f"{nu2}/norm", [x, *node.input[1:]]
        nodes += [
            helper.make_node("ReduceL2", inputs, [norm], keepdims=1, **_axes(node)),
            helper.make_node("Mul", [norm, norm], [f"{norm}/squared"]),
            helper.make_node("Mul", [f"{norm}/squared", f"{nu2}/1/n"], [nu2]),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _axes(node: onnx.NodeProto) -> dict[str, list[int]]:
    return {a.name: list(a.ints) for a in node.attribute if a.name == "axes"}


def openvino_call(model: onnx.ModelProto, image: np.ndarray, threads: int) -> Call:
    import openvino

    core = openvino.Core()
    read = core.read_model(model.SerializeToString())
    read.reshape(list(image.shape))
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(read, "CPU", config).create_infer_request()
    request.set_input_tensor(openvino.Tensor(image, shared_memory=True))

    def call():
        request.infer()
        return request.get_output_tensor().data

    return call


def run_network(
    name: str, batch: int, threads: int, forms: dict[str, onnx.ModelProto], args
) -> dict:
    image_shape = NETWORKS[name][1]
    image = np.random.default_rng(0).random((batch, *image_shape), dtype=np.float32)
    calls = {
        "session": ort_call(forms["custom"], image, threads),
        "ORT, plugin": ort_call(forms["custom"], image, threads, blocked=False),
        "ORT, primitives": ort_call(forms["primitives"], image, threads),
        "ORT, ReLU only": ort_call(forms["relu"], image, threads),
    }
    if not args.no_peers and importlib.util.find_spec("openvino"):
        calls["OpenVINO, primitives"] = openvino_call(forms["primitives"], image, threads)
        norms = with_norms(forms["primitives"])
        calls["OpenVINO, ReduceL2"] = openvino_call(norms, image, threads)
        calls["OpenVINO, ReLU only"] = openvino_call(forms["relu"], image, threads)
    outputs = {key: np.array(call()) for key, call in calls.items()}
    for key, y in outputs.items():
        expected = outputs["ORT, ReLU only" if "ReLU" in key else "ORT, primitives"]
        error = np.abs(y - expected).max() / np.abs(expected).max()
        if not error < WRONG:
            raise SystemExit(f"{key} computes something else than ONNX Runtime: {error:.2e}")
    return {
        "network": name,
        "batch": batch,
        "threads": threads,
        "image": image_shape,
        "frn_layers": sum(op.is_frn(node) for node in forms["custom"].graph.node),
        "times": harness.time_in_turns(
            calls, seconds=args.seconds, turns=TURNS, base=_without_norms(calls)
        ),
        "session_ms_by_op": milliseconds_by_op(forms["custom"], image, threads),
    }


def _without_norms(calls: dict[str, Call]) -> dict[str, str]:
    """What each call with FRN is compared with: the network without, in the same runtime."""
    return {
        name: "OpenVINO, ReLU only" if name.startswith("OpenVINO") else "ORT, ReLU only"
        for name in calls
        if "ReLU" not in name
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each call of each row")
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--output", type=harness.Path, default=harness.RESULTS / "model.json")
    args = parser.parse_args()

    rows = []
    results = {"machine": harness.machine(), "rows": rows}
    for name, (build, image_shape, batches) in NETWORKS.items():
        if args.only not in name:
            continue
        custom = export(build, image_shape, "frn")
        forms = {
            "custom": custom,
            "primitives": frn_onnx.lower(custom, "primitives"),
            "relu": export(build, image_shape, "relu"),
        }
        for threads, batch in itertools.product(args.threads, batches):
            if threads == 1 and batch > 1:  # it takes minutes, and says no more
                continue
            rows.append(run_network(name, batch, threads, forms, args))
            times = rows[-1]["times"].items()
            figures = ", ".join(f"{key} {value['median_us'] / 1e3:.1f}" for key, value in times)
            print(f"{name}, batch {batch}, {threads} threads: {figures} ms", flush=True)
    harness.write_json(args.output, results)


if __name__ == "__main__":
    main()
