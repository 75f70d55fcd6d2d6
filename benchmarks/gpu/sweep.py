"""Every plan the planner weighs, measured: which it should have taken, and what its guess cost.

This is what the planner's constants are fitted to.
"""

import statistics

from bandwidth import by_type, pool_for
from context import Context, Problem, collect, problems, summary
from harness import Harness, Plan

REPLAYS = 3


def run(context: Context) -> dict:
    wanted = problems(context)[::3] if context.dry_run else problems(context)
    pool = pool_for(context, wanted)
    result = collect(
        context, by_type(wanted), lambda problem: sweep(context, pool.calls(problem), problem)
    )
    regrets = [row["regret"] for row in result["rows"]]
    mean = statistics.geometric_mean(regrets) if regrets else None
    return {**result, "geometric_mean_regret": mean}


# What a line says of one plan, the fastest first; its kernel by name.
COLUMNS = (
    *("us", "predicted_us", "kernel", "blocks", "threads", "smem_bytes", "cluster", "stage"),
    *("tile_planes", "strip_columns"),
)


def sweep(context: Context, calls, problem: Problem) -> dict:
    """Times of all plans; ``regret`` is the chosen plan's time over the best one's."""
    harness = context.harness
    measured, refused = [], []
    for plan in harness.plans(problem.shape, problem.dtype, residual=problem.residual):
        if measured and not context.in_time:
            break
        try:
            milliseconds = summary(harness.time(calls, plan, replays=REPLAYS))["median"]
        except RuntimeError as error:
            refused.append({"what": str(error), **plan.to_dict()})
            continue
        measured.append((milliseconds * 1e3, plan))
    if not measured:
        raise RuntimeError(f"every plan was refused, the first with {refused[0]['what']}")
    copies = harness.time_copy(calls, problem.size, by_kernel=True, replays=REPLAYS)
    chosen, fastest = measured[0], min(measured, key=lambda found: found[0])
    lines = [line(harness, *found) for found in sorted(measured, key=lambda found: found[0])]
    return {
        **problem.to_dict(),
        "copy_us": summary(copies)["median"] * 1e3,
        "chosen": line(harness, *chosen),
        "regret": chosen[0] / fastest[0],
        "refused": refused,
        "columns": " ".join(COLUMNS),
        "plans": lines,
    }


def line(harness: Harness, us: float, plan: Plan) -> str:
    numbers = [str(getattr(plan, name)) for name in COLUMNS[3:]]
    return " ".join([f"{us:.2f}", f"{plan.estimate:.2f}", harness.kernel_name(plan), *numbers])
