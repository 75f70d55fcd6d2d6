"""What a region has move, against all that could move: no choice takes fewer Transposes."""

import itertools

import onnx_ir as ir
import pytest
import transpose_graphs

from frn_onnx import op
from frn_onnx.graph import sites
from frn_onnx.graph.matcher.constants import Constants
from frn_onnx.graph.matcher.shapes import Shapes
from frn_onnx.graph.perms import compose
from frn_onnx.graph.transposes.moves import Facts
from frn_onnx.graph.transposes.region import Region

# Of each subset of the nodes the Transposes are counted.
_MOST_MOVERS = 10


def regions(seed: int, most: int = _MOST_MOVERS):
    """Those around the Transposes of a random graph."""
    model = ir.from_proto(transpose_graphs.RandomGraph(seed).model)
    constants, shapes, opset = Constants(model), Shapes(model, []), sites.opset(model)
    for node in model.graph.all_nodes():
        if node.op_type == "Transpose":
            region = Region(node.graph, lambda perms: Facts(constants, shapes, opset, perms))
            region.grow(node.inputs[0], tuple(node.attributes["perm"].as_ints()))
            if 0 < len(region.movers) <= most:
                yield region


def test_what_hangs_together():
    """Each value on one side of one tensor, and each node on the side of all that it moves with."""
    for region in (r for seed in range(500, 600) for r in regions(seed, most=100)):
        sides = {}
        for tensor in region.uses:
            first, second = tensor.perms
            assert compose(first, second) == tuple(range(len(first)))
            for value, side in tensor.sides.items():
                assert value not in sides
                sides[value] = side, tensor.perms[side]
                if value is not tensor.root:
                    turn = value.producer()
                    assert tensor.sides[turn.inputs[0]] == 1 - side
                    assert tuple(turn.attributes["perm"].as_ints()) == tensor.perms[1 - side]
        for node, mover in region.movers.items():
            move = mover.move
            slots = [(node.inputs[place], perm) for place, perm in move.inputs.items()]
            slots += [(node.outputs[place], perm) for place, perm in move.outputs.items()]
            assert all(sides[value] == (mover.side, perm) for value, perm in slots)


def count(region: Region, moved) -> int:
    """The tensors that are made on one side and used on another."""
    turned = 0
    for tensor, uses in region.uses.items():
        made = tensor.sides[tensor.root]
        made = 1 - made if region.maker(tensor) in moved else made
        wanted = {
            u.side if u.mover not in moved else 1 - u.side for u in uses if u.side is not None
        }
        turned += bool(wanted - {made})
    return turned


def groups(region: Region, moved: set) -> list[set]:
    """The nodes of a set, those together that make or use one tensor."""
    found = [{mover} for mover in moved]
    for tensor, uses in region.uses.items():
        touched = {region.maker(tensor), *(use.mover for use in uses)}
        joined = set().union(*(group for group in found if group & touched))
        found = [group for group in found if not group & touched] + [joined] * bool(joined)
    return found


def subsets(movers):
    for size in range(len(movers) + 1):
        yield from map(set, itertools.combinations(movers, size))


@pytest.mark.parametrize("first", range(0, 240, 60))
def test_no_choice_takes_fewer_transposes(first):
    gained = 0
    for region in (r for seed in range(first, first + 60) for r in regions(seed)):
        moved = set(region.fewest(lambda mover: None))
        least = min(count(region, chosen) for chosen in subsets(region.movers.values()))
        assert count(region, moved) == least
        for group in groups(region, moved):
            assert count(region, moved - group) > least
        gained += bool(moved)
    assert gained


@pytest.mark.parametrize("side", [0, 1])
def test_no_choice_with_frn_on_a_side_takes_fewer(side):
    def pinned(mover):
        return side if op.is_frn(mover.node) else None

    forced = 0
    for region in (r for seed in range(300, 400) for r in regions(seed)):
        moved = set(region.fewest(pinned))
        layers = [mover for mover in region.movers.values() if op.is_frn(mover.node)]
        must = {mover for mover in layers if mover.side != side}
        free = [mover for mover in region.movers.values() if mover not in layers]
        assert moved & set(layers) == must
        assert count(region, moved) == min(count(region, must | chosen) for chosen in subsets(free))
        for group in groups(region, moved):
            assert group & must or count(region, moved - group) > count(region, moved)
        forced += bool(must)
    assert forced
