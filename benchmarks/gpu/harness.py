"""The kernels as the benchmarks call them: builds harness.cc, and calls it through ctypes.

``Harness(dry_run=True)`` is the same code on the CPU, with the kernels under the SIMT emulator.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CUSTOM_OPS = ROOT / "custom_ops"

DTYPES = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
ELEMENT_TYPES = {name: number for number, name in enumerate(DTYPES)}
_MOST_PLANS = 1024

_SOURCES = [
    *("frn_shape.cc", "cuda/call.cc", "cuda/plan.cc", "cuda/planner.cc", "cuda/launch.cc"),
    "cuda/kernels.cu",
]
_EMULATOR = ["tests/simt/simt.cc", "tests/simt/fake_cudart.cc"]


class Plan(ctypes.Structure):
    """PlanRecord of harness.cc: how a launch is cut, and what the planner thinks of it."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                *("kernel", "blocks", "threads", "smem_bytes", "cluster", "stage"),
                *("stage_offset", "tile_planes", "lanes", "strip_columns", "strips"),
            )
        ),
        ("passes", ctypes.c_double),
        ("estimate", ctypes.c_double),
    ]

    def to_dict(self) -> dict[str, float]:
        return {name: getattr(self, name) for name, _ in self._fields_}

    def unstaged(self) -> "Plan":
        """The same plan, with nothing kept in shared memory: x is read twice."""
        plan = Plan.from_buffer_copy(self)
        plan.stage, plan.smem_bytes = 0, self.stage_offset
        return plan


class Device(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_char * 256),
        *(
            (name, ctypes.c_int64)
            for name in (
                *("sms", "threads_per_sm", "blocks_per_sm", "smem_per_sm", "smem_per_block"),
                *("l2_bytes", "gb_per_second", "largest_cluster"),
            )
        ),
    ]


class _Call(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("x", "residual", "y")),
        *((name, ctypes.c_void_p) for name in ("gamma", "beta", "tau", "epsilons")),
        *((name, ctypes.c_int64) for name in ("gamma_is_float", "beta_is_float", "tau_is_float")),
        ("epsilon", ctypes.c_double),
        ("shape", ctypes.c_int64 * 4),
        ("type", ctypes.c_int64),
    ]


class Memory:
    """Memory of the device, freed with the object."""

    def __init__(self, harness: "Harness", size: int) -> None:
        self._harness = harness
        address = ctypes.c_void_p()
        harness.check("bench_alloc", ctypes.c_int64(size), ctypes.byref(address))
        self.address: int = address.value or 0
        self.size = size

    def __del__(self) -> None:
        if getattr(self, "address", 0):
            self._harness.check("bench_free", ctypes.c_void_p(self.address))

    def upload(self, array: np.ndarray, offset: int = 0) -> None:
        array = np.ascontiguousarray(array)
        assert offset + array.nbytes <= self.size
        self._harness.check(
            "bench_upload",
            ctypes.c_void_p(self.address + offset),
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_int64(array.nbytes),
        )

    def download(self, shape: Sequence[int], dtype: np.dtype, offset: int = 0) -> np.ndarray:
        array = np.empty(shape, dtype)
        assert offset + array.nbytes <= self.size
        self._harness.check(
            "bench_download",
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_void_p(self.address + offset),
            ctypes.c_int64(array.nbytes),
        )
        return array

    def fill(self, byte: int) -> None:
        self._harness.check(
            "bench_fill", ctypes.c_void_p(self.address), byte, ctypes.c_int64(self.size)
        )


@dataclass(frozen=True)
class Param:
    """gamma, beta or tau on the device."""

    address: int
    is_float: bool = True


@dataclass(frozen=True)
class Call:
    """One call of the kernels, by addresses on the device.

    Attributes:
        shape: (batch, outer, channels, inner): NCHW is (N, 1, C, H*W), NHWC is (N, H*W, C, 1).
        dtype: of x, residual and y, a key of DTYPES.
        residual: what is added; None: nothing.
        epsilons: address of one float per channel; None: epsilon.
    """

    x: int
    y: int
    shape: tuple[int, int, int, int]
    dtype: str
    gamma: Param
    beta: Param
    tau: Param | None = None
    residual: int | None = None
    epsilon: float = 1e-6
    epsilons: int | None = None

    def record(self) -> _Call:
        tau = self.tau or Param(0)
        return _Call(
            *(self.x, self.residual, self.y, self.gamma.address, self.beta.address, tau.address),
            *(self.epsilons, self.gamma.is_float, self.beta.is_float, tau.is_float),
            *(self.epsilon, (ctypes.c_int64 * 4)(*self.shape), ELEMENT_TYPES[self.dtype]),
        )


class Harness:
    """The built harness. ``check`` raises RuntimeError with the library's own message."""

    def __init__(self, folder: Path, *, dry_run: bool) -> None:
        self._library = ctypes.CDLL(str(build(folder, dry_run=dry_run)))
        self._library.bench_error.restype = ctypes.c_char_p
        self._library.bench_kernel_name.restype = ctypes.c_char_p

    def check(self, function: str, *arguments: object) -> None:
        call = getattr(self._library, function)
        call.restype = ctypes.c_bool
        if not call(*arguments):
            raise RuntimeError(self._library.bench_error().decode())

    def kernel_name(self, plan: Plan) -> str:
        return self._library.bench_kernel_name(ctypes.c_int64(plan.kernel)).decode()

    def device(self) -> dict[str, object]:
        """What the planner knows of the device, and its name."""
        record = Device()
        self.check("bench_device", ctypes.byref(record))
        found = {name: getattr(record, name) for name, _ in record._fields_}
        return {**found, "name": record.name.decode()}

    def plans(
        self,
        shape: Sequence[int],
        dtype: str,
        *,
        residual: bool,
        aligned: bool = True,
        clusters: bool = True,
    ) -> list[Plan]:
        """The planner's candidates, the best first."""
        plans = (Plan * _MOST_PLANS)()
        count = ctypes.c_int64(_MOST_PLANS)
        self.check(
            "bench_plans",
            (ctypes.c_int64 * 4)(*shape),
            ctypes.c_int64(ELEMENT_TYPES[dtype]),
            ctypes.c_bool(aligned),
            ctypes.c_bool(residual),
            ctypes.c_bool(clusters),
            plans,
            ctypes.byref(count),
        )
        return list(plans[: min(count.value, _MOST_PLANS)])

    def run(self, call: Call, plan: Plan | None = None) -> None:
        """One call to its end; None: the planner's own choice."""
        self.check("bench_run", ctypes.byref(call.record()), _reference(plan))

    def time(self, calls: Sequence[Call], plan: Plan | None = None, *, replays: int) -> list[float]:
        """Milliseconds per call, once for each replay of a CUDA graph of all calls."""
        records, times = _records(calls), (ctypes.c_float * replays)()
        count = ctypes.c_int64(len(calls))
        self.check("bench_time", records, count, _reference(plan), ctypes.c_int64(replays), times)
        return [elapsed / len(calls) for elapsed in times]

    def time_copy(
        self, calls: Sequence[Call], size: int, *, by_kernel: bool, replays: int
    ) -> list[float]:
        """The same for copies of ``size`` bytes from x to y, by a kernel or by the driver.

        The kernel reads the residual, too, where there is one.
        """
        records, times = _records(calls), (ctypes.c_float * replays)()
        numbers = (ctypes.c_int64(len(calls)), ctypes.c_int64(size))
        how = (ctypes.c_bool(by_kernel), ctypes.c_int64(replays))
        self.check("bench_time_copy", records, *numbers, *how, times)
        return [elapsed / len(calls) for elapsed in times]

    def memory(self, size: int) -> Memory:
        return Memory(self, max(1, size))


def _records(calls: Sequence[Call]) -> ctypes.Array:
    return (_Call * len(calls))(*(call.record() for call in calls))


def _reference(plan: Plan | None):
    return None if plan is None else ctypes.byref(plan)


def build(folder: Path, *, dry_run: bool) -> Path:
    """Compiles the harness where it is older than its sources; its path.

    Raises:
        RuntimeError: there is no compiler, or it failed; with what it said.
    """
    library = folder / f"libfrn_gpu_bench{'_simt' if dry_run else ''}.so"
    folder.mkdir(parents=True, exist_ok=True)
    sources = [CUSTOM_OPS / name for name in _SOURCES] + [HERE / "harness.cc"]
    options = ["-std=c++17", f"-I{CUSTOM_OPS}", f"-I{HERE}", "-shared", "-o", str(library)]
    if dry_run:
        compiler = os.environ.get("CXX", "g++")
        options += ["-O2", "-fPIC", "-w", "-DFRN_SIMT", "-pthread"]
        options += [f"-I{CUSTOM_OPS / 'tests' / 'simt' / 'fake'}", "-xc++"]
        sources += [CUSTOM_OPS / name for name in _EMULATOR] + [HERE / "gpu_simt.cc"]
    else:
        compiler = os.environ.get("CUDACXX", "nvcc")
        options += ["-O3", "-arch=native", "-Xcompiler=-fPIC", "--cudart=static"]
        sources += [HERE / "gpu_cuda.cu"]
    watched = [*sources, *CUSTOM_OPS.rglob("*.h"), *CUSTOM_OPS.rglob("*.cuh")]
    newest = max(path.stat().st_mtime for path in watched)
    if library.exists() and library.stat().st_mtime > newest:
        return library
    if shutil.which(compiler) is None:
        raise RuntimeError(f"{compiler} was not found; put it on PATH, or name it in CUDACXX")
    command = [compiler, *options, *map(str, sources)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr[-4000:]}")
    return library
