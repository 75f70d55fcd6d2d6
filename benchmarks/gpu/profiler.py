"""Nsight Compute over one launch of each kernel: what it moves, and what it waits for.

DRAM bytes are the kernel's traffic: two passes over the tensor are what FRN needs, three with a
residual.
"""

import csv
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import tools
from bandwidth import pool_for
from context import Context, Problem

_METRICS = {
    "dram__bytes_read.sum": "read_bytes",
    "dram__bytes_write.sum": "written_bytes",
    "gpu__time_duration.sum": "ns",
    "smsp__inst_executed.sum": "warp_instructions",
    "smsp__inst_issued.avg.pct_of_peak_sustained_active": "issue_pct",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "warps_pct",
    "launch__registers_per_thread": "registers",
}
SHAPES = ((64, 112, False), (512, 28, False), (512, 28, True), (1024, 14, False), (2048, 7, False))
PROBLEMS = [
    Problem(64, channels, side, layout, dtype, residual)
    for dtype in ("float16", "float32")  # outermost: the pool is filled anew for each
    for channels, side, residual in SHAPES
    for layout in ("NCHW", "NHWC")
]


def run(context: Context) -> dict:
    program = tools.find(context, "ncu", dry_run="Nsight Compute needs a GPU")
    with TemporaryDirectory() as folder:
        command = [
            *(program, "--csv", "--page", "raw", "--clock-control", "none"),
            *("--cache-control", "none", "--metrics", ",".join(_METRICS)),
            *tools.inner_stage(context, "profiled", folder),
        ]
        left = context.deadline - time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=left)
        ran = Path(folder, "profiled.json").exists()
    lines = done.stdout.splitlines()
    header = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if done.returncode or header is None or not ran:
        raise RuntimeError(
            f"ncu failed with {done.returncode}: {(done.stdout + done.stderr)[-3000:]}"
        )
    units, *launches = csv.DictReader(lines[header:])
    if len(launches) != len(PROBLEMS):
        raise RuntimeError(f"ncu saw {len(launches)} launches, expected {len(PROBLEMS)}")
    rows = []
    for problem, launch in zip(PROBLEMS, launches, strict=True):
        row = {short: launch[name] for name, short in _METRICS.items()}
        rows.append({**problem.to_dict(), "kernel": launch["Kernel Name"], **row})
    return {"rows": rows, "units": {short: units[name] for name, short in _METRICS.items()}}


def run_launches(context: Context) -> dict:
    """One launch of each problem, nothing else."""
    pool = pool_for(context, PROBLEMS)
    for problem in PROBLEMS:
        context.harness.run(pool.calls(problem)[0])
    return {"launches": len(PROBLEMS)}
