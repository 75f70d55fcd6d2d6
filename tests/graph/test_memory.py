"""Weights in external data stay on disk: what a step takes in memory, beyond its imports."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

pytest.importorskip("onnxruntime")

MEGABYTES = 200
# Prints by how many MB each step grows the peak, each in a process of its own, forked from one
# that has imported all.
SCRIPT = """
import os, resource, sys
from frn_onnx.graph import half
from frn_onnx.graph.fuse_file import fuse_file
from frn_onnx.graph.lowering import lower_file
from frn_onnx.graph.summary import inspect
source, folder = sys.argv[1:]
steps = {
    "fuse": lambda target: fuse_file(source, target, compare=False),
    "lower": lambda target: lower_file(source, target, "portable"),
    "convert": lambda target: half.convert_file(source, target),
    "inspect": lambda target: inspect(source),
}
for name, step in steps.items():
    if (child := os.fork()) == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        step(f"{folder}/{name}.onnx")
        print(name, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000)
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(name)
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """FRN in standard ops, and 200 MB of weights in two tensors."""
    folder = tmp_path_factory.mktemp("large")
    count = MEGABYTES * 1_000_000 // 8
    (folder / "weights.bin").write_bytes(bytes(count * 8))
    model = onnx.parser.parse_model(
        f"""<ir_version: 9, opset_import: ["": 18]>
        g (float[N,2,W] x, float[{count}] k) => (float[N,2,W] y, float[{count}] z)
        <int64[1] axes = {{2}}, float epsilon = {{0.01}}, float[2,1] gamma = {{2.0, 3.0}},
         float[2,1] beta = {{1.0, -1.0}}>
        {{
          square = Mul (x, x)
          nu2 = ReduceMean <keepdims = 1> (square, axes)
          shifted = Add (nu2, epsilon)
          root = Sqrt (shifted)
          normal = Div (x, root)
          scaled = Mul (normal, gamma)
          y = Add (scaled, beta)
          first = Add (k, w1)
          z = Add (first, w2)
        }}"""
    )
    for number, name in enumerate(("w1", "w2")):
        weight = model.graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=[count])
        weight.data_location = TensorProto.EXTERNAL
        place = {"location": "weights.bin", "offset": number * count * 4, "length": count * 4}
        for key, value in place.items():
            weight.external_data.add(key=key, value=str(value))
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


@pytest.fixture(scope="module")
def peaks(large):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, large, large.parent],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return {name: float(grown) for name, grown in map(str.split, done.stdout.splitlines())}


# Half precision reads one tensor of 100 MB at a time, and holds it and its half.
@pytest.mark.parametrize(
    ("what", "allowed"), [("fuse", 60), ("lower", 60), ("inspect", 60), ("convert", 60 + 150)]
)
def test_the_peak(peaks, what, allowed):
    assert peaks[what] < allowed


@pytest.mark.parametrize("what", ["fuse", "lower", "convert"])
def test_external_data_stay_external(large, peaks, what):
    target = large.parent / f"{what}.onnx"
    onnx.checker.check_model(str(target))
    written = onnx.load(target, load_external_data=False)
    weights = [t for t in written.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert [t.name for t in weights] == ["w1", "w2"]
    size = MEGABYTES * 1_000_000 // (2 if what == "convert" else 1)
    assert target.with_name(f"{what}.onnx.data").stat().st_size == size


def test_weights_that_are_gone_when_they_are_needed(tmp_path):
    import frn_onnx
    from frn_onnx.errors import ModelError

    w = np.arange(600, dtype=np.float32)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [600])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [600])
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [x],
        [y],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="w.bin")
    kept, lost = frn_onnx.fuse(path), frn_onnx.fuse(path)
    np.testing.assert_array_equal(onnx.numpy_helper.to_array(kept.model.graph.initializer[0]), w)
    (tmp_path / "w.bin").unlink()
    assert len(kept.model.graph.initializer) == 1
    with pytest.raises(ModelError, match=r"tensor 'w' cannot be read from .*w\.bin: No such file"):
        _ = lost.model
