"""``frn-onnx doctor``: what is installed, what the library found, and whether it computes."""

import argparse

from frn_onnx.cli.console import print_json
from frn_onnx.errors import ArgumentError


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "doctor", help="check the installation: packages, library, kernels, execution providers"
    )
    parser.add_argument(
        "model", nargs="?", help="an ONNX file: says which provider runs each of its FRN nodes"
    )
    parser.add_argument(
        "--provider",
        action="append",
        metavar="NAME",
        help="an execution provider for the model, such as CUDAExecutionProvider; again for more",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from frn_onnx.runtime import doctor

    if args.provider and args.model is None:
        raise ArgumentError(
            "--provider is for the session of a model: frn-onnx doctor MODEL.onnx --provider "
            + args.provider[0]
        )
    report = doctor.examine(args.model, args.provider)
    if args.json:
        print_json(report.to_dict())
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("", "check", box=None, show_header=False, pad_edge=False)
        table.add_column("result", overflow="fold")  # a path is of use as a whole
        marks = {True: "[green]ok[/]", False: "[red]FAIL[/]", None: "[dim]-[/]"}
        for check in report.checks:
            # As it is: of "pip install frn_onnx[gpu]" the brackets are no markup.
            table.add_row(marks[check.ok], Text(check.name), Text(check.detail))
        Console().print(table)
    return 0 if report.ok else 1
