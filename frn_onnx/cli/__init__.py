"""``frn-onnx``: one module per command, each only parsing and printing."""

import argparse
import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Sequence

import frn_onnx
from frn_onnx.cli.console import drop_output, own_warnings, replace_closed_streams
from frn_onnx.errors import FrnError

# Modules in the order of the help text. Each has add_parser(subparsers); what a command needs
# beyond argparse it imports when it runs, so that --help answers at once.
_MODULES = (
    "demo",
    "export",
    "fuse",
    "lower",
    "inspect",
    "verify",
    "convert",
    "bench",
    "doctor",
    "serve",
    "triton",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns: 0 if it did its work, 1 if it could not (the reason is on stderr), 2 for a command
    line it does not understand, 130 if it was interrupted. A command that is told to end (SIGTERM)
    takes back what it has half written, and exits with 143; ``serve`` answers first what it is at.
    """
    replace_closed_streams()
    parser = argparse.ArgumentParser(
        prog="frn-onnx",
        description="Filter Response Normalization for ONNX: export, fuse, run, serve.",
    )
    parser.add_argument("--version", action="version", version=f"frn_onnx {frn_onnx.__version__}")
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error was raised, not only its text"
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in _MODULES:
        importlib.import_module(f"frn_onnx.cli.{name}").add_parser(subparsers)
    args, rest = parser.parse_known_args(argv)
    if rest:  # argparse fills a list from one place, and does not see the files behind an option
        models = getattr(args, "models", None)
        if not isinstance(models, list) or any(argument.startswith("-") for argument in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        args.models = [*models, *rest]
    if args.command != "serve" and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        with contextlib.nullcontext() if args.command == "serve" else own_warnings():
            return args.run(args)
    except BrokenPipeError:
        drop_output()  # the reader (head, less) has gone
        return 1
    except (FrnError, OSError) as error:
        if args.traceback:
            raise
        print(f"frn-onnx: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
