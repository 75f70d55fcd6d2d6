"""compute-sanitizer over the tiny cases: memory, uninitialised reads, barriers, races."""

import json
import subprocess
import tempfile
import time
from pathlib import Path

import tools
from context import Context

_TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")


def run(context: Context) -> dict:
    reason = "the emulator checks the same things itself"
    program = tools.find(context, "compute-sanitizer", dry_run=reason)
    result: dict = {"failures": []}
    for i, tool in enumerate(_TOOLS):
        left = (context.deadline - time.monotonic()) / (len(_TOOLS) - i)
        result[tool] = checked = check(context, [program, "--tool", tool], left)
        if checked["problem"]:
            result["failures"].append({"case": tool, "what": checked["problem"]})
    return result


def check(context: Context, tool: list[str], seconds: float) -> dict:
    """The tiny cases under one tool; ``problem`` is "" if all of them ran and nothing was found."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            *(*tool, "--error-exitcode", "9", "--print-limit", "5"),
            *(*tools.inner_stage(context, "sanitized", folder), "--budget", str(seconds)),
        ]
        begin = time.monotonic()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 10)
        except subprocess.TimeoutExpired:
            return {"problem": f"no end after {seconds + 10:.0f} s"}
        output = (done.stdout + done.stderr)[-3000:]
        written = Path(folder, "sanitized.json")
        inner = json.loads(written.read_text()) if written.exists() else {}
    problem = ""
    if done.returncode:
        problem = f"exit code {done.returncode}: {output}"
    elif inner.get("status") not in ("ok", "unfinished") or not inner["result"]["launches"]:
        problem = f"the cases did not run: {inner.get('reason', output)}"
    elif "ERROR SUMMARY: 0 errors" not in output and "SUMMARY: 0 hazards" not in output:
        problem = f"the tool gave no summary: {output}"
    return {
        "problem": problem,
        "status": inner.get("status"),
        "launches": (inner.get("result") or {}).get("launches", 0),
        "seconds": time.monotonic() - begin,
        "summary": output.strip().splitlines()[-1:],
    }
