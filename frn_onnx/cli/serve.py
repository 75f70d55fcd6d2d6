"""``frn-onnx serve`` and ``frn-onnx ray-config``: a model over the Open Inference Protocol."""

import argparse


def add_parser(subparsers) -> None:
    parser = subparsers.add_parser(
        "serve", help="serve a model: Open Inference Protocol (V2), JSON and binary tensors"
    )
    parser.add_argument("model", nargs="?", metavar="MODEL.onnx", help="the model to serve")
    parser.add_argument(
        "--ray", metavar="APP.yaml", help="serve what ray-config wrote, with Ray Serve, instead"
    )
    parser.add_argument(
        "--host", default="127.0.0.1", help="default: %(default)s, this machine only"
    )
    parser.add_argument("--port", type=int, default=8000, help="0 takes a free one (%(default)s)")
    add_model_arguments(parser)
    parser.add_argument(
        "--max-body", type=int, default=64, metavar="MB", help="largest body (default: %(default)s)"
    )
    parser.add_argument(
        "--metrics",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Prometheus figures under /metrics (default: on)",
    )
    parser.set_defaults(run=run)


def add_model_arguments(parser) -> None:
    """The options of ``frn_onnx.serving.service.ModelOptions``."""
    parser.add_argument("--name", help="served name (default: that of the file)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--threads", type=int, default=0, help="ONNX Runtime's threads (default: 0, automatic)"
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        default=32,
        help="most samples run together; 1 runs every request alone (default: %(default)s)",
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        default=128,
        help="most requests that wait; one more gets 503 (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from frn_onnx.errors import ArgumentError
    from frn_onnx.serving import embedded
    from frn_onnx.serving.service import ModelOptions

    if (args.model is None) == (args.ray is None):
        raise ArgumentError("pass either MODEL.onnx or --ray APP.yaml")

    def announce(url: str, served) -> None:
        print(f"{served.signature.name} at {url} ({served.model.provider})", flush=True)
        print(f"batching: {served.batching}", flush=True)

    embedded.serve(
        ModelOptions(
            args.model,
            name=args.name,
            device=args.device,
            threads=args.threads,
            max_batch=args.max_batch,
            max_queue=args.max_queue,
        ),
        host=args.host,
        port=args.port,
        metrics=args.metrics,
        body_bytes=args.max_body * 2**20,
        on_ready=announce,
    )
    return 0
