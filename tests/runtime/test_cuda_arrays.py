"""frn_onnx.frn on CUDA arrays, without a GPU: stand-ins for PyTorch and CuPy, with two devices.

tests/native/test_cuda_arrays.py is what runs on one.
"""

import contextlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import frn_onnx
from frn_onnx.errors import ArgumentError, DtypeError, PluginError, ShapeError
from frn_onnx.runtime import library

SHAPE = (1, 2, 2, 3)


class DeviceArray:
    """An array of either library, as far as it is asked: it knows where it was made."""

    def __init__(self, values, device, dtype="float32"):
        self.values = np.asarray(values, dtype)
        self.shape = self.values.shape
        self.ndim = self.values.ndim
        self.ordinal = device
        self.memory = 2
        self.requires_grad = False

    def __dlpack_device__(self):
        return (self.memory, self.ordinal)

    def item(self):
        return self.values.item()


class Machine:
    """Both libraries' state, which is alike: a current device, and a current stream on each."""

    def __init__(self):
        self.current = 0
        self.streams = [100, 200]
        self.calls = []
        self.warmed = []

    @contextlib.contextmanager
    def on(self, device):
        before, self.current = self.current, device
        try:
            yield
        finally:
            self.current = before

    def frn_cuda(self, **arguments):
        self.calls.append({**arguments, "current": self.current})

    def warm_up_cuda(self, *, device):
        self.warmed.append(device)


@pytest.fixture
def machine(monkeypatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr(library, "build_info", lambda: {"cuda": {"toolkit": "13.0"}})
    monkeypatch.setattr(library, "native", lambda: machine)
    for name in ("torch", "cupy"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return machine


@pytest.fixture
def torch(machine, monkeypatch):
    class Tensor(DeviceArray):
        device = property(lambda self: SimpleNamespace(index=self.ordinal))
        dtype = property(lambda self: f"torch.{self.values.dtype.name}")

        def detach(self):
            assert self.ordinal == machine.current
            return Tensor(self.values, self.ordinal, self.values.dtype)

        contiguous = detach

        def to(self, dtype):
            return Tensor(self.values, machine.current, dtype)

        def data_ptr(self):
            return id(self.values)

    def as_tensor(value, *, device):
        values = value.values if isinstance(value, Tensor) else np.asarray(value)
        return Tensor(values, device.index, values.dtype)

    def empty_like(x, *, memory_format):
        assert memory_format == "contiguous"
        return Tensor(x.values, x.ordinal, x.values.dtype)

    made = SimpleNamespace(
        Tensor=Tensor,
        float32="float32",
        contiguous_format="contiguous",
        as_tensor=as_tensor,
        tensor=as_tensor,
        empty_like=empty_like,
        grad=True,
        cuda=SimpleNamespace(
            device=lambda device: machine.on(device.index),
            current_stream=lambda device: SimpleNamespace(
                cuda_stream=machine.streams[device.index]
            ),
        ),
    )
    made.is_grad_enabled = lambda: made.grad
    monkeypatch.setitem(sys.modules, "torch", made)
    return SimpleNamespace(module=made, array=Tensor)


@pytest.fixture
def cupy(machine, monkeypatch):
    class Array(DeviceArray):
        device = property(lambda self: SimpleNamespace(id=self.ordinal))
        dtype = property(lambda self: self.values.dtype)
        data = property(lambda self: SimpleNamespace(ptr=id(self.values)))

        def copy(self):
            return Array(self.values, machine.current, self.values.dtype)

        def __abs__(self):
            return Array(abs(self.values), machine.current)

    def ascontiguousarray(value, dtype=None):
        if isinstance(value, Array):
            if dtype in (None, value.dtype):
                return value
            value = value.values
        values = np.asarray(value, dtype)
        return Array(values, machine.current, values.dtype)

    made = SimpleNamespace(
        ndarray=Array,
        asarray=ascontiguousarray,
        ascontiguousarray=ascontiguousarray,
        empty_like=lambda x, order: Array(x.values, machine.current, x.dtype),
        cuda=SimpleNamespace(
            Device=machine.on,
            get_current_stream=lambda: SimpleNamespace(ptr=machine.streams[machine.current]),
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", made)
    return SimpleNamespace(module=made, array=Array)


@pytest.fixture(params=["torch", "cupy"])
def array(request):
    """Makes an array of one of the two libraries: (values, device, dtype)."""
    return request.getfixturevalue(request.param).array


def test_a_library_without_cuda_says_so(monkeypatch):
    monkeypatch.setattr(library, "build_info", lambda: {"cuda": None})
    with pytest.raises(PluginError, match=r"built without CUDA kernels.*nvcc"):
        frn_onnx.frn(DeviceArray(np.ones(SHAPE), 0), np.ones(3), np.zeros(3))
    with pytest.raises(PluginError, match=r"built without CUDA kernels.*nvcc"):
        frn_onnx.warm_up()


@pytest.mark.usefixtures("torch", "cupy")
def test_other_libraries_arrays_are_refused():
    with pytest.raises(DtypeError, match=r"PyTorch tensor or a CuPy array, received .*DeviceArray"):
        frn_onnx.frn(DeviceArray(np.ones(SHAPE), 0), np.ones(3), np.zeros(3))


@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("current", [0, 1])
@pytest.mark.parametrize("where", ["there", "elsewhere", "on the CPU"])
def test_all_is_done_on_the_device_of_x(machine, array, device, current, where):
    """Output, parameters and stream, whichever device is current, which it still is after."""
    machine.current = current
    x = array(np.ones(SHAPE), device)
    gamma, beta = np.ones(3, np.float32), np.zeros(3, np.float32)
    if where != "on the CPU":
        gamma = array(gamma, device if where == "there" else 1 - device)
    y = frn_onnx.frn(x, gamma, beta)
    (call,) = machine.calls
    assert y.ordinal == device
    assert (call["device"], call["stream"]) == (device, machine.streams[device])
    assert call["current"] == device
    assert machine.current == current


def test_managed_memory_is_a_gpus_too(machine, cupy):
    """CuPy tells DLPack so of what cupy.cuda.malloc_managed gave it."""
    x, residual = (cupy.array(np.ones(SHAPE), 0) for _ in range(2))
    x.memory = residual.memory = 13
    frn_onnx.frn(x, np.ones(3), np.zeros(3), residual=residual)
    (call,) = machine.calls
    assert (call["x"], call["residual"]) == (id(x.values), id(residual.values))


def test_an_error_leaves_the_current_device(machine, array):
    with pytest.raises(ShapeError, match="gamma must have shape"):
        frn_onnx.frn(array(np.ones(SHAPE), 1), np.ones(4), np.zeros(3))
    assert machine.current == 0
    assert machine.calls == []


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_parameters_of_the_type_of_x_are_not_converted(machine, array, dtype):
    x = array(np.ones(SHAPE), 0, dtype)
    given = [array(np.arange(3), 0, d) for d in (dtype, "float32", "float64")]
    frn_onnx.frn(x, *given, epsilon=0.5)
    (call,) = machine.calls
    types = [call[name][1] for name in ("gamma", "beta", "tau")]
    assert types == [dtype, "float32", "float32"]
    assert call["gamma"][0] == id(given[0].values)
    assert (call["epsilon"], call["epsilons"], call["dtype"]) == (0.5, None, dtype)


def test_float64_is_refused(array):
    with pytest.raises(DtypeError, match=r"float32, float16 or bfloat16, received float64"):
        frn_onnx.frn(array(np.ones(SHAPE), 0, "float64"), np.ones(3), np.zeros(3))


@pytest.mark.parametrize("name", ["gamma", "beta", "tau", "epsilon"])
@pytest.mark.parametrize("where", ["on the device", "on the CPU"])
def test_complex_parameters_are_refused(machine, array, name, where):
    arrays = {n: array(np.ones(3), 0) for n in ("gamma", "beta", "tau", "epsilon")}
    wrong = np.ones(3, "complex64")
    arrays[name] = wrong if where == "on the CPU" else array(wrong, 0, "complex64")
    with pytest.raises(DtypeError, match=f"{name} must hold real numbers, received complex64"):
        frn_onnx.frn(array(np.ones(SHAPE), 0), **arrays)
    assert machine.calls == []


@pytest.mark.parametrize("epsilon", [np.nan, 1e39, np.float64(1e39)])
def test_epsilon_that_is_not_finite(machine, array, epsilon):
    with pytest.raises(ArgumentError, match="epsilon must be finite in float32, received"):
        frn_onnx.frn(array(np.ones(SHAPE), 0), np.ones(3), np.zeros(3), epsilon=epsilon)
    assert machine.calls == []


@pytest.mark.parametrize("name", ["x", "gamma", "beta", "tau", "epsilon"])
def test_gradients_are_refused(machine, torch, name):
    """There is no backward pass: a result without one would train nothing, silently."""
    arrays = {n: torch.array(np.ones(3), 0) for n in ("gamma", "beta", "tau", "epsilon")}
    arrays["x"] = torch.array(np.ones(SHAPE), 0)
    arrays["epsilon"] = torch.array(1.0, 0)
    arrays[name].requires_grad = True
    with pytest.raises(ArgumentError, match=rf"\({name} with requires_grad.*torch.no_grad"):
        frn_onnx.frn(**arrays)
    assert machine.calls == []
    torch.module.grad = False  # no_grad and inference_mode
    frn_onnx.frn(**arrays)
    assert len(machine.calls) == 1


def test_warm_up(machine):
    frn_onnx.warm_up()
    frn_onnx.warm_up(1)
    assert machine.warmed == [0, 1]
