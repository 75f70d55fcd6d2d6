"""The planner's constants, fitted to sweeps: what they should be, and what that is worth.

    python benchmarks/gpu/fit.py FOLDER ...     # each with environment.json and sweep.json

Compiles custom_ops/cuda/planner.cc with its constants as variables, and moves each up and down as
long as the plans that it then takes are faster in the sweeps, or its estimates closer to what was
measured. Prints the constants and, for each folder, the time of the plans taken over that of the
fastest ones (geometric mean) before and after; it changes no file.
"""

import argparse
import ctypes
import json
import math
import os
import re
import statistics
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from context import Problem
from harness import CUSTOM_OPS, ELEMENT_TYPES, Device

_CONSTANT = re.compile(r"constexpr double (k\w+) = ([\d.e+-]+);")
_STEPS = (0.7, 0.9, 0.97, 1.03, 1.1, 1.4)
_LEAST_GAIN = 1e-5
# How much the distance of the estimates counts beside the plans that they lead to.
_CLOSENESS = 0.1
_MOST_PLANS = 4096
_KEY = (
    "kernel",
    "blocks",
    "threads",
    "smem_bytes",
    "cluster",
    "stage",
    "tile_planes",
    "strip_columns",
)

_ESTIMATES = r"""
#include "cuda/call.h"
namespace frn::cuda {
namespace { double* const constants[] = {@constants@}; }
extern "C" void set_constant(int i, double value) { *constants[i] = value; }
extern "C" const char* kernel_name(int i) { return KernelName(static_cast<Kernel>(i)); }
extern "C" int estimates(const int64_t* s, int type, bool residual, const int64_t* d,
                         int64_t (*keys)[8], double* microseconds, int most) {
  const DeviceProfile device{static_cast<int>(d[0]), static_cast<int>(d[1]), static_cast<int>(d[2]),
                             d[3], d[4], d[5], d[6], static_cast<int>(d[7])};
  int count = 0;
  for (const Candidate& c : Candidates(
           {{s[0], s[1], s[2], s[3]}, static_cast<ElementType>(type), true, residual}, device)) {
    if (count == most) return -1;
    const Plan& p = c.plan;
    const int64_t key[] = {static_cast<int64_t>(p.kernel), p.blocks, p.threads, p.smem_bytes,
                           p.cut.cluster, p.cut.stage, p.cut.tile_planes, p.cut.strip_columns};
    for (int k = 0; k < 8; ++k) keys[count][k] = key[k];
    microseconds[count++] = c.estimate;
  }
  return count;
}
}
"""


class Planner:
    """planner.cc, with constants that can be set."""

    def __init__(self, folder: Path) -> None:
        source = (CUSTOM_OPS / "cuda" / "planner.cc").read_text()
        self.constants = {name: float(value) for name, value in _CONSTANT.findall(source)}
        variables = _CONSTANT.sub(r"double \1 = \2;", source)
        names = ", ".join(f"&{name}" for name in self.constants)
        (folder / "planner.cc").write_text(variables + _ESTIMATES.replace("@constants@", names))
        library = folder / "planner.so"
        sources = [
            folder / "planner.cc",
            CUSTOM_OPS / "cuda" / "plan.cc",
            CUSTOM_OPS / "frn_shape.cc",
        ]
        compiler = [os.environ.get("CXX", "g++"), "-std=c++17", "-O2", "-fPIC", "-shared"]
        subprocess.run(
            [*compiler, f"-I{CUSTOM_OPS}", "-o", str(library), *map(str, sources)], check=True
        )
        self._library = ctypes.CDLL(str(library))
        self._library.kernel_name.restype = ctypes.c_char_p
        self._keys = (ctypes.c_int64 * 8 * _MOST_PLANS)()
        self._microseconds = (ctypes.c_double * _MOST_PLANS)()

    def set(self, constants: dict[str, float]) -> None:
        for i, value in enumerate(constants.values()):
            self._library.set_constant(i, ctypes.c_double(value))

    def estimates(self, problem: Problem, device: list[int]) -> dict[tuple, float]:
        """Microseconds of each plan, by the numbers of _KEY."""
        count = self._library.estimates(
            (ctypes.c_int64 * 4)(*problem.shape),
            ELEMENT_TYPES[problem.dtype],
            ctypes.c_bool(problem.residual),
            (ctypes.c_int64 * 8)(*device),
            self._keys,
            self._microseconds,
            _MOST_PLANS,
        )
        assert count >= 0
        return {tuple(self._keys[i]): self._microseconds[i] for i in range(count)}

    def kernels(self) -> dict[str, int]:
        return {self._library.kernel_name(i).decode(): i for i in range(6)}


@dataclass(frozen=True)
class Tensor:
    """One tensor of a sweep: the microseconds of its plans, by the numbers of _KEY."""

    problem: Problem
    device: list[int]
    measured: dict[tuple, float]


def read(folder: Path, kernels: dict[str, int]) -> list[Tensor]:
    """The sweep of a folder of results."""
    environment, sweep = (
        json.loads((folder / f"{name}.json").read_text())["result"]
        for name in ("environment", "sweep")
    )
    device = [environment["device"][name] for name, _ in Device._fields_[1:]]
    tensors = []
    for row in sweep["rows"]:
        columns = row["columns"].split()
        measured = {}
        for line in row["plans"]:
            plan = dict(zip(columns, line.split(), strict=True))
            key = (kernels[plan["kernel"]], *(int(plan[name]) for name in _KEY[1:]))
            measured[key] = float(plan["us"])
        names = ("batch", "channels", "side", "layout", "dtype")
        problem = Problem(*(row[name] for name in names), row.get("residual", False))
        tensors.append(Tensor(problem, device, measured))
    return tensors


def judge(planner: Planner, tensors: list[Tensor]) -> tuple[float, float]:
    """Of the plans that were measured: log of the taken one's time over the fastest one's, and
    distance of the estimates, both as means."""
    regrets, distances = [], []
    for tensor in tensors:
        estimates = planner.estimates(tensor.problem, tensor.device)
        both = [(estimates[key], us) for key, us in tensor.measured.items() if key in estimates]
        if not both:  # of an older planner, which cut in other ways
            continue
        regrets.append(math.log(min(both)[1] / min(us for _, us in both)))
        distances.append(statistics.fmean(abs(math.log(guess / us)) for guess, us in both))
    return statistics.fmean(regrets), statistics.fmean(distances)


def fit(planner: Planner, tensors: list[Tensor]) -> dict[str, float]:
    """Constants under which no step of one of them is a gain."""

    def cost(constants: dict[str, float]) -> float:
        planner.set(constants)
        regret, distance = judge(planner, tensors)
        return regret + _CLOSENESS * distance

    constants = dict(planner.constants)
    best, gained = cost(constants), True
    while gained:
        gained = False
        for name in constants:
            for step in _STEPS:
                moved = {**constants, name: constants[name] * step}
                if (found := cost(moved)) < best - _LEAST_GAIN:
                    constants, best, gained = moved, found, True
    return constants


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        planner = Planner(Path(temporary))
        sweeps = {folder: read(folder, planner.kernels()) for folder in arguments.folders}
        before = {folder: judge(planner, tensors) for folder, tensors in sweeps.items()}
        constants = fit(planner, [tensor for tensors in sweeps.values() for tensor in tensors])
        planner.set(constants)
        for name, value in constants.items():
            print(f"{name:18} {planner.constants[name]:10.4g} {value:10.4g}")
        for folder, tensors in sweeps.items():
            was, now = (math.exp(regret) for regret, _ in (before[folder], judge(planner, tensors)))
            print(f"{folder}: {was:.3f} of the fastest plan's time, then {now:.3f}")


if __name__ == "__main__":
    main()
