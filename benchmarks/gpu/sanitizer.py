"""compute-sanitizer over a part of the correctness stage: memory, uninitialised reads, barriers."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from context import Context, SkipError
from harness import HERE

_TOOLS = ("memcheck", "initcheck", "synccheck", "racecheck")


def run(context: Context) -> dict:
    if context.dry_run:
        raise SkipError("the emulator checks the same things itself")
    program = shutil.which("compute-sanitizer")
    if program is None:
        raise SkipError("compute-sanitizer is not on PATH")
    context.harness  # built here, not under the tool  # noqa: B018
    result = {}
    for tool in _TOOLS:
        left = context.deadline - time.monotonic()
        if left < 5:
            result[tool] = {"status": "no time left"}
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [
                *(program, "--tool", tool, "--error-exitcode", "9", "--print-limit", "5"),
                *(sys.executable, str(HERE / "run.py"), "--out", folder),
                *("--child", "sanitized", "--budget", str(left / (len(_TOOLS) - len(result)))),
                *("--build", str(context.build)),
            ]
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, timeout=left, env={**os.environ}
                )
            except subprocess.TimeoutExpired:
                result[tool] = {"status": "timeout"}
                continue
            written = Path(folder, "sanitized.json")
            checked = json.loads(written.read_text())["result"] if written.exists() else None
        result[tool] = {
            "status": "ok" if done.returncode == 0 else f"exit code {done.returncode}",
            "checked": checked,
            "output": (done.stdout + done.stderr)[-3000:] if done.returncode else "",
        }
    return result
