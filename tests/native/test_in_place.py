"""ONNX Runtime writes Y over X: the memory plan of a chain does not grow with its length."""

import subprocess
import sys
from pathlib import Path

TENSOR_MB = 64
# Peak memory of a process of its own after one run: what the memory plan needed. The chain ends in
# a node with a small output, because the session's output gets memory of its own in any case.
SCRIPT = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import ort_models
from onnx import helper
shape = (1, 16, 1024, 1024)
model = ort_models.frn_model(x=shape, axes=(2, 3), channels=16, nodes=int(sys.argv[2]))
model.graph.node.append(helper.make_node("GlobalMaxPool", ["Y"], ["Z"]))
model.graph.output[0].CopyFrom(helper.make_tensor_value_info("Z", 1, (1, 16, 1, 1)))
parameters = {name: np.ones((16, 1, 1), np.float32) for name in ("gamma", "beta", "tau")}
ort_models.session(model).run(None, {"X": np.ones(shape, np.float32), **parameters})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def peak_mb(nodes: int) -> int:
    tests = str(Path(__file__).parents[1])
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT, tests, str(nodes)],
        check=True,
        capture_output=True,
        text=True,
    )
    return int(process.stdout)


def test_memory_of_a_chain_does_not_grow():
    """One node needs X and Y; a second one that does not write in place needs a third tensor."""
    peaks = {nodes: peak_mb(nodes) for nodes in (1, 2, 16)}
    assert max(peaks.values()) - peaks[1] < TENSOR_MB / 2, peaks
