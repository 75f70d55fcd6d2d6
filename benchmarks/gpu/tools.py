"""NVIDIA's tools over a stage that runs in a process of its own."""

import shutil
import sys

from context import Context, SkipError
from harness import HERE


def find(context: Context, program: str, *, dry_run: str) -> str:
    """The path of a tool; the harness is built by then, which it is not to be under the tool.

    Raises:
        SkipError: it is not there, or this is a dry run, for which ``dry_run`` says why not.
    """
    if context.dry_run:
        raise SkipError(dry_run)
    path = shutil.which(program)
    if path is None:
        raise SkipError(f"{program} is not on PATH")
    context.harness  # noqa: B018
    return path


def inner_stage(context: Context, name: str, out: str) -> list[str]:
    """The command that runs one of run.py's inner stages and writes OUT/NAME.json."""
    run = [sys.executable, str(HERE / "run.py"), "--child", name]
    return [*run, "--out", out, "--build", str(context.build)]
