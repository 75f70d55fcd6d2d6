"""``frn-onnx convert``: a file that computes in half precision, with float32 statistics."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "convert", help="convert an ONNX file to half precision, FRN's statistics in float32"
    )
    parser.add_argument("model", help="an ONNX file in float32")
    parser.add_argument("-o", "--output", required=True, help="the ONNX file to write")
    parser.add_argument("--to", choices=("float16", "bfloat16"), required=True)
    parser.add_argument(
        "--keep-io-types",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave the types of inputs and outputs as they are (default: on)",
    )
    parser.add_argument(
        "--for",
        dest="provider",
        choices=("cuda",),
        help="an execution provider that is to run all of it (cuda: ConvTranspose without "
        "one-sided pads)",
    )
    parser.add_argument(
        "--batch", type=int, help="the size of the first axis of every input (default: as it is)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from frn_onnx.graph.half import convert_file

    convert_file(
        args.model,
        args.output,
        args.to,
        keep_io_types=args.keep_io_types,
        provider=args.provider,
        batch=args.batch,
    )
    print(f"wrote {args.output} ({args.to}, portable)")
    return 0
