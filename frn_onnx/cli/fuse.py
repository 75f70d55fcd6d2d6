"""``frn-onnx fuse``: every FRN of an ONNX file becomes one node."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "fuse", help="find every FRN in an ONNX file, prove it, and write one node for each"
    )
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("-o", "--output", required=True, help="the ONNX file to write")
    parser.add_argument(
        "--form",
        choices=("portable", "custom", "primitives"),
        default="portable",
        help="portable runs with and without the plugin, custom only with it, primitives holds "
        "standard ops only (default: %(default)s)",
    )
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run both models on random input and compare, before anything is written",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from frn_onnx.cli.console import print_json, print_warning
    from frn_onnx.errors import VerificationError
    from frn_onnx.graph import fuse, model_io, verify

    model_io.check_output(args.output, args.model)
    result = fuse(args.model, form=args.form)
    report = verify(args.model, result.model) if args.verify else None
    if args.json:
        print_json(
            {
                "fused": [{**asdict(node), "layout": node.layout} for node in result.fused],
                "skipped": [asdict(skipped) for skipped in result.skipped],
                "verified": report and report.to_dict(),
            }
        )
    else:
        for node in result.fused:
            tau = "" if node.has_tau else ", no tau"
            print(
                f"fused {node.name}: {node.layout}, {node.channels} channels, "
                f"epsilon {node.epsilon:g}{tau}; replaces {len(node.replaced)} nodes"
            )
        for skipped in result.skipped:
            print(f"not fused: {skipped.nodes[-1]}: {skipped.reason}")
        if report:
            print(report)
    if report and not report.ok:
        raise VerificationError(
            f"the fused model computes something else than {args.model}; {args.output} was not "
            "written"
        )
    if not result.fused:
        print_warning(f"no FRN was found in {args.model}")
    model_io.save(result.model, args.output)
    if not args.json:
        print(f"wrote {args.output}: {len(result.fused)} FRN nodes ({args.form})")
    return 0
