"""frn_onnx.frn on CUDA arrays; without a GPU, what is refused before the launch."""

import ml_dtypes
import numpy as np
import pytest
import tolerances

import frn_onnx
from frn_onnx import reference
from frn_onnx.errors import DtypeError, PluginError
from frn_onnx.runtime import library


class DeviceArray:
    """Says that it lies on a CUDA device, and is of no library that is known."""

    shape = (1, 2, 2, 3)

    def __dlpack_device__(self):
        return (2, 0)


@pytest.fixture
def built_with_cuda(monkeypatch):
    monkeypatch.setattr(library, "build_info", lambda: {"cuda": {"toolkit": "13.0"}})


def test_a_library_without_cuda_says_so(monkeypatch):
    monkeypatch.setattr(library, "build_info", lambda: {"cuda": None})
    with pytest.raises(PluginError, match=r"built without CUDA kernels.*nvcc"):
        frn_onnx.frn(DeviceArray(), np.ones(3), np.zeros(3))


@pytest.mark.usefixtures("built_with_cuda")
def test_other_libraries_arrays_are_refused():
    with pytest.raises(DtypeError, match=r"PyTorch tensor or a CuPy array, received .*DeviceArray"):
        frn_onnx.frn(DeviceArray(), np.ones(3), np.zeros(3))


@pytest.mark.cuda
@pytest.mark.parametrize("library_name", ["torch", "cupy"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("axes", [(1, 2), (2, 3)])
def test_values_on_a_gpu(rng, library_name, dtype, axes):
    module = pytest.importorskip(library_name)
    if library_name == "cupy" and dtype == "bfloat16":
        pytest.skip("CuPy has no bfloat16")
    x = (rng.normal(size=(2, 6, 5, 6)) * 3 - 1).astype(np.dtype(getattr(ml_dtypes, dtype, dtype)))
    params = [rng.normal(size=6).astype(np.float32) for _ in range(3)]
    if library_name == "torch":
        on_gpu = module.tensor(x.astype(np.float32), device="cuda").to(getattr(module, dtype))
        y = frn_onnx.frn(on_gpu, *params, axes=axes)
        assert y.is_cuda
        back = y.float().cpu().numpy()
    else:
        y = frn_onnx.frn(module.asarray(x), *params, axes=axes)
        back = module.asnumpy(y).astype(np.float32)
    expected = reference.frn(x, *params, axes=axes)
    bound = tolerances.frn_bound(x, *params, axes=axes, dtype=x.dtype)
    tolerances.assert_within(back, expected, bound)
