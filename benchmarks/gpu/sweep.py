"""Every plan the planner weighs, measured: which it should have taken, and what its guess cost.

The planner's constants are fitted to this file: fit_planner.py.
"""

import statistics

from bandwidth import pool_for
from context import Context, Problem, collect, problems, summary
from harness import DTYPES

REPLAYS = 3


def run(context: Context) -> dict:
    wanted = problems(context)[:4] if context.dry_run else problems(context)
    wanted.sort(key=lambda problem: list(DTYPES).index(problem.dtype))  # for the pool's sake
    pool = pool_for(context, wanted)
    result = collect(context, wanted, lambda problem: sweep(context, pool.calls(problem), problem))
    regrets = [row["regret"] for row in result["rows"]]
    mean = statistics.geometric_mean(regrets) if regrets else None
    return {**result, "geometric_mean_regret": mean}


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
    copies = harness.time_copy(calls, problem.size, by_kernel=True, replays=REPLAYS)
    return {
        **problem.to_dict(),
        "copy_ms": summary(copies)["median"],
        "plans": len(measured),
        "chosen": chosen,
        "measured": ordered,
        "refused": refused,
        "regret": chosen["ms"] / ordered[0]["ms"],
    }
