"""What _native.frn refuses: it trusts nobody, though frn_onnx.frn has checked before."""

import ast
import inspect
import sys
from pathlib import Path

import numpy as np
import pytest
from native_cases import DTYPES

from frn_onnx import _native, op
from frn_onnx.runtime import library

X = np.ones((2, 3, 4, 5), np.float32)
P = np.ones(3, np.float32)


def call(x=X, gamma=P, beta=P, tau=None, epsilon=1e-6, axes=(2, 3), **options):
    return _native.frn(x, gamma, beta, tau, epsilon=epsilon, axes=axes, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"x": X.astype(np.int8)},
            "x must be float32, float16, bfloat16 or float64, received int8",
        ),
        ({"x": X.transpose(0, 2, 3, 1), "axes": (1, 2)}, "x must be C-contiguous"),
        ({"axes": (2,)}, r"X must have rank 3 .* received shape \(2, 3, 4, 5\)"),
        ({"axes": (2, 2)}, r"distinct spatial axes .* received axes=\(2, 2\)"),
        ({"axes": (0, 3)}, r"received axes=\(0, 3\)"),
        ({"axes": (2, 4)}, r"received axes=\(2, 4\)"),
        ({"axes": ()}, r"received axes=\(\)"),
        ({"axes": (1, 2, 3, 4)}, r"1 to 3 distinct spatial axes"),
        ({"gamma": P[:2]}, r"gamma must have shape \(3,\), received \(2,\)"),
        ({"beta": P[:, None]}, r"beta must have shape \(3,\), received \(3, 1\)"),
        ({"tau": P.astype(np.float64)}, "tau must be a contiguous array of float32"),
        ({"gamma": np.ones(6, np.float32)[::2]}, "gamma must be a contiguous array of float32"),
        ({"epsilon": P[:1]}, r"epsilon must have shape \(3,\)"),
        ({"epsilon": -1e-3}, "epsilon must be finite and not negative, received -0.001"),
        ({"epsilon": float("nan")}, "epsilon must be finite"),
        ({"out": X[:1].copy()}, "out must be a writeable C-contiguous array like x"),
        ({"out": X.astype(np.float64)}, "out must be a writeable C-contiguous array like x"),
        ({"threads": -1}, "threads must be positive, or 0 for all, received -1"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        call(**arguments)


@pytest.mark.parametrize("value", ["avx1024", "AVX2", "sse"])
def test_unknown_target(monkeypatch, value):
    monkeypatch.setenv("FRN_ONNX_CPU_TARGET", value)
    usable = ", ".join(_native.cpu_targets())
    with pytest.raises(
        ValueError, match=f"FRN_ONNX_CPU_TARGET must be one of {usable}, received '{value}'"
    ):
        call()
    with pytest.raises(ValueError, match="FRN_ONNX_CPU_TARGET"):
        _native.build_info()


def test_target_is_forced(target):
    assert _native.build_info()["cpu_target"] == target


def test_best_target_without_the_variable(monkeypatch):
    monkeypatch.delenv("FRN_ONNX_CPU_TARGET", raising=False)
    assert _native.build_info()["cpu_target"] == _native.cpu_targets()[0]
    monkeypatch.setenv("FRN_ONNX_CPU_TARGET", "")
    assert _native.build_info()["cpu_target"] == _native.cpu_targets()[0]


def test_negative_axes_count_from_the_back():
    x = np.arange(120, dtype=np.float32).reshape(2, 3, 4, 5)
    assert (call(x) == call(x, axes=(-1, -2))).all()


def test_copy():
    x = np.arange(1001, dtype=np.float32)
    out = np.zeros_like(x)
    _native.copy(x, out, threads=3)
    assert (out == x).all()
    with pytest.raises(ValueError, match="the same size in bytes"):
        _native.copy(x, out[1:])


def test_the_contract_is_the_one_of_op_py():
    assert _native.op_contract() == {
        "domain": op.DOMAIN,
        "name": op.OP_TYPE,
        "version": op.VERSION,
        "inputs": list(op.INPUTS),
        "required_inputs": op.required_inputs(op.OP_TYPE),
        "attributes": {"axes": None, "epsilon": float(np.float32(op.DEFAULT_EPSILON))},
        "dtypes": list(op.DTYPES),
        "ranks": op.RANKS,
        "ops": {
            "FilterResponseNormalization": {
                "inputs": ["X", "gamma", "beta", "tau", "epsilon"],
                "required_inputs": 3,
            },
            "ResidualFilterResponseNormalization": {
                "inputs": ["X", "residual", "gamma", "beta", "tau", "epsilon"],
                "required_inputs": 4,
            },
        },
    }


def test_the_stub_names_every_function():
    stub = ast.parse((Path(_native.__file__).parent / "_native.pyi").read_text())
    stated = {n.name: ast.get_docstring(n) for n in stub.body if hasattr(n, "name")}
    cuda_only = {name for name, text in stated.items() if "a build with CUDA" in text}
    assert cuda_only == {"frn_cuda", "warm_up_cuda"}
    if _native.build_info()["cuda"] is None:
        stated = stated.keys() - cuda_only
    there = {n for n, v in vars(_native).items() if inspect.isroutine(v) or inspect.isclass(v)}
    assert set(stated) == {name for name in there if not name.startswith("_")}


def test_build_info():
    import frn_onnx

    info = _native.build_info()
    assert info["version"] == frn_onnx.__version__
    assert info["ort_version_min"] == library.OLDEST_ONNXRUNTIME
    assert set(_native.cpu_targets()) <= set(info["cpu_targets"])
    assert "baseline" in info["cpu_targets"]
    assert info["compiler"]
    assert info["cuda"] is None or info["cuda"]["architectures"]


@pytest.mark.parametrize("name", ["x", "gamma", "beta", "tau", "epsilon", "out"])
def test_refuses_the_other_byte_order(name):
    """pybind11 and a comparison of kinds and sizes take it for the machine's own."""
    c = np.ones(3, np.float32)
    arrays = {"x": X, "gamma": c, "beta": c, "tau": c, "epsilon": c, "out": np.empty_like(X)}
    arrays[name] = arrays[name].astype(arrays[name].dtype.newbyteorder())
    with pytest.raises(ValueError, match=f"{name} must be in the machine's byte order"):
        _native.frn(**arrays, axes=(2, 3))


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_no_python_runs_in_a_call(name):
    """A property of NumPy's that is written in Python takes as long as a small call."""
    x = np.ones((1, 3, 2, 2)).astype(DTYPES[name])
    p = P.astype(np.float64 if name == "float64" else np.float32)
    call(x, p, p, p)
    calls = []
    sys.setprofile(lambda frame, event, _: event == "call" and calls.append(frame.f_code.co_name))
    try:
        _native.frn(x, p, p, p, epsilon=1e-6, axes=[2, 3])
    finally:
        sys.setprofile(None)
    assert calls == []
