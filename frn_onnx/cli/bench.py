"""``frn-onnx bench``: what the plugin is worth for one model on this machine."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser("bench", help="time an ONNX file with and without the plugin")
    parser.add_argument("model", help="an ONNX file with FRN nodes")
    parser.add_argument(
        "--shape",
        type=_named_shape,
        action="append",
        default=[],
        metavar="INPUT=N,N,...",
        help="shape of an input whose sizes are unknown; may be repeated",
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="of ONNX Runtime (default: its own choice)"
    )
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="how long to measure (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=run)


def _named_shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, sizes = text.rpartition("=")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError:
        shape = ()
    if not name or not shape or min(shape) < 0:
        raise argparse.ArgumentTypeError(f"expected INPUT=N,N,..., received {text!r}")
    return name, shape


def run(args: argparse.Namespace) -> int:
    from frn_onnx.cli.console import print_json
    from frn_onnx.errors import ArgumentError
    from frn_onnx.runtime.bench import bench

    sizes = dict(args.shape)
    if len(sizes) < len(args.shape):
        raise ArgumentError("--shape was passed twice for one input; expected one for each")
    result = bench(args.model, shapes=sizes, threads=args.threads, seconds=args.seconds)
    if args.json:
        print_json(result.to_dict())
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table("", box=None, pad_edge=False)
    for heading in ("median ms", "quartiles", "ratio"):
        table.add_column(heading, justify="right")
    rows = {
        "standard ops": result.without,
        "plugin": result.with_plugin,
        "InferenceSession": result.session,
    }
    for name, timed in rows.items():
        ratio = result.without.median_ms / timed.median_ms
        table.add_row(
            name,
            f"{timed.median_ms:.3f}",
            f"{timed.low_ms:.3f} to {timed.high_ms:.3f}",
            f"{ratio:.2f}x",
        )
    shapes = ", ".join(f"{name} {shape}" for name, shape in result.shapes.items())
    console = Console()
    print(f"{args.model} on {shapes}\n")
    console.print(table)
    print(f"\nFRN in InferenceSession: {result.layout}")
    return 0
