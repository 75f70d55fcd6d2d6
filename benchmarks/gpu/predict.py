"""What a ResNet-50 would take with its additions inside the FRN nodes, from runs before they were.

    python benchmarks/gpu/predict.py FOLDER ...     # each with the stages environment and resnet50

The measured networks have an FRN, an Add and a Relu at the end of each of the 16 blocks. Their time
with one node there is the measured one, less what the planner says of those FRN and what copies of
five passes take, and with what it says of FRN with a residual. How far these estimates can be
trusted shows where they can be compared: the plugin's network less the ReLU-only one is 53 FRN less
33 Relu.
"""

import argparse
import json
import tempfile
from pathlib import Path

import resnet50
from context import Problem
from fit import Planner
from report import table

_HEADER = [
    *("GPU", "batch", "layout", "over ReLU, measured", "with the additions inside, predicted"),
    "FRN less ReLU: measured, predicted us",
]


def norms() -> list[tuple[str, int, int]]:
    """What follows each convolution: "relu", "nothing" or an "addition"; channels; side."""
    found, side = [("relu", 64, 112)], 56
    for stage, blocks in enumerate(resnet50.BLOCKS):
        filters = 64 * 2**stage
        for block in range(blocks):
            before = side * 2 if stage and not block else side  # the stride is on the 3x3
            found += [("relu", filters, before), ("relu", filters, side)]
            found += [("nothing", 4 * filters, side)] * (not block)
            found += [("addition", 4 * filters, side)]
        side //= 2
    return found


def line(planner: Planner, environment: dict, network: dict) -> list[object]:
    """One network's line of the table."""
    device = [value for name, value in environment["device"].items() if name != "name"]
    bytes_per_us = environment["copy"]["kernel_gbps"]["median"] * 1e3
    layout = "NHWC" if network["prefer_nhwc"] else "NCHW"

    def problem(channels: int, side: int, residual: bool = False) -> Problem:
        return Problem(network["batch"], channels, side, layout, network["dtype"], residual)

    def frn(*tensor: int, residual: bool = False) -> float:
        return min(planner.estimates(problem(*tensor, residual), device).values())

    def elementwise(*tensor: int, passes: int) -> float:
        return planner.constants["kStart"] + passes * problem(*tensor).size / bytes_per_us

    more = saved = 0.0
    for behind, *tensor in norms():
        more += frn(*tensor)
        if behind == "relu":
            more -= elementwise(*tensor, passes=2)
        if behind == "addition":
            saved += frn(*tensor) - frn(*tensor, residual=True)
            saved += elementwise(*tensor, passes=3) + elementwise(*tensor, passes=2)
    plugin, relu = (network["ms"][name]["median"] * 1e3 for name in ("plugin", "relu"))
    return [
        *(environment["device"]["name"].split()[1], network["batch"], layout),
        *(plugin / relu, (plugin - saved) / relu, f"{plugin - relu:.0f}, {more:.0f}"),
    ]


def rows(planner: Planner, folder: Path) -> list[list[object]]:
    """A line of the table for each network of a folder."""
    environment, networks = (
        json.loads((folder / f"{name}.json").read_text())["result"]
        for name in ("environment", "resnet50")
    )
    return [line(planner, environment, network) for network in networks["rows"]]


def predict(folders: list[Path]) -> str:
    """The table."""
    with tempfile.TemporaryDirectory() as build:
        planner = Planner(Path(build))
        return table(_HEADER, [line for folder in folders for line in rows(planner, folder)])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    print(predict(parser.parse_args().folders))
