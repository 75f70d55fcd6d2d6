"""What else there is: FRN in PyTorch's own operations, eager and through torch.compile.

Eager PyTorch launches the eight primitives one by one. Both are timed as the kernels are: CUDA
graphs, buffers rotated past L2. Both are compared with eager in float32 before they are timed.
"""

import statistics
import time

from bandwidth import measure
from context import Context, Problem, SkipError, collect, problems

_SHAPES = [
    # batch, channels, side, with a residual
    *((64, 64, 112, False), (64, 512, 28, False), (64, 512, 28, True)),
    *((8, 256, 56, False), (1, 256, 56, False)),
]
_REPLAYS = 7
_EPSILON = 1e-6


def run(context: Context) -> dict:
    try:
        import torch
    except ImportError as error:
        raise SkipError("PyTorch is not installed") from error
    if not context.dry_run and not torch.cuda.is_available():
        raise SkipError("PyTorch sees no GPU")
    wanted = problems(context)[::5] if context.dry_run else _problems()
    ours = {_key(row): row["ms"]["median"] for row in measure(context, wanted)}
    measured = [problem for problem in wanted if _key(problem.to_dict()) in ours]

    def row(problem: Problem) -> dict:
        mine = ours[_key(problem.to_dict())]
        found = {**problem.to_dict(), "frn_ms": mine}
        for name, milliseconds in peer_times(torch, context, problem).items():
            found |= {f"{name}_ms": milliseconds, f"{name}_over_frn": milliseconds / mine}
        return found

    found = collect(context, measured, row)
    complete = found["complete"] and len(measured) == len(wanted)
    return {**found, "complete": complete, "torch": torch.__version__}


def _key(row: dict) -> tuple:
    keys = ("batch", "channels", "side", "layout", "dtype", "residual")
    return tuple(row[name] for name in keys)


def _problems() -> list[Problem]:
    return [
        Problem(batch, channels, side, layout, dtype, residual)
        for batch, channels, side, residual in _SHAPES
        for layout in ("NHWC", "NCHW")
        for dtype in ("float16", "float32")
    ]


def peer_times(torch, context: Context, problem: Problem) -> dict[str, float]:
    """Milliseconds of one call, eager and compiled."""
    device = "cpu" if context.dry_run else "cuda"
    dtype = getattr(torch, problem.dtype)
    last = problem.layout == "NHWC"
    side, channels = problem.side, problem.channels
    shape = (problem.batch, side, side, channels) if last else (problem.batch, channels, side, side)
    axes, broadcast = ((1, 2), (channels,)) if last else ((2, 3), (channels, 1, 1))
    count = 2 if context.dry_run else max(2, min(16, -(-200_000_000 // problem.size)))
    generator = torch.Generator(device).manual_seed(0)
    options = {"generator": generator, "device": device}
    xs = [torch.randn(shape, **options).to(dtype) for _ in range(count)]
    residual = torch.randn(shape, **options).to(dtype) if problem.residual else None
    gamma, beta, tau = (torch.randn(broadcast, **options) for _ in range(3))

    def frn(x):
        wide = x.float()
        nu2 = wide.square().mean(axes, keepdim=True)
        y = wide * (gamma * torch.rsqrt(nu2 + _EPSILON)) + beta
        if residual is not None:
            y = y + residual
        return torch.maximum(y, tau).to(x.dtype)

    expected = frn(xs[0].double().float())
    # In a dry run the compiler, which takes minutes on a CPU, is left out.
    functions = {"eager": frn}
    if not context.dry_run:
        torch._dynamo.reset()  # it gives up on a function after eight shapes
        functions["compile"] = torch.compile(frn, dynamic=False)
    times = {}
    for name, function in functions.items():
        torch.testing.assert_close(function(xs[0]).float(), expected.float(), rtol=0.02, atol=0.02)
        times[name] = (_time_graph if device == "cuda" else _time_host)(torch, function, xs)
    return times


def _time_graph(torch, function, xs) -> float:
    """Median over replays of a CUDA graph with one call per buffer."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for x in xs[:2]:
            function(x)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        kept = [function(x) for x in xs]
    graph.replay()
    times = []
    for _ in range(_REPLAYS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / len(kept))
    return statistics.median(times)


def _time_host(torch, function, xs) -> float:
    begin = time.perf_counter()
    for x in xs:
        function(x)
    return (time.perf_counter() - begin) * 1e3 / len(xs)
