"""Every plan the planner weighs, measured: which it should have taken, and what its guess cost."""

import statistics

from bandwidth import pool_for
from context import Context, Problem, collect, problems, summary

REPLAYS = 3

_SHAPES = [
    # batch, channels, side
    *((64, 64, 112), (64, 256, 56), (64, 512, 28), (64, 1024, 14)),
    *((8, 64, 256), (8, 256, 128), (1, 64, 112), (1, 2048, 7)),
]


def run(context: Context) -> dict:
    wanted = problems(context)[:4] if context.dry_run else _problems()
    pool = pool_for(context, wanted)
    result = collect(context, wanted, lambda problem: sweep(context, pool.calls(problem), problem))
    regrets = [row["regret"] for row in result["rows"]]
    mean = statistics.geometric_mean(regrets) if regrets else None
    return {**result, "geometric_mean_regret": mean}


def _problems() -> list[Problem]:
    return [
        Problem(batch, channels, side, layout, "float16")
        for layout in ("NHWC", "NCHW")
        for batch, channels, side in _SHAPES
    ]


def sweep(context: Context, calls, problem: Problem) -> dict:
    """Times of all plans; ``regret`` is the chosen plan's time over the best one's."""
    harness = context.harness
    measured, refused = [], []
    for plan in harness.plans(problem.shape, problem.dtype):
        if measured and not context.in_time:
            break
        try:
            milliseconds = summary(harness.time(calls, plan, replays=REPLAYS))["median"]
        except RuntimeError as error:
            refused.append({"what": str(error), **plan.to_dict()})
            continue
        measured.append({"ms": milliseconds, **plan.to_dict()})
    if not measured:
        raise RuntimeError(f"every plan was refused, the first with {refused[0]['what']}")
    chosen, ordered = measured[0], sorted(measured, key=lambda m: m["ms"])
    return {
        **problem.to_dict(),
        "plans": len(measured),
        "chosen": chosen,
        "measured": ordered,
        "refused": refused,
        "regret": chosen["ms"] / ordered[0]["ms"],
    }
