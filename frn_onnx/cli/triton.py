"""``frn-onnx triton``: a model as an entry of a Triton Inference Server repository."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "triton", help="write a model repository for Triton Inference Server"
    )
    parser.add_argument("model", metavar="MODEL.onnx", help="the model")
    parser.add_argument("--repo", required=True, help="the repository's folder")
    parser.add_argument("--name", help="the model's name (default: that of the file)")
    parser.add_argument(
        "--library-path",
        help="absolute path of the library as Triton sees it (default: that of the copy, in the "
        "container of the printed command)",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        help="most samples run together, 0 for none (default: 32 where the model allows it)",
    )
    parser.add_argument(
        "--instance-kind",
        choices=("gpu", "cpu"),
        default="gpu",
        help="where it runs (default: %(default)s)",
    )
    parser.add_argument(
        "--count", type=int, default=1, help="instances per device (default: %(default)s)"
    )
    parser.add_argument(
        "--warmup", action="store_true", help="run a sample before the model reports ready"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from frn_onnx.serving.triton import write_repository

    entry = write_repository(
        args.model,
        args.repo,
        name=args.name,
        library_path=args.library_path,
        max_batch=args.max_batch,
        instance_kind=args.instance_kind,
        count=args.count,
        warmup=args.warmup,
    )
    for file in entry.files:
        print(f"wrote {entry.folder / file}")
    for note in entry.notes:
        print(f"note: {note}")
    print(entry.command)
    return 0
