"""The doctor finds what is broken and says how to mend it."""

import sys

import numpy as np
import pytest

import frn_onnx
from frn_onnx.errors import PluginError
from frn_onnx.runtime import cuda_provider, doctor, library


def test_a_whole_installation_is_well():
    report = doctor.examine()
    assert report.ok, report.to_dict()
    names = [check.name for check in report.checks]
    assert "session with the plugin" in names


def test_a_missing_library_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(library, "_LIBRARY", tmp_path / "gone.so")
    report = doctor.examine()
    assert not report.ok
    broken = {check.name: check.detail for check in report.checks if check.ok is False}
    assert set(broken) == {"native library", "session with the plugin"}
    assert "gone.so is missing" in broken["native library"]


def test_a_build_without_python_headers_is_well(monkeypatch):
    monkeypatch.setitem(sys.modules, "frn_onnx._native", None)
    monkeypatch.setattr(library, "has_native", lambda: False)
    report = doctor.examine()
    assert report.ok, report.to_dict()
    results = {check.name: check for check in report.checks}
    assert results["kernel on arrays"].ok is None
    assert "headers" in results["kernel on arrays"].detail
    assert results["session with the plugin"].ok
    with pytest.raises(PluginError, match=r"frn_onnx.frn.*headers.*apt install python3-dev"):
        frn_onnx.frn(np.ones((1, 2, 2, 3), np.float32), np.ones(3), np.zeros(3))


@pytest.mark.native
@pytest.mark.parametrize(
    ("provider", "ok"), [("CUDAExecutionProvider", False), ("CPUExecutionProvider", None)]
)
def test_a_driver_too_old_for_the_kernels_is_found(monkeypatch, provider, ok):
    """Sessions leave such kernels by themselves: a fault where ONNX Runtime has CUDA, else none."""
    info = {**library.native().build_info(), "cuda": {"toolkit": "13.0"}}
    monkeypatch.setattr(library.native(), "build_info", lambda: info)
    monkeypatch.setattr(cuda_provider, "problem", lambda: None)
    monkeypatch.setattr(library.onnxruntime(), "get_available_providers", lambda: [provider])
    for driver in (None, 13000):
        monkeypatch.setattr(cuda_provider, "driver_version", lambda driver=driver: driver)
        assert not [c for c in doctor.examine().checks if c.name == "CUDA kernels"]
    monkeypatch.setattr(cuda_provider, "driver_version", lambda: 12040)
    report = doctor.examine()
    (found,) = [check for check in report.checks if check.name == "CUDA kernels"]
    assert found.ok is ok
    assert report.ok is (ok is None), report.to_dict()
    assert "built with CUDA 13.0, and the NVIDIA driver is for CUDA 12.4" in found.detail
    assert "580 or newer" in found.detail
