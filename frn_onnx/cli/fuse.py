"""``frn-onnx fuse``: every FRN of an ONNX file becomes one node."""

import argparse

from frn_onnx.cli.arguments import add_form, add_verification


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "fuse", help="find every FRN in an ONNX file, prove it, and write one node for each"
    )
    parser.add_argument("model", help="an ONNX file")
    parser.add_argument("-o", "--output", required=True, help="the ONNX file to write")
    add_form(parser)
    add_verification(parser)
    parser.add_argument(
        "--per-node",
        action="store_true",
        help="also compare each fused node alone with the nodes it replaced",
    )
    parser.add_argument(
        "--fix-conv-transpose",
        action="store_true",
        help="also turn one-sided pads of ConvTranspose, which ONNX Runtime's CUDA provider leaves "
        "to the CPU, into a Slice; bit-identical",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from frn_onnx.cli.console import print_json, print_warning
    from frn_onnx.graph.fuse_file import fuse_file

    done = fuse_file(
        args.model,
        args.output,
        form=args.form,
        compare=args.verify,
        per_node=args.per_node,
        fix_conv_transpose=args.fix_conv_transpose,
        inputs=args.inputs,
    )
    if not done.result.fused:
        print_warning(f"no FRN was found in {args.model}")
    if args.json:
        print_json(done.to_dict())
    else:
        _print(args, done)
    return 0


def _print(args: argparse.Namespace, done) -> None:
    for node in done.result.fused:
        tau = "" if node.has_tau else ", no tau"
        residual = ", residual" if node.has_residual else ""
        print(
            f"fused {node.name}: {node.layout}, {node.channels} channels, "
            f"epsilon {node.epsilon:g}{tau}{residual}; replaces {len(node.replaced)} nodes"
        )
    for skipped in done.result.skipped:
        print(f"not fused: {skipped.nodes[-1]}: {skipped.reason}")
    for proof in done.proofs or ():
        print(f"alone, {proof.name}: {proof.report}")
    if args.fix_conv_transpose:
        print(f"ConvTranspose with one-sided pads: {done.conv_transposes}")
    if done.report:
        print(done.report)
    print(f"wrote {args.output}: {len(done.result.fused)} FRN nodes ({args.form})")
