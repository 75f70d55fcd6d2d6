"""What else one would run FRN with on a CPU: torch.compile, OpenVINO, XLA-compiled TensorFlow.

Each is used where it is installed (``pip install -r benchmarks/requirements-peers.txt``, best in
an environment of its own) and computes the same formula on the same array with the same number
of threads. A peer is a function (case, model, threads) -> call, and the call returns y.
"""

import importlib
import importlib.util
import os
from collections.abc import Callable

import numpy as np

Call = Callable[[], np.ndarray]


def torch_compile(case, model, threads: int) -> Call:
    """torch.compile with its default backend (Inductor), static shapes."""
    import torch

    torch.set_num_threads(threads)
    x, gamma, beta, tau = (torch.from_numpy(a) for a in (case.x, *case.shaped_params()))
    axes = case.axes

    def formula(x, gamma, beta, tau):
        nu2 = x.square().mean(axes, keepdim=True)
        return torch.maximum(gamma * x * torch.rsqrt(nu2 + case.epsilon) + beta, tau)

    # Compiled code is kept per function, for eight shapes; after those it would run uncompiled.
    torch.compiler.reset()
    compiled = torch.compile(formula, dynamic=False)

    def call():
        with torch.inference_mode():
            return compiled(x, gamma, beta, tau).numpy()

    return call


def openvino(case, model, threads: int) -> Call:
    """OpenVINO's CPU plugin on the primitive graph, in float32, one stream."""
    import openvino

    core = openvino.Core()
    config = {
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", config)
    request = compiled.create_infer_request()
    request.set_input_tensor(openvino.Tensor(case.x, shared_memory=True))

    def call():
        request.infer()
        return request.get_output_tensor().data

    return call


def tensorflow_xla(case, model, threads: int) -> Call:
    """tf.function(jit_compile=True)."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        pass  # set by the first case, and fixed since
    x, gamma, beta, tau = (tf.constant(a) for a in (case.x, *case.shaped_params()))

    @tf.function(jit_compile=True)
    def formula(x):
        nu2 = tf.reduce_mean(tf.square(x), axis=case.axes, keepdims=True)
        return tf.maximum(gamma * x * tf.math.rsqrt(nu2 + case.epsilon) + beta, tau)

    return lambda: formula(x).numpy()


_PEERS = {
    "torch.compile": ("torch", torch_compile),
    "OpenVINO": ("openvino", openvino),
    "TF XLA": ("tensorflow", tensorflow_xla),
}


def available(names: list[str] | None = None) -> dict[str, Callable[..., Call]]:
    """The peers that are installed, or those asked for, which then must be."""
    wanted = {name: _PEERS[name] for name in names} if names is not None else _PEERS
    found = {}
    for name, (package, make) in wanted.items():
        if importlib.util.find_spec(package) is not None:
            found[name] = make
        elif names is not None:
            raise SystemExit(
                f"{name} needs the package {package}: "
                "pip install -r benchmarks/requirements-peers.txt"
            )
    return found


def versions(names) -> dict[str, str]:
    return {name: importlib.import_module(_PEERS[name][0]).__version__ for name in names}
