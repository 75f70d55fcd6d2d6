"""Fixtures of the native tests: every CPU target of this machine, every element type."""

import pytest
from native_cases import DTYPES

from frn_onnx.runtime import library

TARGETS = library.native().cpu_targets() if library.has_native() else []


@pytest.fixture(params=TARGETS)
def target(request, monkeypatch) -> str:
    """One CPU target, forced."""
    monkeypatch.setenv("FRN_ONNX_CPU_TARGET", request.param)
    return request.param


@pytest.fixture(params=DTYPES.values(), ids=DTYPES)
def dtype(request):
    return request.param
