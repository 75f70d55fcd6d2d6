"""Fixtures of the native tests: every CPU target of this machine, every element type."""

import pytest
from native_cases import DTYPES

from frn_onnx import _native


@pytest.fixture(params=_native.cpu_targets())
def target(request, monkeypatch) -> str:
    """One CPU target, forced."""
    monkeypatch.setenv("FRN_ONNX_CPU_TARGET", request.param)
    return request.param


@pytest.fixture(params=DTYPES.values(), ids=DTYPES)
def dtype(request):
    return request.param
