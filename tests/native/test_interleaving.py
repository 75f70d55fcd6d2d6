"""FRN of the four phases of a transposed convolution, in blocks, in sessions of one node."""

import itertools

import numpy as np
import ort_models
import pytest
from native_cases import check, from_blocked, make_params, make_x, to_blocked
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "frn_onnx.internal"
NAMES = ("X", "X01", "X10", "X11")
ORDER = list(itertools.product((0, 1), (0, 1)))
EPSILON = float(np.float32(1e-3))
# (N, C / block, H, W) of a phase: single pixels and rows, rows longer than a tile, odd ones, units
# that one task takes and, last, units that all share.
SHAPES = [
    (1, 1, 1, 1),
    (2, 2, 3, 5),
    (1, 3, 1, 300),
    (1, 1, 300, 1),
    (3, 2, 16, 65),
    (1, 1, 70, 130),
    (1, 1, 201, 150),
    (0, 2, 4, 4),
    (2, 1, 0, 4),
]


def run(whole, params, block, *, threads=2):
    """FRN of a tensor of which the node is given the phases; parameters by name."""
    feeds = {
        name: to_blocked(whole[:, :, i::2, j::2], block)
        for name, (i, j) in zip(NAMES, ORDER, strict=True)
    }
    inputs = [*NAMES, *(name if name in params else "" for name in ("gamma", "beta", "tau"))]
    node = helper.make_node(
        "InterleavingFrn", inputs, ["Y"], name="frn_Y", domain=DOMAIN, block=block, epsilon=EPSILON
    )
    graph = helper.make_graph(
        [node],
        "interleaving",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
            for name, array in feeds.items()
        ],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(array, name) for name, array in params.items()],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    (y,) = ort_models.session(model, threads=threads).run(None, feeds)
    return from_blocked(y, block)


def case(rng, shape, block, scale=1.0):
    n, blocks, h, w = shape
    whole = make_x(rng, (n, blocks * block, 2 * h, 2 * w), np.float32) * np.float32(scale)
    names = ("gamma", "beta", "tau")
    return whole, dict(zip(names, make_params(rng, blocks * block, np.float32), strict=True))


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_shape(target, rng, shape, block):
    whole, params = case(rng, shape, block)
    y = run(whole, params, block)
    check(y, whole, *params.values(), epsilon=EPSILON, axes=(2, 3))


@pytest.mark.parametrize("block", [8, 16])
@pytest.mark.parametrize("shape", [SHAPES[4], SHAPES[6]], ids=str)
def test_without_a_threshold(rng, shape, block):
    whole, params = case(rng, shape, block)
    del params["tau"]
    check(run(whole, params, block), whole, *params.values(), epsilon=EPSILON, axes=(2, 3))


@pytest.mark.parametrize("scale", [1e-30, 1e25])
@pytest.mark.parametrize("shape", [SHAPES[4], SHAPES[6]], ids=str)
def test_extremes(target, rng, shape, scale):
    whole, params = case(rng, shape, 8, scale)
    check(run(whole, params, 8), whole, *params.values(), epsilon=EPSILON, axes=(2, 3))


@pytest.mark.parametrize("shape", [SHAPES[4], SHAPES[6]], ids=str)
def test_same_bits_for_every_number_of_threads(rng, shape):
    whole, params = case(rng, shape, 8)
    one = run(whole, params, 8, threads=1)
    for threads in (2, 3):
        np.testing.assert_array_equal(run(whole, params, 8, threads=threads), one)


def test_phases_of_other_shapes_are_refused(rng):
    whole, params = case(rng, (1, 1, 4, 4), 8)
    with pytest.raises(Exception, match=r"X01 must have shape .*received"):
        run(whole[:, :, :, :-1], params, 8)
