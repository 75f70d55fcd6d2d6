"""The test suite's own tests for a GPU: the kernels in ONNX Runtime sessions and on arrays.

Once on the package as call.sh built it, once on the wheel that a kit may hold. A dry run collects
them, for which all that they import must be there.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from context import Context, SkipError
from harness import ROOT


def run_wheel(context: Context) -> dict:
    wheel = os.environ.get("FRN_GPU_WHEEL")
    if not wheel:
        raise SkipError("the kit holds no wheel: README.md says how to put one in")
    return run(context, [wheel])


def run(context: Context, packages: Sequence[str] = ()) -> dict:
    """The tests on what is installed, or on packages in other folders."""
    if context.dry_run:
        done = _pytest(context, "--collect-only", packages)
        if done.returncode:
            output = (done.stdout + done.stderr)[-8000:]
            raise RuntimeError(f"the tests cannot be collected: {output}")
        return {"tests": done.stdout.count("::"), "failures": []}
    with TemporaryDirectory() as folder:
        file = Path(folder, "junit.xml")
        done = _pytest(context, f"--junitxml={file}", packages)
        output = (done.stdout + done.stderr)[-8000:]
        if not file.exists():
            raise RuntimeError(f"pytest wrote no results: {output}")
        cases = list(ET.parse(file).iter("testcase"))
    bad = [
        {"case": case.get("name"), "what": (child.get("message") or child.tag)[:500]}
        for case in cases
        for child in case
        if child.tag in ("failure", "error", "skipped")
    ]
    if not cases:
        raise RuntimeError(f"no test ran: {output}")
    return {"tests": len(cases), "failures": bad, "output": output if bad else ""}


def _pytest(context: Context, option: str, packages: Sequence[str]) -> subprocess.CompletedProcess:
    path = os.pathsep.join([*packages, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", option]
    command += ["-o", "addopts=", "--import-mode=importlib", "-m", "cuda"]
    command += [str(path) for path in sorted((ROOT / "tests" / "native").glob("test_cuda*.py"))]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=context.deadline - time.monotonic(),
        env={**os.environ, "FRN_ONNX_REQUIRE_CUDA": "1", "PYTHONPATH": path},
    )
