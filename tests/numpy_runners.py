"""Models that are NumPy functions, to compare with each other."""

import numpy as np

from frn_onnx.graph.runners import Runner, Spec


def numpy_runner(function, *, inputs=("x",), shape=("N", 3), label="numpy", dtype=np.float32):
    specs = [Spec(name, np.dtype(dtype), shape) for name in inputs]
    return Runner(label, specs, ["y"], lambda xs: [function(*xs)], depth=1, roundoff=2.0**-24)
