"""Writes what ``custom_ops/tests/session_test.cc`` reads: models, inputs, and what must come out.

The cases are the golden file's, each in a model of its own, and models that are refused.
"""

import struct
from pathlib import Path

import golden
import numpy as np
import onnx
import ort_models

from frn_onnx import op

_ANY = {"x": (2, 5, 6, 7), "axes": (2, 3), "channels": 5}
# Models that no session takes: their changes, and words of what ONNX Runtime then says.
_REFUSED = {
    "axes": ({"axes": (2, 2)}, "axes must name 1 to 3 distinct spatial axes"),
    "rank": ({"axes": (2,)}, "X must have rank 3"),
    "epsilon": ({"epsilon": -0.1}, "epsilon must be finite and not negative, received -0.1"),
    "type": ({"dtype": "int8"}, "X must be float, float16, bfloat16 or double, received int8"),
}


def write(path: Path) -> int:
    """Writes all cases, and returns how many."""
    parts = [*map(_golden, golden.read()), *_refused(), _wrong_channels()]
    path.write_bytes(struct.pack("<I", len(parts)) + b"".join(parts))
    return len(parts)


def _golden(case: golden.Case) -> bytes:
    x, axes = case.x, op.normalize_axes(case.axes)
    channel = (set(range(1, x.ndim)) - set(axes)).pop()
    shape = (x.shape[channel],) + (1,) * (x.ndim - 1 - channel)
    params = (case.gamma, case.beta, case.tau, case.epsilons)
    feeds = {"X": x} if case.residual is None else {"X": x, "residual": case.residual}
    names = [*feeds, *op.INPUTS[1:]]
    for name, param in zip(op.INPUTS[1:], params, strict=True):
        if param is not None:
            feeds[name] = param.reshape(shape)
    if "epsilon" in feeds:
        feeds["epsilon"] = feeds["epsilon"].astype(np.float32)
    model = ort_models.frn_model(
        x=x.shape,
        axes=case.axes,
        channels=x.shape[channel],
        inputs=[name if name in feeds else "" for name in names],
        dtype=x.dtype.name,
        param_dtype=case.gamma.dtype.name,
        epsilon=case.epsilon,
    )
    assert case.y is not None
    assert case.allowed is not None
    return _case(case.name, model, feeds, "", case.y, case.allowed)


def _refused() -> list[bytes]:
    x = {"X": np.zeros(_ANY["x"], np.float32)}
    return [
        _case(f"refused {name}", ort_models.frn_model(**{**_ANY, **changes}), x, message)
        for name, (changes, message) in _REFUSED.items()
    ]


def _wrong_channels() -> bytes:
    """Not seen before it runs: the session does not know the channels of X."""
    model = ort_models.frn_model(**{**_ANY, "x": (2, None, 6, 7)})
    feeds = {name: np.ones((5, 1, 1), np.float32) for name in op.INPUTS[1:4]}
    feeds = {"X": np.ones((2, 4, 6, 7), np.float32), **feeds}
    return _case("wrong channels", model, feeds, "gamma must have shape (4, 1, 1)")


def _case(
    name: str,
    model: onnx.ModelProto,
    feeds: dict[str, np.ndarray],
    error: str,
    y: np.ndarray | None = None,
    allowed: np.ndarray | None = None,
) -> bytes:
    parts = [_counted(name.encode()), _counted(model.SerializeToString())]
    parts.append(struct.pack("<I", len(feeds)))
    for key, array in feeds.items():
        element = ort_models.ELEMENT_TYPES[array.dtype.name]
        parts.append(_counted(key.encode()))
        parts.append(struct.pack(f"<II{array.ndim}q", element, array.ndim, *array.shape))
        parts.append(_counted(array.tobytes()))
    parts.append(_counted(error.encode()))
    if y is None or allowed is None:
        return b"".join([*parts, struct.pack("<I", 0)])
    upwards = np.nextafter(allowed.astype(np.float32), np.float32(np.inf))
    exact = np.where(allowed == 0, np.float32(0), upwards)
    return b"".join([*parts, struct.pack("<I", y.size), y.tobytes(), exact.tobytes()])


def _counted(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data
