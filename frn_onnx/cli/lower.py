"""``frn-onnx lower``: the FRN nodes of a file, in another form."""

import argparse

from frn_onnx.cli.arguments import FORMS


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "lower", help="bring the FRN nodes of an ONNX file into another form"
    )
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("-o", "--output", required=True, help="the ONNX file to write")
    parser.add_argument("--form", choices=FORMS, required=True)
    parser.add_argument(
        "--for",
        dest="target",
        choices=("onnxruntime", "openvino"),
        default="onnxruntime",
        help="the runtime that primitives are to be fastest in (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from frn_onnx.graph.lowering import lower_file

    lower_file(args.model, args.output, args.form, target=args.target)
    print(f"wrote {args.output} ({args.form})")
    return 0
