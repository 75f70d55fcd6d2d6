"""FRN on the CPU: the plugin beside the primitive graph, a plain copy, and other runtimes.

    python benchmarks/bench_op.py [--threads 2] [--seconds 0.3] [--dtypes float32 ...]
                                  [--only TEXT] [--no-peers]

For each shape, layout and element type, every call is verified against float64 and then timed
(see harness.py):

* ``kernel`` and ``copy``: the kernel on arrays, and a memcpy of the same array, on the same
  threads. Their ratio says how far FRN is from doing nothing but moving the data. ``kernel, 1
  thread`` and ``copy, 1 thread`` are the same on one.
* ``in place``: the kernel with its input as output, which is what ONNX Runtime does inside of a
  network.
* ``NaN``: the kernel on input that is NaN throughout, at one shape.
* ``plugin`` and ``primitives``: ONNX Runtime sessions with I/O binding, of a model of one FRN
  node and of the same formula in standard ops, in their cheapest order; ``half parameters``: the
  former with gamma, beta and tau in the type of a float16 or bfloat16 input.
* the peers of peers.py that are installed.

Writes benchmarks/results/op.json; report.py makes the tables of it.
"""

import argparse
import dataclasses
import math
from collections.abc import Callable, Sequence

import harness
import numpy as np
import onnx
import onnxruntime as ort
import peers
import tolerances
from onnx import TensorProto, helper, numpy_helper

import frn_onnx
from frn_onnx import _native, op, op_body, reference

# (N, C, spatial...): the norms of ResNet-50, of a U-Net, of small and of huge feature maps; small
# ones in a tensor that is larger than the caches; few channels.
SHAPES = [
    (1, 32, 112, 112),
    (8, 32, 112, 112),
    (8, 64, 56, 56),
    (1, 64, 56, 56),
    (8, 256, 56, 56),
    (8, 512, 7, 7),
    (1, 512, 7, 7),
    (128, 512, 7, 7),
    (256, 5, 12, 12),
    (1, 2048, 7, 7),
    (1, 1024, 14, 14),
    (8, 64, 224, 224),
    (1, 3, 512, 512),
    (32, 16, 32, 32),
    (64, 1280, 1, 1),
    (8, 64, 1000),
    (2, 32, 16, 32, 32),
]
NAN_SHAPE = (8, 64, 56, 56)
DTYPES = ("float32", "float16", "bfloat16", "float64")
EPSILON = 2.0**-10  # the same number in float32 and float64


@dataclasses.dataclass
class Case:
    """One row: arrays as all runtimes get them, 64-byte aligned as ONNX Runtime's are."""

    shape: tuple[int, ...]  # of x, in its layout
    layout: str  # "NCHW": channels first, "NHWC": last, whatever the rank
    dtype: str
    x: np.ndarray
    params: tuple[np.ndarray, np.ndarray, np.ndarray]  # gamma, beta, tau; (C,)
    epsilon: float = EPSILON

    @property
    def axes(self) -> tuple[int, ...]:
        rank = len(self.shape)
        return tuple(range(2, rank)) if self.layout == "NCHW" else tuple(range(1, rank - 1))

    def spatial(self) -> tuple[int, ...]:
        return tuple(self.shape[axis] for axis in self.axes)

    def shaped_params(self) -> list[np.ndarray]:
        shape = op.param_shape(self.axes, self.params[0].size)
        return [p.reshape(shape) for p in self.params]


def numpy_dtype(name: str) -> np.dtype:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def aligned(array: np.ndarray) -> np.ndarray:
    raw = np.zeros(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    view = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


def make_case(shape: Sequence[int], layout: str, dtype: str) -> Case:
    n, c, *spatial = shape
    shape = (n, c, *spatial) if layout == "NCHW" else (n, *spatial, c)
    rng = np.random.default_rng(20191120)
    x = rng.standard_normal(shape, dtype=np.float32) - np.float32(0.3)
    param_dtype = np.float64 if dtype == "float64" else np.float32
    gamma, beta, tau = rng.standard_normal((3, c)).astype(param_dtype)
    return Case(shape, layout, dtype, aligned(x.astype(numpy_dtype(dtype))), (gamma, beta, tau))


def make_model(case: Case, *, primitives: bool) -> onnx.ModelProto:
    """A model of one FRN node, or of the formula in standard ops, with constant parameters."""
    element = helper.np_dtype_to_tensor_dtype(case.x.dtype)
    param_type = helper.np_dtype_to_tensor_dtype(case.params[0].dtype)
    names = ["X", "gamma", "beta", "tau"]
    imports = [helper.make_opsetid("", 18)]
    if primitives:
        nodes = op_body.body(
            names,
            "Y",
            opset=18,
            x_types={element},
            param_types={param_type},
            axes=case.axes,
            epsilon=case.epsilon,
        )
    else:
        nodes = [op.node(names, "Y", axes=case.axes, epsilon=case.epsilon)]
        imports.append(helper.make_opsetid(op.DOMAIN, op.VERSION))
    graph = helper.make_graph(
        nodes,
        "frn",
        [helper.make_tensor_value_info("X", element, case.shape)],
        [helper.make_tensor_value_info("Y", element, case.shape)],
        [
            numpy_helper.from_array(value, name)
            for name, value in zip(names[1:], case.shaped_params(), strict=True)
        ],
    )
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def with_half_params(case: Case) -> Case:
    """The same case with gamma, beta and tau in the type of x."""
    gamma, beta, tau = (p.astype(case.x.dtype) for p in case.params)
    return dataclasses.replace(case, params=(gamma, beta, tau))


def ort_value(array: np.ndarray) -> ort.OrtValue:
    """Shares the array's memory."""
    if array.dtype.name == "bfloat16":
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), TensorProto.BFLOAT16
        )
    return ort.OrtValue.ortvalue_from_numpy(array)


def session_call(
    case: Case, y: np.ndarray, threads: int, *, plugin: bool
) -> Callable[[], np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    if plugin:
        frn_onnx.register(options)
    model = make_model(case, primitives=not plugin)
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    binding = session.io_binding()
    binding.bind_ortvalue_input("X", ort_value(case.x))
    binding.bind_ortvalue_output("Y", ort_value(y))

    def call():
        session.run_with_iobinding(binding)
        return y

    return call


def kernel_call(case: Case, x: np.ndarray, y: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    return lambda: _native.frn(
        x, *case.params, epsilon=case.epsilon, axes=case.axes, out=y, threads=threads
    )


def calls_of(case: Case, threads: int, peer_makers) -> dict[str, Callable[[], np.ndarray]]:
    """The calls whose results are those of FRN of x, each with an output of its own."""

    def output() -> np.ndarray:
        return aligned(np.zeros_like(case.x))

    calls = {
        "kernel": kernel_call(case, case.x, output(), threads),
        "kernel, 1 thread": kernel_call(case, case.x, output(), 1),
        "plugin": session_call(case, output(), threads, plugin=True),
    }
    if case.dtype in ("float16", "bfloat16"):
        half = with_half_params(case)
        calls["half parameters"] = session_call(half, output(), threads, plugin=True)
    if case.dtype == "float32":
        calls["primitives"] = session_call(case, output(), threads, plugin=False)
        for name, make in peer_makers.items():
            calls[name] = make(case, make_model(case, primitives=True), threads)
    return calls


def other_calls(case: Case, threads: int) -> dict[str, Callable[[], object]]:
    """The calls that have no result of their own, or one that each call makes another of."""
    copied, changed = aligned(np.zeros_like(case.x)), aligned(case.x)
    calls: dict[str, Callable[[], object]] = {
        "in place": kernel_call(case, changed, changed, threads),
        "copy": lambda: _native.copy(case.x, copied, threads=threads),
        "copy, 1 thread": lambda: _native.copy(case.x, copied, threads=1),
    }
    if (case.shape[0], case.params[0].size, *case.spatial()) == NAN_SHAPE:
        nan = aligned(np.full_like(case.x, np.nan))
        calls["NaN"] = kernel_call(case, nan, aligned(np.zeros_like(nan)), threads)
    return calls


def verify(case: Case, name: str, y: np.ndarray) -> None:
    """Compares the first sample, which does not depend on the others, with float64."""
    if name == "half parameters":
        case = with_half_params(case)
    x = case.x[:1]
    arguments = {"epsilon": float(np.float32(case.epsilon)), "axes": case.axes}
    expected = reference.frn(x, *case.params, **arguments)
    # What is not ours may add a plane up in one chain; it is timed all the same.
    plane = math.prod(x.shape[axis] for axis in case.axes)
    ours = name.startswith("kernel") or name in ("in place", "plugin", "half parameters")
    levels = None if ours else plane
    bound = tolerances.frn_bound(x, *case.params, **arguments, dtype=x.dtype, levels=levels)
    try:
        tolerances.assert_within(np.asarray(y)[:1], expected, bound)
    except AssertionError as error:
        raise SystemExit(f"{name} is wrong for {case.shape} {case.layout}: {error}") from None


def run_case(case: Case, threads: int, seconds: float, peer_makers) -> dict:
    calls = calls_of(case, threads, peer_makers)
    for name, call in calls.items():
        verify(case, name, call())
    others = other_calls(case, threads)
    verify(case, "in place", others["in place"]())  # the first call, of x itself
    calls |= others
    return {
        "shape": case.shape,
        "layout": case.layout,
        "dtype": case.dtype,
        "bytes": case.x.nbytes,
        "times": harness.time_in_turns(calls, seconds=seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each call of each row")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--output", type=harness.Path, default=harness.RESULTS / "op.json")
    args = parser.parse_args()
    peer_makers = {} if args.no_peers else peers.available()

    rows = []
    results = {
        "machine": harness.machine(),
        "threads": args.threads,
        "peers": peers.versions(peer_makers),
        "rows": rows,
    }
    for dtype in args.dtypes:
        for shape in SHAPES:
            for layout in ("NCHW", "NHWC"):
                name = f"{dtype} {layout} {'x'.join(map(str, shape))}"
                if args.only not in name:
                    continue
                row = run_case(
                    make_case(shape, layout, dtype), args.threads, args.seconds, peer_makers
                )
                row["name"] = "x".join(map(str, shape))
                rows.append(row)
                times = ", ".join(f"{k} {v['median_us']:.0f}" for k, v in row["times"].items())
                print(f"{name}: {times} µs", flush=True)
    harness.write_json(args.output, results)


if __name__ == "__main__":
    main()
