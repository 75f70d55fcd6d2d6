"""Inputs that are made up, and inputs that are given."""

import itertools
import math

import graph_models
import numpy as np
import pytest
from numpy_runners import numpy_runner

from frn_onnx.errors import ArgumentError
from frn_onnx.graph import samples, verify
from frn_onnx.graph.runners import Spec

EMBEDDING = """
<ir_version: 8, opset_import: ["": 18]>
g (float[N, 6, H] x, int64[N] label) => (float[N, 6, H] y) <float[ROWS, 6] table>
{ row = Gather (table, label) axes = Constant <value_ints = [2]> ()
  wide = Unsqueeze (row, axes) y = Add (x, wide) }
"""


def pairs(*shapes, dtype="float32"):
    specs = [Spec(f"x{i}", np.dtype(dtype), shape) for i, shape in enumerate(shapes)]
    return [(spec, spec) for spec in specs]


@pytest.mark.parametrize("rank", [3, 4, 5, 6])
def test_planes_are_small_whatever_the_rank(rank):
    inputs = pairs(("N", *(f"d{i}" for i in range(rank - 2)), 2))
    for sample in range(3):
        shapes = [shape for (shape,) in samples.shapes(inputs, sample)]
        assert math.prod(shapes[0][1:-1]) <= 2**15
        assert len(set(shapes[0][1:-1])) == rank - 2
        assert all(math.prod(shape[1:-1]) <= 2**18 for shape in shapes)
        assert shapes[-1][1:-1] == (1,) * (rank - 2)


def test_a_sample_as_large_as_the_model_makes_it():
    # 1000 x 1000 positions are the model's; 2**25 elements are exceeded, at the smallest size.
    assert list(samples.shapes(pairs((40, 1000, 1000, "C")), 0)) == [[(40, 1000, 1000, 1)]]
    (first, *_) = samples.shapes(pairs(("N", 4096, "H", "W")), 0)
    assert math.prod(first[0]) <= 2**25


def test_integers_are_small_first():
    inputs = pairs(("N", 500), dtype="int64")
    for sample, most in ((0, 1), (1, 3), (2, 7)):
        found = samples.candidates(inputs, sample, np.random.default_rng(0))
        (first,) = next(found)
        assert first.max() == most
        seen = [int(array.max()) for (array,) in itertools.islice(found, 4)]
        assert {0, 1} <= set(seen)


@pytest.mark.parametrize("rows", [1, 2, 4, 100])
def test_labels_of_few_classes(rows, rng):
    model = graph_models.parse(EMBEDDING.replace("ROWS", str(rows)), rng)
    assert verify(model, model).ok


def test_a_number_that_must_not_be_zero():
    def repeat(x):
        if x.max(initial=0) != 1 or x.min(initial=1) != 1:
            raise ValueError("one")
        return x

    for dtype in (np.int32, np.uint8):
        model = numpy_runner(repeat, dtype=dtype)
        assert verify(model, model).ok


def test_bytes_cover_their_range():
    (found,) = next(samples.candidates(pairs((9, 999), dtype="uint8"), 0, np.random.default_rng(0)))
    assert (found.min(), found.max()) == (0, 255)


def test_given_inputs_name_every_input_that_does_not_fit():
    float32, int32 = np.dtype("float32"), np.dtype("int32")
    specs = [Spec("image", float32, ("N", 3, None)), Spec("label", int32, ("N",))]
    both = [(spec, spec) for spec in specs]
    image, label = np.ones((2, 3, 9)), np.array([1, 2])
    found = samples.given(both, {"label": label, "image": image})
    assert [array.dtype for array in found] == [float32, int32]
    with pytest.raises(ArgumentError) as caught:
        samples.given(both, {"image": image[:, :2], "label": np.array([2**40, 1])})
    assert str(caught.value) == (
        "the inputs do not fit: 'image' has shape (N, 3, ?), received (2, 2, 9); 'label' is "
        "int32, received an array of int64"
    )
    for bad in (label.astype(float), np.array(["a", "b"]), label[:, None]):
        with pytest.raises(ArgumentError, match="'label' "):
            samples.given(both, {"image": image, "label": bad})
    with pytest.raises(ArgumentError, match=r"'image' is float32, received an array of <U1"):
        samples.given(both, {"image": np.full((1, 3, 1), "a"), "label": label})
