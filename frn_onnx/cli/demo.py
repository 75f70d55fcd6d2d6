"""``frn-onnx demo``: the main job on real data, in about a minute."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "demo",
        help="train a small FRN network on digits, export it, run it with and without plugin",
    )
    parser.add_argument(
        "--folder", default="demo", help="where the files go (default: %(default)s)"
    )
    parser.add_argument(
        "--epochs",
        type=int,
        default=12,
        help="passes over the training images (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from frn_onnx import demo
    from frn_onnx.cli.console import print_json, quiet_tensorflow

    quiet_tensorflow()
    console = Console(stderr=args.json)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("starting TensorFlow", total=args.epochs)

        def report(epoch: int, accuracy: float) -> None:
            text = f"training, epoch {epoch}/{args.epochs}, test accuracy {accuracy:.1%}"
            progress.update(task, completed=epoch, description=text)

        result = demo.run(args.folder, epochs=args.epochs, progress=report)
    if args.json:
        print_json(result.to_dict())
    else:
        _print(console, result)
    return 0


def _print(console, result) -> None:
    from rich.table import Table

    console.print(
        f"\nTrained in {result.train_seconds:.0f} s; {result.layers} FRN layers; "
        f"{result.images} test images.\n"
    )
    table = Table("", box=None, pad_edge=False)
    for heading in ("accuracy", "same classes", "max error", "nodes", "ms per batch", "ratio"):
        table.add_column(heading, justify="right")
    slowest = max(row.latency.median_ms for row in result.rows if row.latency)
    for row in result.rows:
        table.add_row(
            row.name,
            f"{row.accuracy:.2%}",
            "yes" if row.same_predictions else "[red]NO[/]",
            f"{row.max_error:.1e}" if row.nodes else "",
            str(row.nodes or ""),
            f"{row.latency.median_ms:.2f}" if row.latency else "",
            f"{slowest / row.latency.median_ms:.2f}x" if row.latency else "",
        )
    console.print(table)
    print(f"\nWrote {result.keras_path}, {result.onnx_path} and {result.picture_path}.")
