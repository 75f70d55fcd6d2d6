"""What the commands print alike: warnings, JSON, and nothing of TensorFlow's own."""

import contextlib
import importlib
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

from frn_onnx.errors import FrnWarning


def quiet_tensorflow() -> None:
    """Imports TensorFlow, where it is installed, without the lines that its C++ logs as it loads.

    Those come before TensorFlow reads its log level, so standard error itself is turned away.
    An import that fails raises as ever.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if importlib.util.find_spec("tensorflow") is None:
        return
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def print_json(value: Any) -> None:
    """One JSON object on standard output."""
    print(json.dumps(value, indent=2))


def print_warning(text: str) -> None:
    """A warning on standard error, its label in yellow where that is a terminal."""
    from rich.console import Console
    from rich.text import Text

    line = Text.assemble(("warning:", "yellow"), f" {text}")
    Console(stderr=True, soft_wrap=True).print(line)


@contextlib.contextmanager
def own_warnings() -> Iterator[None]:
    """Has the package's own warnings printed as lines for a user, without a place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", FrnWarning)  # each text once
        others = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, FrnWarning):
                print_warning(str(message))
            else:
                others(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def replace_closed_streams() -> None:
    """Opens stdout and stderr on nothing where they are closed: a socket would take their place."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            lowest = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, os.fdopen(lowest, "w", closefd=False))


def drop_output() -> None:
    """Lets nothing more go to stdout, whose reader is gone; Python would complain at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
