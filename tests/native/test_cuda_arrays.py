"""frn_onnx.frn on PyTorch tensors and CuPy arrays that are on a GPU.

tests/runtime/test_cuda_arrays.py is what runs without one.
"""

import subprocess
import sys
import textwrap

import numpy as np
import pytest
from cuda_cases import EPSILON, check, feeds_for
from native_cases import DTYPES, make_x

import frn_onnx
from frn_onnx.errors import ArgumentError, DtypeError

pytestmark = pytest.mark.cuda

HALVES_AND_FLOAT = [name for name in DTYPES if name != "float64"]
# One for each kernel: planes in tiles, large planes, channels last wide and scalar, in between.
LAYOUTS = [
    ((2, 6, 5, 7), (2, 3)),
    ((1, 3, 260, 250), (2, 3)),
    ((2, 9, 5, 16), (1, 2)),
    ((2, 9, 5, 17), (1, 2)),
    ((2, 33, 70, 9), (1, 3)),
    ((3, 4, 1000), (2,)),
    ((2, 4, 5, 6, 3), (1, 2, 3)),
    ((0, 3, 4, 4), (2, 3)),
]


class Torch:
    """NumPy arrays to PyTorch's and back; bfloat16 too, which PyTorch does not take from NumPy."""

    def __init__(self):
        self.module = pytest.importorskip("torch")

    def array(self, values, device=0):
        bits = self.module.from_numpy(np.array(values).view(f"i{values.itemsize}"))
        return bits.to(f"cuda:{device}").view(getattr(self.module, values.dtype.name))

    def numpy(self, array):
        name = str(array.dtype).removeprefix("torch.")
        bits = getattr(self.module, f"int{8 * array.element_size()}")
        return array.view(bits).cpu().numpy().view(DTYPES[name])


class CuPy:
    def __init__(self):
        self.module = pytest.importorskip("cupy")

    def array(self, values, device=0):
        with self.module.cuda.Device(device):
            return self.module.asarray(values)

    def numpy(self, array):
        return self.module.asnumpy(array)


@pytest.fixture(params=[Torch, CuPy])
def library(request):
    return request.param()


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def frn(library, feeds, axes, device=0, **options):
    """FRN with all arguments on the device."""
    options = {"epsilon": EPSILON, "axes": axes, **options}
    return frn_onnx.frn(*(library.array(a, device) for a in feeds.values()), **options)


@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize(("shape", "axes"), LAYOUTS, ids=str)
def test_every_layout(rng, library, name, shape, axes):
    feeds = feeds_for(rng, shape, axes, DTYPES[name])
    y = frn(library, feeds, axes)
    assert type(y) is type(library.array(feeds["X"]))
    check(library.numpy(y), feeds, axes)


@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize(("shape", "axes"), LAYOUTS, ids=str)
def test_residual(rng, library, name, shape, axes):
    feeds = feeds_for(rng, shape, axes, DTYPES[name], ("residual", "gamma", "beta", "tau"))
    on_device = dict(feeds)
    residual = library.array(on_device.pop("residual"))
    check(library.numpy(frn(library, on_device, axes, residual=residual)), feeds, axes)


@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize("part", [np.s_[1:], np.s_[:, 1:], np.s_[..., ::2], np.s_[:, :, 1:, 1:]])
@pytest.mark.parametrize("axes", [(1, 2), (2, 3)])
def test_views(rng, library, name, axes, part):
    """The first begins between two 16-byte lines; the others are not contiguous."""
    whole = make_x(rng, (3, 7, 5, 9), DTYPES[name])
    feeds = feeds_for(rng, whole[part].shape, axes, DTYPES[name])
    feeds["X"] = whole[part]
    x = library.array(whole)[part]
    params = [library.array(feeds[n]) for n in ("gamma", "beta", "tau")]
    check(library.numpy(frn_onnx.frn(x, *params, epsilon=EPSILON, axes=axes)), feeds, axes)
    np.testing.assert_array_equal(library.numpy(x), feeds["X"])


def test_transposed(rng, library):
    """What another layout's view is: copied, and right."""
    feeds = feeds_for(rng, (2, 5, 6, 7), (2, 3), DTYPES["float32"])
    x = library.array(np.ascontiguousarray(feeds["X"].transpose(0, 2, 3, 1)))
    x = x.permute(0, 3, 1, 2) if isinstance(library, Torch) else x.transpose(0, 3, 1, 2)
    params = [library.array(feeds[n]) for n in ("gamma", "beta", "tau")]
    check(library.numpy(frn_onnx.frn(x, *params, epsilon=EPSILON, axes=(2, 3))), feeds, (2, 3))


@pytest.mark.parametrize("kind", ["on the CPU", "lists", "read-only"])
def test_parameters(rng, library, kind):
    shape, axes = (2, 4, 5, 6), (1, 2)
    feeds = feeds_for(rng, shape, axes, DTYPES["float32"])
    given = [feeds[name].reshape(-1) for name in ("gamma", "beta", "tau")]
    if kind == "lists":
        given = [p.tolist() for p in given]
    else:
        given = [p.copy() for p in given]
        for array in given:
            array.flags.writeable = kind != "read-only"
    y = frn_onnx.frn(library.array(feeds["X"]), *given, epsilon=EPSILON, axes=axes)
    check(library.numpy(y), feeds, axes)


@pytest.mark.parametrize("channels", [(), (6,)], ids=["scalar", "by channel"])
@pytest.mark.parametrize("where", ["on the CPU", "on the device"])
@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
def test_epsilon(rng, library, channels, where, name):
    """Its absolute value is used, in float32 whatever x is."""
    shape, axes = (2, 4, 5, 6), (1, 2)
    feeds = feeds_for(rng, shape, axes, DTYPES[name])
    epsilon = np.full(channels, -EPSILON, np.float32)
    given = library.array(epsilon) if where == "on the device" else epsilon
    y = frn(library, feeds, axes, epsilon=given)
    check(library.numpy(y), feeds, axes)


def test_float64_is_refused(library):
    x = library.array(np.ones((1, 2, 2, 3)))
    with pytest.raises(DtypeError, match="must be float32, float16 or bfloat16, received float64"):
        frn_onnx.frn(x, np.ones(3), np.zeros(3))


def test_on_a_side_stream_of_torch(rng, torch):
    """x gets its values there, after a while: a launch anywhere else would read the old ones."""
    library, axes = Torch(), (2, 3)
    feeds = feeds_for(rng, (4, 16, 56, 56), axes, DTYPES["float32"])
    values, *params = (library.array(a) for a in feeds.values())
    x = torch.zeros_like(values)
    stream = torch.cuda.Stream()
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)  # cycles
        x.copy_(values)
        y = frn_onnx.frn(x, *params, epsilon=EPSILON, axes=axes)
        back = y.to("cpu", non_blocking=True)
    stream.synchronize()
    check(back.numpy(), feeds, axes)


@pytest.mark.parametrize("kind", ["its own", "null", "ptds"])
def test_on_a_stream_of_cupy(rng, kind):
    """One of its own, the default of all threads, or that of this thread."""
    cupy = pytest.importorskip("cupy")
    library, axes = CuPy(), (2, 3)
    feeds = feeds_for(rng, (4, 16, 56, 56), axes, DTYPES["float32"])
    values, *params = (library.array(a) for a in feeds.values())
    x = cupy.zeros_like(values)
    large = cupy.zeros((2, 1 << 29), np.uint8)
    cupy.cuda.Device().synchronize()
    own = kind == "its own"
    stream = cupy.cuda.Stream(non_blocking=True) if own else getattr(cupy.cuda.Stream, kind)
    with stream:
        for _ in range(50):  # half a gigabyte each
            large[0] = large[1]
        x[...] = values
        y = frn_onnx.frn(x, *params, epsilon=EPSILON, axes=axes)
        stream.synchronize()
        check(cupy.asnumpy(y), feeds, axes)


def test_managed_memory_of_cupy(rng):
    cupy = pytest.importorskip("cupy")
    library, axes = CuPy(), (1, 2)
    feeds = feeds_for(rng, (2, 9, 5, 16), axes, DTYPES["float32"])
    with cupy.cuda.using_allocator(cupy.cuda.malloc_managed):
        x, *params = (library.array(a) for a in feeds.values())
        y = frn_onnx.frn(x, *params, epsilon=EPSILON, axes=axes)
    assert x.__dlpack_device__()[0] == 13  # managed
    check(library.numpy(y), feeds, axes)


@pytest.mark.parametrize("name", HALVES_AND_FLOAT)
@pytest.mark.parametrize("axes", [(1, 2), (2, 3)])
def test_in_a_graph_of_torch(rng, torch, name, axes):
    """Captured once, replayed with other values in the same memory."""
    library = Torch()
    shape = (2, 40, 30, 16) if axes == (1, 2) else (2, 16, 40, 30)
    feeds = feeds_for(rng, shape, axes, DTYPES[name])
    x, *params = (library.array(a) for a in feeds.values())
    frn_onnx.warm_up()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = frn_onnx.frn(x, *params, epsilon=EPSILON, axes=axes)
    for _ in range(3):
        feeds["X"] = make_x(rng, shape, DTYPES[name])
        x.copy_(library.array(feeds["X"]))
        graph.replay()
        check(library.numpy(y), feeds, axes)


def test_in_a_graph_of_cupy(rng):
    cupy = pytest.importorskip("cupy")
    library, axes = CuPy(), (2, 3)
    feeds = feeds_for(rng, (2, 16, 40, 30), axes, DTYPES["float32"])
    x, *params = (library.array(a) for a in feeds.values())
    with cupy.cuda.Stream(non_blocking=True) as stream:
        frn_onnx.frn(x, *params, axes=axes)  # CuPy's memory pool warms up, too
        stream.begin_capture()
        y = frn_onnx.frn(x, *params, epsilon=EPSILON, axes=axes)
        graph = stream.end_capture()
        for _ in range(3):
            feeds["X"] = make_x(rng, feeds["X"].shape, np.float32)
            x[...] = library.array(feeds["X"])
            graph.launch(stream)
            stream.synchronize()
            check(cupy.asnumpy(y), feeds, axes)


def test_gradients_are_refused(rng, torch):
    """Where autograd would record the call, and nowhere else."""
    feeds = feeds_for(rng, (2, 3, 4, 5), (2, 3), DTYPES["float32"])
    x, gamma, beta, tau = (Torch().array(a) for a in feeds.values())
    options = {"epsilon": EPSILON, "axes": (2, 3)}
    gamma = torch.nn.Parameter(gamma)
    with pytest.raises(ArgumentError, match=r"no backward pass.*gamma with requires_grad"):
        frn_onnx.frn(x, gamma, beta, tau, **options)
    with pytest.raises(ArgumentError, match=r"\(x with requires_grad"):
        frn_onnx.frn(x.requires_grad_(), gamma.detach(), beta, tau, **options)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            y = frn_onnx.frn(x, gamma, beta, tau, **options)
        assert not y.requires_grad
        check(y.cpu().numpy(), feeds, (2, 3))


def test_on_the_last_gpu(rng, library, torch):
    """Which need not be the current one: y, stream and kernel are there, and the current stays."""
    last = torch.cuda.device_count() - 1
    feeds = feeds_for(rng, (2, 9, 5, 16), (1, 2), DTYPES["float32"])
    y = frn(library, feeds, (1, 2), device=last)
    assert y.__dlpack_device__() == (2, last)
    check(library.numpy(y), feeds, (1, 2))
    assert torch.cuda.current_device() == 0


def in_a_process(source: str) -> str:
    """What a program prints: for what only a new process shows, or what ends one."""
    head = """
        import numpy as np, torch, frn_onnx
        rng = np.random.default_rng(1)
        x = torch.from_numpy(rng.standard_normal((2, 16, 40, 30), np.float32)).to("cuda")
        gamma, beta, tau = (torch.from_numpy(p).to("cuda")
                            for p in rng.standard_normal((3, 16), np.float32))
    """
    program = textwrap.dedent(head) + textwrap.dedent(source)
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.usefixtures("torch")
def test_first_call_of_a_process_in_a_graph():
    """Nothing of the kernels is loaded before the capture."""
    printed = in_a_process("""
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = frn_onnx.frn(x, gamma, beta, tau, axes=(2, 3))
        graph.replay()
        torch.cuda.synchronize()
        print("equal", torch.equal(y, frn_onnx.frn(x, gamma, beta, tau, axes=(2, 3))))
    """)
    assert printed == "equal True\n"


@pytest.mark.usefixtures("torch")
def test_failure_of_other_code_is_not_told_as_ours():
    printed = in_a_process("""
        import os
        from frn_onnx.runtime import library
        y = torch.empty_like(x)
        frn_onnx.warm_up()
        try:
            torch.zeros(4, device="cuda")[torch.tensor([1000], device="cuda")]
            torch.cuda.synchronize()
        except RuntimeError:
            pass
        p = (gamma.data_ptr(), "float32")
        try:
            library.native().frn_cuda(
                x=x.data_ptr(), y=y.data_ptr(), shape=x.shape, dtype="float32", axes=(2, 3),
                gamma=p, beta=p, epsilon=1e-3, device=0, stream=0)
        except RuntimeError as error:
            print(error, flush=True)
        os._exit(0)  # what CUDA is left with may not survive its own end
    """)
    assert "an operation that was enqueued before it failed on the GPU" in printed
    assert "cudaErrorAssert" in printed
