"""``frn-onnx verify``: whether two models compute the same."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "verify", help="run two models on the same inputs and compare what comes out"
    )
    parser.add_argument("a", help="an .onnx, .keras or .h5 file")
    parser.add_argument("b", help="another one")
    parser.add_argument(
        "--inputs", metavar="FILE.npz", help="what they run on, by input name (default: random)"
    )
    parser.add_argument("--samples", type=int, default=3, help="random inputs (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of the random inputs (default: 0)")
    parser.add_argument("--rtol", type=float, help="instead of the derived tolerance")
    parser.add_argument("--atol", type=float, help="instead of the derived tolerance")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from frn_onnx.cli.console import print_json, quiet_tensorflow
    from frn_onnx.graph import verify
    from frn_onnx.graph.runners import KERAS_SUFFIXES

    if args.a.endswith(KERAS_SUFFIXES) or args.b.endswith(KERAS_SUFFIXES):
        quiet_tensorflow()

    report = verify(
        args.a,
        args.b,
        inputs=args.inputs,
        samples=args.samples,
        seed=args.seed,
        rtol=args.rtol,
        atol=args.atol,
    )
    if args.json:
        print_json(report.to_dict())
    else:
        print(report)
    return 0 if report.ok else 1
