"""``frn-onnx serve`` and ``frn-onnx ray-config``: models over the Open Inference Protocol."""

import argparse
import dataclasses
import functools
import sys

from frn_onnx.cli.console import drop_output
from frn_onnx.serving.memory import MIB
from frn_onnx.serving.options import DEVICES, GRACE_SECONDS, LOG_LEVELS, Limits, ModelOptions


def add_parser(subparsers) -> None:
    serve = subparsers.add_parser(
        "serve", help="serve models: Open Inference Protocol (V2), JSON and binary tensors"
    )
    _add_models(serve, nargs="*")
    serve.add_argument(
        "--ray", metavar="APP.yaml", help="serve what ray-config wrote instead, with Ray Serve"
    )
    _add_name(serve)
    _add_address(serve)
    serve.add_argument(
        "--uds", metavar="PATH", help="listen on a Unix socket in place of --host and --port"
    )
    serve.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="answer to this name too; on the loopback others are refused (may be repeated)",
    )
    serve.add_argument(
        "--grace",
        type=int,
        default=GRACE_SECONDS,
        metavar="S",
        help="what is in flight when the server is stopped may take so long (default: %(default)s)",
    )
    serve.add_argument(
        "--max-memory",
        type=int,
        metavar="MB",
        help="most MiB that all requests hold (default: a quarter of the memory, at most 1024)",
    )
    _add_model_options(serve, threads=0, threads_help="ONNX Runtime's threads (default: automatic)")
    serve.add_argument(
        "--strict",
        action="store_true",
        help="one of several models that cannot be served is an error (default: the others are)",
    )
    serve.add_argument(
        "--metrics",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Prometheus figures under /metrics (default: on)",
    )
    serve.add_argument(
        "--log-level",
        choices=LOG_LEVELS,
        default="info",
        help="debug shows probes too, warning only what failed (default: %(default)s)",
    )
    serve.set_defaults(run=functools.partial(run, serve))

    config = subparsers.add_parser("ray-config", help="write the YAML for Ray Serve and KubeRay")
    _add_models(config, nargs="+")
    config.add_argument("-o", "--output", required=True, help="the YAML file to write")
    _add_name(config)
    _add_address(config)
    _add_model_options(config, threads=1, threads_help="threads and CPUs of a replica (default: 1)")
    config.add_argument(
        "--replicas", type=int, default=1, help="replicas of a model (default: %(default)s)"
    )
    config.add_argument(
        "--max-replicas", type=int, help="autoscale up to so many (default: no autoscaling)"
    )
    config.add_argument(
        "--num-gpus", type=float, default=0, help="GPUs of a replica; 0.5 shares one (default: 0)"
    )
    config.set_defaults(run=run_ray_config)


def _add_models(parser: argparse.ArgumentParser, *, nargs: str) -> None:
    parser.add_argument(
        "models",
        nargs=nargs,
        metavar="MODEL.onnx",
        help="a model, NAME=MODEL.onnx, or a folder of models",
    )


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", help="served name of the one model (default: that of the file)")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--host", default="127.0.0.1", help="default: %(default)s, for this machine only"
    )
    parser.add_argument("--port", type=int, default=8000, help="default: %(default)s")


def _add_model_options(parser: argparse.ArgumentParser, *, threads: int, threads_help: str) -> None:
    """The fields of ModelOptions, by their names, and the limit on a body."""
    parser.add_argument("--device", choices=DEVICES, default=ModelOptions.device)
    parser.add_argument("--threads", type=int, default=threads, help=threads_help)
    parser.add_argument(
        "--fuse", action="store_true", help="fuse FRN that a file has in standard ops, in memory"
    )
    parser.add_argument(
        "--gpu-mem-limit", type=int, metavar="MB", help="most MiB of GPU memory (default: all)"
    )
    parser.add_argument(
        "--cuda-graph",
        action="store_true",
        help="record runs of one shape as a CUDA graph: small batches are faster (--device cuda)",
    )
    parser.add_argument(
        "--max-batch",
        type=int,
        default=ModelOptions.max_batch,
        help="most samples run together; 1 runs every request alone (default: %(default)s)",
    )
    parser.add_argument(
        "--max-queue",
        type=int,
        default=ModelOptions.max_queue,
        help="most requests that wait; one more gets 503 (default: %(default)s)",
    )
    parser.add_argument(
        "--max-batch-mb",
        type=int,
        default=ModelOptions.max_batch_mb,
        metavar="MB",
        help="most MiB of inputs run together (default: %(default)s)",
    )
    parser.add_argument(
        "--max-wait",
        type=float,
        default=ModelOptions.max_wait,
        metavar="S",
        help="who would wait longer for a run gets 503 (default: %(default)g s)",
    )
    parser.add_argument(
        "--run-timeout",
        type=float,
        default=ModelOptions.run_timeout,
        metavar="S",
        help="a run that takes longer is ended (default: %(default)g s)",
    )
    parser.add_argument(
        "--max-body",
        type=int,
        default=Limits.body_bytes // MIB,
        metavar="MB",
        help="largest body (default: %(default)s)",
    )


def run(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    from frn_onnx.errors import ArgumentError

    if bool(args.models) == (args.ray is not None):
        raise ArgumentError("pass either MODEL.onnx or --ray APP.yaml")
    if args.ray is not None:
        defaults = vars(parser.parse_args([])) | {"ray": args.ray}
        given = [name for name, value in defaults.items() if getattr(args, name) != value]
        if given:
            options = ", ".join("--" + name.replace("_", "-") for name in given)
            raise ArgumentError(
                f"--ray takes no other option, received {options}; the YAML holds them, and "
                "ray-config writes them there"
            )
        from frn_onnx.serving.ray_runner import serve_config

        serve_config(args.ray, on_ready=lambda url: print(f"ready at {url}", flush=True))
        return 0

    from frn_onnx.serving import embedded

    def announce(url: str, *models) -> None:
        try:
            for served in models:
                print(f"{served.signature.name} ({served.model.provider}) at {url}")
                print(f"batching: {served.batching}")
                print(f"FRN: {served.model.layout}")
            sys.stdout.flush()
        except BrokenPipeError:  # nobody wants to know: no reason not to serve
            drop_output()

    memory = {} if args.max_memory is None else {"memory_bytes": args.max_memory * MIB}
    embedded.serve(
        _options(args),
        host=args.host,
        port=args.port,
        uds=args.uds,
        allowed_hosts=args.allowed_host,
        grace_seconds=args.grace,
        strict=args.strict,
        metrics=args.metrics,
        log_level=args.log_level,
        limits=Limits(body_bytes=args.max_body * MIB, **memory),
        on_ready=announce,
    )
    return 0


def run_ray_config(args: argparse.Namespace) -> int:
    from pathlib import Path

    from frn_onnx.serving import ray_config

    ray_config.write(
        args.output,
        _options(args),
        ray_config.Scale(args.replicas, args.max_replicas, args.num_gpus),
        host=args.host,
        port=args.port,
        max_body_mb=args.max_body,
    )
    print(f"wrote {Path(args.output)}; serve it with: frn-onnx serve --ray {args.output}")
    return 0


def _options(args: argparse.Namespace) -> list[ModelOptions]:
    """The models, each with the options of all."""
    from frn_onnx.serving import sources

    given = vars(args) | {"gpu_mem_limit_mb": args.gpu_mem_limit}
    own = {"model", "name"}
    shared = {f.name: given[f.name] for f in dataclasses.fields(ModelOptions) if f.name not in own}
    return [
        ModelOptions(file, name=name, **shared)
        for name, file in sources.find(args.models, args.name)
    ]
