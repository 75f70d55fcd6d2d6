"""Checks and measures the CUDA kernels on this machine's GPU, in stages.

    python benchmarks/gpu/run.py [--out FOLDER] [--call A|B|C] [--stages NAME ...] [--dry-run]

Each stage runs in a process of its own, has its own time budget, and writes FOLDER/NAME.json before
the next one begins: a crash, a hang or a lost machine costs one stage, and the same command again
runs what is missing or failed. The report comes last. Exits 1 if a stage failed, measured nothing
or lacked a tool. --dry-run does the same on a CPU, at toy sizes, with the kernels under the SIMT
emulator, and skips what only a GPU has; its numbers mean nothing.

Needs: nvcc, an NVIDIA GPU, the package, PyTorch, CuPy, pytest, onnxruntime-gpu, compute-sanitizer
and ncu. call.sh builds the package, and brings ONNX Runtime and the models of two stages.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import bandwidth  # noqa: E402
import correctness  # noqa: E402
import environment  # noqa: E402
import networks  # noqa: E402
import operators  # noqa: E402
import peers  # noqa: E402
import profiler  # noqa: E402
import report  # noqa: E402
import sanitizer  # noqa: E402
import sweep  # noqa: E402
import test_suite  # noqa: E402
from context import Context, SkipError  # noqa: E402

DEFAULT_OUT = HERE.parent / "results" / "gpu"
_GRACE_S = 30  # for what a stage is in the middle of when its time is up


@dataclass(frozen=True)
class Stage:
    """A stage, and the seconds it may take."""

    run: Callable[[Context], dict]
    budget_s: float


STAGES = {
    "environment": Stage(environment.run, 60),
    "correctness": Stage(correctness.run, 240),
    "sanitizer": Stage(sanitizer.run, 90),
    "tests": Stage(test_suite.run, 120),
    "wheel": Stage(test_suite.run_wheel, 120),
    "bandwidth": Stage(bandwidth.run, 60),
    "sweep": Stage(sweep.run, 240),
    "profiler": Stage(profiler.run, 40),
    "operators": Stage(operators.run, 60),
    "exported": Stage(networks.run_exported, 30),
    "unet": Stage(networks.run_unet, 100),
    "resnet50": Stage(networks.run_resnet50, 150),
    "peers": Stage(peers.run, 100),
}
# What one command does, where a command may take ten minutes.
CALLS = {
    "A": ("environment", "correctness", "tests", "wheel", "sanitizer"),
    "B": ("bandwidth", "sweep", "profiler"),
    "C": ("operators", "exported", "unet", "resnet50", "peers"),
}
# Not stages: what the tools of the stages sanitizer and profiler run.
_INNER = {
    "sanitized": Stage(correctness.run_tiny, 90),
    "profiled": Stage(profiler.run_launches, 60),
}


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Writes one stage's file whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.part"
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, folder / f"{name}.json")


def head(name: str, budget_s: float, arguments: argparse.Namespace) -> dict[str, Any]:
    """What every stage's file begins with."""
    return {
        "stage": name,
        "commit": environment.commit(),
        "dry_run": arguments.dry_run,
        "budget_s": budget_s,
    }


def run_here(name: str, stage: Stage, arguments: argparse.Namespace) -> None:
    """Runs a stage in this process and writes its file."""
    budget = arguments.budget or stage.budget_s
    begin = time.monotonic()
    context = Context(arguments.dry_run, begin + budget, arguments.build)
    content = head(name, budget, arguments)
    try:
        result = stage.run(context)
        content |= {"status": "ok", "result": result}
        if failures := result.get("failures"):
            first = f"{failures[0]['case']}: {failures[0]['what']}"
            content |= {"status": "failed", "reason": f"{len(failures)} failures; {first}"}
        elif result.get("rows") == [] or result.get("launches") == 0:
            content |= {"status": "failed", "reason": "nothing was measured"}
        elif not result.get("complete", True):
            content |= {"status": "unfinished", "reason": "its time was up"}
    except SkipError as skip:
        status = "skipped" if arguments.dry_run else "failed"
        content |= {"status": status, "reason": str(skip), "result": None}
    except Exception as error:
        content |= {"status": "failed", "reason": str(error), "result": None}
        content["traceback"] = traceback.format_exc()
    content["seconds"] = time.monotonic() - begin
    write(arguments.out, name, content)
    sys.exit(content["status"] == "failed")


def run_child(name: str, stage: Stage, arguments: argparse.Namespace) -> dict:
    """Runs a stage in a process of its own; what it wrote. A stage that dies gets its file here."""
    command = [sys.executable, __file__, "--child", name, "--out", str(arguments.out)]
    command += ["--build", str(arguments.build)] + ["--dry-run"] * arguments.dry_run
    path = arguments.out / f"{name}.json"
    path.unlink(missing_ok=True)
    begin = time.monotonic()
    try:
        done = subprocess.run(command, timeout=stage.budget_s + _GRACE_S)
        reason = f"the process ended with exit code {done.returncode}"
    except subprocess.TimeoutExpired:
        reason = f"no end after {stage.budget_s + _GRACE_S:.0f} s"
    if not path.exists():
        content = head(name, stage.budget_s, arguments)
        content |= {"status": "failed", "reason": reason, "result": None}
        write(arguments.out, name, {**content, "seconds": time.monotonic() - begin})
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="where the files go")
    parser.add_argument("--call", choices=CALLS, help="only the stages of one call")
    parser.add_argument("--stages", nargs="+", choices=STAGES, help="only these stages")
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at toy sizes")
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "gpu-bench")
    parser.add_argument("--child", choices=[*STAGES, *_INNER], help=argparse.SUPPRESS)
    parser.add_argument("--budget", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_here(arguments.child, {**STAGES, **_INNER}[arguments.child], arguments)
    failed = []
    chosen = arguments.stages or CALLS.get(arguments.call, STAGES)
    done = report.load(arguments.out)
    for name in chosen:
        before = done.get(name, {})
        finished = before.get("status") == "ok" and before.get("dry_run") == arguments.dry_run
        if finished and not arguments.stages:
            print(f"{name}: done before", flush=True)
            continue
        print(f"{name} ...", flush=True)
        stage = run_child(name, STAGES[name], arguments)
        print(f"{name}: {stage['status']}, {stage['seconds']:.0f} s", flush=True)
        if stage["status"] == "failed":
            print(stage["reason"], flush=True)
            failed.append(name)
    print("\n" + report.render(report.load(arguments.out)))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
