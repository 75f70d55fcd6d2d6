"""One operator in ONNX Runtime: the plugin's kernel and the eight primitives, as chains of nodes.

A chain of 20 in one run: around a single kernel of some microseconds the runtime's own overhead
would be all that is seen.
"""

import numpy as np
import resnet50
from context import Context, Problem, collect, problems
from sessions import Session, compare, device_for, time_in_turns

NODES = 20


def run(context: Context) -> dict:
    device = device_for(context)
    wanted = problems(context, batches=(8, 64), images=(224,))
    if not context.dry_run:
        wanted = [p for p in wanted if p.channels in (64, 256, 2048)]
    return collect(context, wanted, lambda problem: row(context, device, problem))


def row(context: Context, device: str, problem: Problem) -> dict:
    """Plugin and primitives on one tensor."""
    from frn_onnx import lower

    n, c, side = problem.batch, problem.channels, problem.side
    shape = (n, side, side, c) if problem.layout == "NHWC" else (n, c, side, side)
    model = resnet50.chain(
        shape,
        layout=problem.layout,
        dtype=problem.dtype,
        nodes=NODES,
        residual=problem.residual,
    )
    sessions = {
        "plugin": Session(model, True, device),
        "primitives": Session(lower(model, "primitives"), False, device),
    }
    x = np.random.default_rng(0).standard_normal(shape).astype(problem.dtype)
    for session in sessions.values():
        session.bind(x)
    difference = compare(sessions, problem.dtype)
    times = time_in_turns(context, {name: s.run for name, s in sessions.items()})
    return {
        **problem.to_dict(),
        "nodes": NODES,
        "difference": difference,
        "ms": times,
        "speedup": times["primitives"]["median"] / times["plugin"]["median"],
    }
