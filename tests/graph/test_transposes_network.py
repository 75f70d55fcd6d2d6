"""Minimum cuts against all cuts there are, and what a region makes of them."""

import itertools

import numpy as np
import pytest

from frn_onnx.graph.transposes.network import UNLIMITED, Network


def cost(edges, on_source) -> int:
    return sum(room for tail, head, room in edges if on_source[tail] and not on_source[head])


@pytest.mark.parametrize("seed", range(60))
def test_two_minimum_cuts(seed):
    """The first with as few vertices on the source's side as any, the second with as many."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(2, 8))
    edges = [
        (*map(int, rng.choice(count, 2, replace=False)), int(rng.choice([0, 1, 2, 64, UNLIMITED])))
        for _ in range(int(rng.integers(0, 3 * count)))
    ]
    network = Network()
    vertices = [network.vertex() for _ in range(count)]
    assert vertices == list(range(count))
    for edge in edges:
        network.edge(*edge)
    every = [
        (True, *middle, False) for middle in itertools.product((True, False), repeat=count - 2)
    ]
    least = min(cost(edges, cut) for cut in every)
    best = [cut for cut in every if cost(edges, cut) == least]
    first, second = (tuple(cut) for cut in network.cut(0, count - 1))
    assert {cost(edges, first), cost(edges, second)} == {least}
    assert sum(first) == min(map(sum, best))
    assert sum(second) == max(map(sum, best))
