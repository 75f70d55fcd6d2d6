"""The CUDA kernels in ONNX Runtime sessions on a GPU; test_simt.py is what runs without one.

What binds tensors or runs in threads runs on the CPU as well: that these tests can be run at all
shows without a GPU, too.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import onnxruntime as ort
import ort_models
import pytest
from cuda_cases import check, feeds_for
from native_cases import CASES, DTYPES, channels_of, make_x

import frn_onnx
from frn_onnx import op

PROVIDERS = ["CUDAExecutionProvider", "CPUExecutionProvider"]


def session(model, device="cuda", **cuda_options) -> ort.InferenceSession:
    cuda = [(PROVIDERS[0], cuda_options)] if device == "cuda" else []
    return frn_onnx.InferenceSession(model, providers=[*cuda, PROVIDERS[1]], plugin=True)


@pytest.fixture(params=[pytest.param("cuda", marks=pytest.mark.cuda), "cpu"])
def device(request) -> str:
    return request.param


@pytest.mark.cuda
def test_this_machine_has_what_is_needed():
    assert PROVIDERS[0] in ort.get_available_providers()
    assert frn_onnx.build_info()["cuda"] is not None


@pytest.mark.cuda
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize(("shape", "axes"), CASES, ids=str)
def test_every_shape(rng, name, shape, axes):
    """double among them, which ONNX Runtime gives to the CPU kernel."""
    feeds = feeds_for(rng, shape, axes, DTYPES[name])
    channels = channels_of(shape, axes)
    model = ort_models.frn_model(x=shape, axes=axes, channels=channels, dtype=name)
    check(ort_models.run(session(model), feeds), feeds, axes)


@pytest.mark.cuda
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize(("shape", "axes"), CASES[::2], ids=str)
def test_residual(rng, name, shape, axes):
    inputs = op.RESIDUAL_INPUTS[:5]
    feeds = feeds_for(rng, shape, axes, DTYPES[name], inputs)
    channels = channels_of(shape, axes)
    model = ort_models.frn_model(x=shape, axes=axes, channels=channels, dtype=name, inputs=inputs)
    check(ort_models.run(session(model), feeds), feeds, axes)


@pytest.mark.parametrize("inputs", [op.INPUTS[:4], op.RESIDUAL_INPUTS[:5]], ids=["", "residual"])
@pytest.mark.parametrize("axes", [(1, 2), (2, 3)])
def test_under_a_cuda_graph(rng, device, axes, inputs):
    """Captured once, replayed with other values in the same memory."""
    shape = (2, 40, 30, 16) if axes == (1, 2) else (2, 16, 40, 30)
    model = ort_models.frn_model(x=shape, axes=axes, channels=16, nodes=1, inputs=inputs)
    created = session(model, device, enable_cuda_graph="1")
    binding = created.io_binding()
    feeds = feeds_for(rng, shape, axes, DTYPES["float32"], inputs)
    values = {n: ort.OrtValue.ortvalue_from_numpy(a, device, 0) for n, a in feeds.items()}
    y = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32), device, 0)
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    binding.bind_ortvalue_output("Y", y)
    for _ in range(3):
        feeds["X"] = make_x(rng, shape, np.float32)
        values["X"].update_inplace(feeds["X"])
        created.run_with_iobinding(binding)
        check(y.numpy(), feeds, axes)


def test_threads_share_a_session(rng, device):
    """Each with shapes of its own: plans are made by one while others launch."""
    shapes = [(1 + i % 3, 20 + i, 30, 16) for i in range(24)]
    feeds = [feeds_for(rng, shape, (1, 2), DTYPES["float16"]) for shape in shapes]
    model = ort_models.frn_model(x=["N", "H", 30, 16], axes=(1, 2), channels=16, dtype="float16")
    created = session(model, device)
    with ThreadPoolExecutor(8) as threads:
        for y, given in zip(
            threads.map(partial(ort_models.run, created), feeds), feeds, strict=True
        ):
            check(y, given, (1, 2))


def test_same_bits_every_time(rng, device):
    shape, axes = (4, 56, 56, 64), (1, 2)
    feeds = feeds_for(rng, shape, axes, DTYPES["float16"])
    created = session(
        ort_models.frn_model(x=shape, axes=axes, channels=64, dtype="float16"), device
    )
    first = created.run(None, feeds)[0]
    for _ in range(5):
        np.testing.assert_array_equal(created.run(None, feeds)[0], first)
