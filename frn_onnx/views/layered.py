"""Places for the nodes of a small directed graph: layers from top to bottom, few crossings."""

import itertools
from collections.abc import Sequence

# Sweeps over the layers; this many straighten graphs of the size that fits on a picture.
_SWEEPS = 60


def layered(
    count: int, edges: Sequence[tuple[int, int]]
) -> tuple[list[tuple[float, int]], dict[tuple[int, int], list[tuple[float, int]]]]:
    """Coordinates for nodes and for the bends of their edges.

    Args:
        count: the nodes are 0 .. count - 1, in an order in which every edge points forwards.
        edges: pairs (from, to).

    Returns:
        For each node (x, layer), and for each edge the points between its ends where it passes
        a layer. Neighbours in a layer are at least 1 apart; layer 0 is at the top.
    """
    layer = _layers(count, edges)
    rows: list[list[int]] = [[] for _ in range(max(layer, default=0) + 1)]
    for node in range(count):
        rows[layer[node]].append(node)
    # An edge that spans layers gets a point in each, which then takes part as if it were a node.
    links: list[tuple[int, int]] = []
    bends: dict[tuple[int, int], list[int]] = {}
    points = count
    for source, target in edges:
        chain = [source]
        for row in range(layer[source] + 1, layer[target]):
            rows[row].append(points)
            layer.append(row)
            chain.append(points)
            points += 1
        chain.append(target)
        bends[source, target] = chain[1:-1]
        links += itertools.pairwise(chain)
    x = _positions(rows, links, points)
    places = [(x[point], layer[point]) for point in range(points)]
    return places[:count], {edge: [places[p] for p in chain] for edge, chain in bends.items()}


def _layers(count: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    """The longest way from the top; a node without predecessors stands right above its first
    successor."""
    layer = [0] * count
    for source, target in sorted(edges, key=lambda edge: edge[1]):
        layer[target] = max(layer[target], layer[source] + 1)
    fed = {target for _, target in edges}
    for node in range(count):
        below = [layer[target] for source, target in edges if source == node]
        if node not in fed and below:
            layer[node] = max(min(below) - 1, 0)
    return layer


def _positions(rows: list[list[int]], links: list[tuple[int, int]], points: int) -> list[float]:
    above: list[list[int]] = [[] for _ in range(points)]
    below: list[list[int]] = [[] for _ in range(points)]
    for source, target in links:
        below[source].append(target)
        above[target].append(source)
    x = [0.0] * points
    for row in rows:
        for place, point in enumerate(row):
            x[point] = place - (len(row) - 1) / 2
    for sweep in range(_SWEEPS):
        order = rows if sweep % 2 == 0 else rows[::-1]
        for row in order:
            wanted = {p: _mean([x[q] for q in above[p] + below[p]], x[p]) for p in row}
            row.sort(key=lambda p: wanted[p])
            _spread(row, wanted, x)
    return x


def _spread(row: list[int], wanted: dict[int, float], x: list[float]) -> None:
    """Each where it wants to be, pushed apart to a distance of 1 around the row's centre."""
    if not row:
        return
    placed: list[float] = []
    for point in row:
        placed.append(wanted[point] if not placed else max(wanted[point], placed[-1] + 1))
    shift = sum(wanted[p] - place for p, place in zip(row, placed, strict=True)) / len(row)
    for point, place in zip(row, placed, strict=True):
        x[point] = place + shift


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default
