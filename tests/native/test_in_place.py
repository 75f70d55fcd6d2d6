"""ONNX Runtime writes Y over X: the memory plan of a chain does not grow with its length."""

import subprocess
import sys
from pathlib import Path

TENSOR_MB = 64
# Peak memory of a process of its own after one run: what the memory plan needed.
SCRIPT = """
import resource, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import ort_models
shape = (1, 16, 1024, 1024)
model = ort_models.frn_model(x=shape, axes=(2, 3), channels=16, nodes=int(sys.argv[2]))
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
    peaks = {nodes: peak_mb(nodes) for nodes in (3, 16)}
    assert peaks[16] - peaks[3] < TENSOR_MB / 2, peaks
