"""Every kernel, in every variant, against float64, with the output poisoned; a rerun, bit by bit.

Variants of one tensor: the planner's choice; its candidates, with and without clusters; each of
those with nothing kept in shared memory; x overwritten by y. Tolerances are those of the test
suite (tests/tolerances.py).
"""

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


class Tensors:
    """One case's values, on the CPU and on the device."""

    def __init__(self, harness: Harness, shape, dtype: str, offsets: tuple[int, int]) -> None:
        rng = np.random.default_rng(zlib.crc32(repr((shape, dtype, offsets)).encode()))
        self.harness, self.shape, self.dtype = harness, shape, dtype
        item = DTYPES[dtype].itemsize
        self.x_offset, self.y_offset = (offset * item for offset in offsets)
        count, channels = math.prod(shape), shape[2]
        self.x = random_values(rng, count, dtype).reshape(shape)
        self.params = (rng.standard_normal((3, channels)) + 0.5).astype(np.float32)
        self.device_x = harness.memory(count * item + 16)
        self.device_y = harness.memory(count * item + 16)
        self.device_params = harness.memory(self.params.nbytes)
        self.device_params.upload(self.params)
        gamma, beta, tau = self.params.reshape(3, 1, channels, 1)
        bound = {"epsilon": EPSILON, "axes": (1, 3)}
        x64 = self.x.astype(np.float64)
        self.expected = reference.frn(x64, gamma[0], beta[0], tau[0], **bound)

    def call(self, *, in_place: bool) -> Call:
        x = self.device_x.address + self.x_offset
        start, step = self.device_params.address, 4 * self.shape[2]
        return Call(
            x=x,
            y=x if in_place else self.device_y.address + self.y_offset,
            shape=self.shape,
            dtype=self.dtype,
            gamma=Param(start),
            beta=Param(start + step),
            tau=Param(start + 2 * step),
            epsilon=EPSILON,
        )

    def run(self, plan: Plan | None, *, in_place: bool) -> np.ndarray:
        """y, from memory that held NaN before."""
        self.device_x.upload(self.x, self.x_offset)
        self.device_y.fill(POISON)
        self.harness.run(self.call(in_place=in_place), plan)
        target, offset = (
            (self.device_x, self.x_offset) if in_place else (self.device_y, self.y_offset)
        )
        return target.download(self.shape, DTYPES[self.dtype], offset)

    def check(self, y: np.ndarray, plan: Plan | None) -> None:
        """Raises AssertionError with the worst element."""
        gamma, beta, tau = self.params.reshape(3, self.shape[2], 1)
        bound = tolerances.frn_bound(
            self.x.astype(np.float64),
            *(gamma, beta, tau),
            epsilon=EPSILON,
            axes=(1, 3),
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


def variants(harness: Harness, shape, dtype: str, *, aligned: bool) -> Iterator[Plan | None]:
    """The planner's choice, and a spread of everything else it might have chosen."""
    yield None
    for clusters in (True, False):
        plans = harness.plans(shape, dtype, aligned=aligned, clusters=clusters)
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
            for offsets in ((0, 0), (1, 1), (3, 0)):
                if not context.in_time or len(result["failures"]) >= MOST_FAILURES:
                    return {**result, "kernels": kernels, "complete": False}
                tensors = Tensors(harness, shape, dtype, offsets)
                result["tensors"] += 1
                aligned = offsets == (0, 0)
                for plan in variants(harness, shape, dtype, aligned=aligned):
                    kernel = harness.kernel_name(plan) if plan else "planned"
                    kernels[kernel] = kernels.get(kernel, 0) + 1
                    result["launches"] += 1
                    result["elements"] += math.prod(shape)
                    if problem := wrong(tensors, plan):
                        where = f"{kernel} {dtype} {shape} offsets {offsets}"
                        cut = plan.to_dict() if plan else None
                        result["failures"].append({"case": where, "plan": cut, "what": problem})
    return {**result, "kernels": kernels}


def run_tiny(context: Context) -> dict:
    """Some 30 launches for the sanitizers: each kernel, in one block, many blocks and a cluster."""
    harness, launches, failures = context.harness, 0, []
    for shape in TINY_SHAPES:
        for dtype in ("float16", "float32"):
            tensors = Tensors(harness, shape, dtype, (0, 0))
            plans = harness.plans(shape, dtype)
            staged = [p.unstaged() for p in plans[:1] if p.stage > 0]
            clusters = [p for p in plans if p.cluster > 1]
            for plan in [plans[0], *staged, *clusters[:1], *clusters[-1:]]:
                if not context.in_time:
                    return {"launches": launches, "failures": failures, "complete": False}
                launches += 1
                try:
                    tensors.check(tensors.run(plan, in_place=False), plan)
                except (AssertionError, RuntimeError) as error:
                    failures.append({"case": f"{dtype} {shape}", "what": str(error)})
    return {"launches": launches, "failures": failures}


def wrong(tensors: Tensors, plan: Plan | None) -> str:
    """What is wrong with one variant; "" for nothing."""
    try:
        y = tensors.run(plan, in_place=False)
        tensors.check(y, plan)
        if y.tobytes() != tensors.run(plan, in_place=False).tobytes():
            return "a second run gave other bits"
        alike = tensors.x_offset == tensors.y_offset
        if alike and y.tobytes() != tensors.run(plan, in_place=True).tobytes():
            return "in place gave other bits"
    except (AssertionError, RuntimeError) as error:
        return str(error)
    return ""
