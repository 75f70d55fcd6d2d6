"""What this ONNX Runtime does with a network of a few nodes: its block, and whether results hold.

The layout of blocked weights and tensors is the runtime's own business. So nothing is assumed of
it: once per process a small network is run both ways, and a difference means that no model is
blocked.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import nchwc, op
from frn_onnx.runtime import library
from frn_onnx.runtime.blocked.errors import TrialError, UnfitError
from frn_onnx.runtime.blocked.optimised import optimise
from frn_onnx.runtime.providers import CPU
from frn_onnx.runtime.session_options import changed

ort: Any = library.onnxruntime()

_LANES = (8, 16)
_ALLOWED = 1e-5


def size() -> int:
    """How many channels ONNX Runtime puts into a block.

    Raises:
        TrialError: it blocks nothing here, or blocks that the kernels do not take.
    """
    return _known(_size)


def block() -> int:
    """As :func:`size`, where it was also seen that results hold.

    Raises:
        TrialError: that, or a blocked network gives other results.
    """
    return _known(_compare)


def _known(trial: Callable[[Path], int]) -> int:
    lanes, reason = _tried(trial)
    if reason is not None:
        raise TrialError(reason)
    return lanes


@functools.cache
def _tried(trial: Callable[[Path], int]) -> tuple[int, str | None]:
    try:
        with tempfile.TemporaryDirectory(prefix="frn_onnx-", ignore_cleanup_errors=True) as folder:
            return trial(Path(folder)), None
    except UnfitError as error:
        return 0, str(error)
    except Exception as error:  # whatever it is, the plain session will do, and it may pass
        raise TrialError(
            f"a small network could not be run blocked: {type(error).__name__}: {error}"
        ) from error


def _options() -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    library.register(options)
    return options


def _size(folder: Path) -> int:
    """From the weights of a Conv of four channels, which are padded to a block."""
    source, path = folder / "conv.onnx", folder / "optimised.onnx"
    source.write_bytes(_model([_conv("x", "y", 4)], [_weight("w_y", (4, 4, 1, 1))], 4))
    optimise(source, path, _options())
    made = onnx.load(path, load_external_data=False)
    convs = [
        node for node in made.graph.node if node.domain == nchwc.DOMAIN and node.op_type == "Conv"
    ]
    if not convs:
        raise UnfitError("ONNX Runtime blocks no convolutions on this machine")
    shapes = {tensor.name: tensor.dims for tensor in made.graph.initializer}
    lanes = shapes[convs[0].input[1]][0]
    if lanes not in _LANES:
        raise UnfitError(f"ONNX Runtime's blocks have {lanes} channels, the kernels take {_LANES}")
    return lanes


def _compare(folder: Path) -> int:
    """Runs a network with every kind of FRN node, blocked and not."""
    # Only now: who knows from a cache that it holds needs none of it, and it takes long to import.
    from frn_onnx.graph import protos
    from frn_onnx.runtime.blocked.rewriting import FILE, transform

    content = _network()
    x = np.random.default_rng(0).standard_normal((2, 20, 12, 11), np.float32)
    plain = ort.InferenceSession(content, _options(), providers=[CPU])
    model = protos.from_proto(onnx.load_model_from_string(content))
    report = transform(model, _options(), size(), folder)
    options = _options()
    with changed(options, graph_optimization_level=ort.GraphOptimizationLevel.ORT_DISABLE_ALL):
        path = str(folder / FILE)
        session = ort.InferenceSession(path, options, providers=[CPU])
    if min(report.blocked, report.reordering, report.phases) == 0:
        raise UnfitError("of a small network not everything is blocked")
    for expected, y in zip(plain.run(None, {"x": x}), session.run(None, {"x": x}), strict=True):
        if not np.allclose(y, expected, rtol=_ALLOWED, atol=_ALLOWED):
            raise UnfitError("a small network gives other results blocked")
    return size()


def _network() -> bytes:
    """FRN between planes and blocks, between blocks, with a residual, and of a ConvTranspose."""
    nodes, weights = [], []

    def conv(x: str, y: str, channels: int, before: int) -> None:
        nodes.append(_conv(x, y, channels))
        weights.append(_weight(f"w_{y}", (channels, before, 3, 3)))

    def frn(x: str, y: str, channels: int, *, tau: bool, residual: str | None = None) -> None:
        names = [f"{y}_{name}" for name in ("gamma", "beta", "tau")[: 3 if tau else 2]]
        weights.extend(_weight(name, (channels, 1, 1)) for name in names)
        op_type = op.OP_TYPE if residual is None else op.RESIDUAL_OP_TYPE
        given = [x, *([] if residual is None else [residual]), *names]
        nodes.append(op.node(given, y, axes=(2, 3), epsilon=0.1, name=y, op_type=op_type))

    frn("x", "a", 20, tau=True)
    conv("a", "b", 20, 20)
    frn("b", "c", 20, tau=True)
    conv("c", "d", 20, 20)
    conv("c", "e", 20, 20)
    frn("e", "f", 20, tau=False)
    frn("d", "g", 20, tau=True, residual="f")
    conv("g", "h", 16, 20)
    nodes.append(
        helper.make_node("ConvTranspose", ["h", "w_t"], ["t"], strides=[2, 2], pads=[0, 0, 1, 1])
    )
    weights.append(_weight("w_t", (16, 16, 3, 3)))
    frn("t", "u", 16, tau=True)
    conv("u", "v", 4, 16)
    frn("v", "y", 4, tau=False)
    return _model(nodes, weights, 20)


def _conv(x: str, y: str, channels: int) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, f"w_{y}"], [y], name=y)


def _weight(name: str, shape: tuple[int, ...]) -> onnx.TensorProto:
    rng = np.random.default_rng(sum(map(ord, name)))
    return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)


def _model(nodes: list[onnx.NodeProto], weights: list[onnx.TensorProto], channels: int) -> bytes:
    graph = helper.make_graph(
        nodes,
        "trial",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", channels, "h", "w"))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        weights,
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid(op.DOMAIN, op.VERSION)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString()
