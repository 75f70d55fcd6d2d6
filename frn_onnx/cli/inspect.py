"""``frn-onnx inspect``: what is in an ONNX file."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "inspect", help="show the FRN nodes of an ONNX file, its form, and what runs it"
    )
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="also draw the graph around one FRN, before and after fusing (.png, .svg or .pdf)",
    )
    parser.add_argument("--node", help="which FRN to draw (default: the first)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from frn_onnx.cli.console import print_json
    from frn_onnx.errors import ArgumentError
    from frn_onnx.graph import inspect, model_io

    if args.node is not None and args.plot is None:
        raise ArgumentError("--node says which FRN --plot draws; pass --plot FILE as well")
    if args.plot:
        model_io.check_output(args.plot, args.model)
    info = inspect(args.model)
    if args.json:
        print_json(info.to_dict())
    else:
        from rich.console import Console

        from frn_onnx.views import tables

        Console().print(tables.info_view(info))
    if args.plot:
        from frn_onnx.views.plot import plot

        plot(args.model, args.plot, node=args.node)
        if not args.json:
            print(f"wrote {args.plot}")
    return 0
