"""Every kernel, in every variant, against float64, with the output poisoned; a rerun, bit by bit.

Variants of one tensor, without a residual and with one: the planner's choice; its candidates, with
and without clusters; each of those with nothing kept in shared memory; x and the residual
overwritten by y. Tolerances are those of the test suite (tests/tolerances.py).
"""

import itertools
import math
import sys
import zlib
from collections.abc import Iterator

import numpy as np
from context import Context, random_values
from harness import DTYPES, ROOT, Call, Harness, Param, Plan

sys.path.insert(0, str(ROOT / "tests"))

import tolerances

from frn_onnx import reference

EPSILON = 0.01
POISON = 0xFF  # NaN in every type
MOST_FAILURES = 20

# (batch, outer, channels, inner): around packs, warps and blocks; planes that need several
# blocks; more channels than a strip; channels in the middle.
SHAPES = [
    *((2, 1, 3, 1), (3, 1, 5, 7), (2, 1, 64, 49), (2, 1, 7, 196), (1, 1, 9, 1023)),
    *((2, 1, 3, 1025), (2, 1, 5, 3136), (1, 1, 3, 12544), (1, 1, 2, 65537), (1, 1, 2, 262144)),
    *((2, 7, 3, 1), (2, 49, 64, 1), (1, 196, 60, 1), (3, 50, 24, 1), (2, 3136, 33, 1)),
    *((1, 12544, 64, 1), (1, 65536, 16, 1), (2, 961, 130, 1), (2, 49, 2048, 1), (1, 20, 1, 30)),
    *((2, 5, 7, 3), (2, 40, 3, 129)),
]
# A kernel each: tile, plane, channels last in packs and one by one, strided.
TINY_SHAPES = [(2, 1, 3, 49), (1, 1, 2, 3136), (1, 196, 64, 1), (2, 49, 5, 1), (1, 5, 3, 7)]
DRY_SHAPES = [(2, 1, 3, 49), (1, 1, 2, 3000), (2, 50, 16, 1), (2, 9, 5, 1), (2, 3, 4, 5)]


# Elements off a 16-byte line, of x, of y, and of a residual, if there is to be one.
Offsets = tuple[int, int, int | None]
OFFSETS: list[Offsets] = [
    *((0, 0, None), (1, 1, None), (3, 0, None)),
    *((0, 0, 0), (0, 0, 1), (1, 1, 1)),
]


class Tensor:
    """An array on the CPU, and memory for it on the device, some elements off a 16-byte line."""

    def __init__(self, harness: Harness, values: np.ndarray, offset: int) -> None:
        self.values = values
        self._offset = offset * values.itemsize
        self._memory = harness.memory(values.nbytes + 16)
        self.address = self._memory.address + self._offset

    def upload(self) -> None:
        self._memory.upload(self.values, self._offset)

    def poison(self) -> None:
        self._memory.fill(POISON)

    def download(self) -> np.ndarray:
        return self._memory.download(self.values.shape, self.values.dtype, self._offset)


class Tensors:
    """One case: x, y and a residual, which may be None; ``read`` are those that are there of x and
    the residual."""

    def __init__(self, harness: Harness, shape, dtype: str, offsets: Offsets) -> None:
        rng = np.random.default_rng(zlib.crc32(repr((shape, dtype, offsets)).encode()))
        self.harness, self.shape, self.dtype = harness, shape, dtype
        count, channels = math.prod(shape), shape[2]
        x, y, residual = (
            None
            if offset is None
            else Tensor(harness, random_values(rng, count, dtype).reshape(shape), offset)
            for offset in offsets
        )
        self.x, self.y, self.residual = x, y, residual
        self.read = [x] if residual is None else [x, residual]
        self.params = (rng.standard_normal((3, channels)) + 0.5).astype(np.float32)
        self.device_params = harness.memory(self.params.nbytes)
        self.device_params.upload(self.params)
        gamma, beta, tau = self.params.reshape(3, 1, channels, 1)
        self.options = {
            "epsilon": EPSILON,
            "axes": (1, 3),
            "residual": None if residual is None else residual.values.astype(np.float64),
        }
        self.x64 = x.values.astype(np.float64)
        self.expected = reference.frn(self.x64, gamma[0], beta[0], tau[0], **self.options)

    @property
    def aligned(self) -> bool:
        return all(tensor.address % 16 == 0 for tensor in (self.y, *self.read))

    def overwritten(self) -> list[Tensor]:
        """Those that y may be written over with the same plan: of the same alignment."""
        return [other for other in self.read if (other.address - self.y.address) % 16 == 0]

    def call(self, y: Tensor) -> Call:
        start, step = self.device_params.address, 4 * self.shape[2]
        return Call(
            x=self.x.address,
            residual=None if self.residual is None else self.residual.address,
            y=y.address,
            shape=self.shape,
            dtype=self.dtype,
            gamma=Param(start),
            beta=Param(start + step),
            tau=Param(start + 2 * step),
            epsilon=EPSILON,
        )

    def run(self, plan: Plan | None, y: Tensor | None = None) -> np.ndarray:
        """y, from memory that held NaN before, or that of another of the tensors."""
        self.y.poison()
        for tensor in self.read:
            tensor.upload()
        target = y or self.y
        self.harness.run(self.call(target), plan)
        return target.download()

    def check(self, y: np.ndarray, plan: Plan | None) -> None:
        """Raises AssertionError with the worst element."""
        gamma, beta, tau = self.params.reshape(3, self.shape[2], 1)
        bound = tolerances.frn_bound(
            self.x64,
            *(gamma, beta, tau),
            **self.options,
            dtype=DTYPES[self.dtype],
            levels=chain_length(plan, self.shape),
        )
        tolerances.assert_within(y, self.expected, bound)


def chain_length(plan: Plan | None, shape) -> int:
    """The longest chain of additions behind one element; None: of any plan there is."""
    plane = shape[1] * shape[3]
    teams = 4
    if plan is not None:
        teams = plan.lanes or plan.cluster * plan.threads // max(1, plan.strip_columns)
    return plane // teams + 48  # 48: within packs, over lanes, warps and blocks


def variants(tensors: Tensors) -> Iterator[Plan | None]:
    """The planner's choice, and a spread of everything else it might have chosen."""
    yield None
    for clusters in (True, False):
        plans = tensors.harness.plans(
            tensors.shape,
            tensors.dtype,
            residual=tensors.residual is not None,
            aligned=tensors.aligned,
            clusters=clusters,
        )
        seen = {}
        for plan in plans:
            seen.setdefault((plan.kernel, plan.cluster, plan.strip_columns, plan.threads), plan)
        for plan in list(seen.values())[:: max(1, len(seen) // 8)]:
            yield plan
            if plan.stage > 0:
                yield plan.unstaged()


def run(context: Context) -> dict:
    harness = context.harness
    result = {"tensors": 0, "launches": 0, "elements": 0, "failures": [], "complete": True}
    kernels: dict[str, int] = {}
    for shape in DRY_SHAPES if context.dry_run else SHAPES:
        for dtype in DTYPES:
            for offsets in OFFSETS:
                if not context.in_time or len(result["failures"]) >= MOST_FAILURES:
                    return {**result, "kernels": kernels, "complete": False}
                tensors = Tensors(harness, shape, dtype, offsets)
                result["tensors"] += 1
                for plan in variants(tensors):
                    kernel = harness.kernel_name(plan) if plan else "planned"
                    kernel += "" if tensors.residual is None else ", residual"
                    kernels[kernel] = kernels.get(kernel, 0) + 1
                    result["launches"] += 1
                    result["elements"] += math.prod(shape)
                    if problem := wrong(tensors, plan):
                        where = f"{kernel} {dtype} {shape} offsets {offsets}"
                        cut = plan.to_dict() if plan else None
                        result["failures"].append({"case": where, "plan": cut, "what": problem})
    return {**result, "kernels": kernels}


def run_tiny(context: Context) -> dict:
    """Some 60 launches for the sanitizers: each kernel, in one block, many blocks and a cluster."""
    harness, launches, failures = context.harness, 0, []
    cases = itertools.product(TINY_SHAPES, ("float16", "float32"), (None, 0))
    for shape, dtype, residual in cases:
        tensors = Tensors(harness, shape, dtype, (0, 0, residual))
        plans = harness.plans(shape, dtype, residual=residual is not None)
        staged = [p.unstaged() for p in plans[:1] if p.stage > 0]
        clusters = [p for p in plans if p.cluster > 1]
        for plan in [plans[0], *staged, *clusters[:1], *clusters[-1:]]:
            if not context.in_time:
                return {"launches": launches, "failures": failures, "complete": False}
            launches += 1
            try:
                tensors.check(tensors.run(plan, tensors.residual), plan)
            except (AssertionError, RuntimeError) as error:
                case = f"{dtype} {shape}{'' if residual is None else ' with a residual'}"
                failures.append({"case": case, "what": str(error)})
    return {"launches": launches, "failures": failures}


def wrong(tensors: Tensors, plan: Plan | None) -> str:
    """What is wrong with one variant; "" for nothing."""
    try:
        y = tensors.run(plan)
        tensors.check(y, plan)
        if y.tobytes() != tensors.run(plan).tobytes():
            return "a second run gave other bits"
        for other in tensors.overwritten():
            if y.tobytes() != tensors.run(plan, other).tobytes():
                return f"in place of {'x' if other is tensors.x else 'residual'} gave other bits"
    except (AssertionError, RuntimeError) as error:
        return str(error)
    return ""
