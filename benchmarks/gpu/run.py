"""Checks and measures the CUDA kernels on this machine's GPU, in stages.

    python benchmarks/gpu/run.py [--out FOLDER] [--stages NAME ...] [--dry-run]

Each stage runs in a process of its own, has its own time budget, and writes FOLDER/NAME.json before
the next one begins: a crash, a hang or a lost machine costs one stage. The report comes last.
Exits 1 if a stage failed. --dry-run does the same on a CPU, at toy sizes, with the kernels under
the SIMT emulator; its numbers mean nothing.

Needs: nvcc, an NVIDIA GPU, and the package with its reference (pip install .). PyTorch,
compute-sanitizer and onnxruntime-gpu are used where they are there.
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
import peers  # noqa: E402
import report  # noqa: E402
import sanitizer  # noqa: E402
import sessions  # noqa: E402
import sweep  # noqa: E402
from context import Context, SkipError  # noqa: E402

DEFAULT_OUT = HERE.parent / "results" / "gpu"
_GRACE_S = 30  # for what a stage is in the middle of when its time is up


@dataclass(frozen=True)
class Stage:
    """A stage and the seconds it may take; together under half an hour."""

    run: Callable[[Context], dict]
    budget_s: float


STAGES = {
    "environment": Stage(environment.run, 120),
    "correctness": Stage(correctness.run, 240),
    "sanitizer": Stage(sanitizer.run, 180),
    "bandwidth": Stage(bandwidth.run, 360),
    "sweep": Stage(sweep.run, 240),
    "peers": Stage(peers.run, 180),
    "operators": Stage(sessions.run_operators, 90),
    "resnet50": Stage(sessions.run_resnet50, 360),
}
# Not a stage: what the sanitizer stage runs under its tools.
_INNER = {"sanitized": Stage(correctness.run, 60)}


def write(folder: Path, name: str, content: dict[str, Any]) -> None:
    """Writes one stage's file whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{name}.part"
    part.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(part, folder / f"{name}.json")


def run_here(name: str, stage: Stage, arguments: argparse.Namespace) -> None:
    """Runs a stage in this process and writes its file."""
    budget = arguments.budget or stage.budget_s
    begin = time.monotonic()
    context = Context(arguments.dry_run, begin + budget, arguments.build)
    content: dict[str, Any] = {"stage": name, "dry_run": arguments.dry_run, "budget_s": budget}
    try:
        result = stage.run(context)
        content |= {"status": "ok", "result": result}
        if failures := result.get("failures"):
            first = f"{failures[0]['case']}: {failures[0]['what']}"
            content |= {"status": "failed", "reason": f"{len(failures)} failures; {first}"}
    except SkipError as skip:
        content |= {"status": "skipped", "reason": str(skip), "result": None}
    except Exception as error:
        content |= {"status": "failed", "reason": str(error), "result": None}
        content["traceback"] = traceback.format_exc()
    content["seconds"] = time.monotonic() - begin
    write(arguments.out, name, content)
    sys.exit(content["status"] == "failed")


def run_child(name: str, stage: Stage, arguments: argparse.Namespace) -> str:
    """Runs a stage in a process of its own; its status. A stage that dies gets its file here."""
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
        seconds = time.monotonic() - begin
        content = {"stage": name, "status": "failed", "reason": reason, "result": None}
        write(arguments.out, name, {**content, "seconds": seconds, "budget_s": stage.budget_s})
    return json.loads(path.read_text())["status"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="where the files go")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, at toy sizes")
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "gpu-bench")
    parser.add_argument("--child", choices=[*STAGES, *_INNER], help=argparse.SUPPRESS)
    parser.add_argument("--budget", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_here(arguments.child, {**STAGES, **_INNER}[arguments.child], arguments)
    failed = []
    for name in arguments.stages:
        print(f"{name} ...", flush=True)
        status = run_child(name, STAGES[name], arguments)
        print(f"{name}: {status}", flush=True)
        if status == "failed":
            failed.append(name)
    print("\n" + report.render(report.load(arguments.out)))
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
