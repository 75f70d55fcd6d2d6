"""Thousands of small samples: several are computed at once, and each is as it is alone."""

import numpy as np
import pytest
from native_cases import DTYPES, channels_of, make_params

from frn_onnx import _native

# Few channels and many, that fill vectors and do not; planes around a vector's width, samples
# around the most of a few rows.
SHAPES = [
    ((300, 3, 1, 1), (2, 3)),
    ((70, 8, 2, 2), (2, 3)),
    ((67, 5, 1, 3), (2, 3)),
    ((41, 1, 3, 5), (2, 3)),
    ((9, 16, 4, 4), (2, 3)),
    ((9, 127, 1, 2), (2, 3)),
    ((19, 7, 16, 16), (2, 3)),
    ((300, 1, 1, 5), (1, 2)),
    ((150, 2, 2, 8), (1, 2)),
    ((33, 3, 3, 33), (1, 2)),
    ((40, 4, 4, 3), (1, 2)),
    ((5, 4, 8, 70), (1, 2)),
    ((5, 3, 11, 6), (1, 2)),
    ((37, 4, 8, 7), (1, 2)),
    ((40, 1, 3, 3), (1, 2)),
    ((70, 2, 2, 3), (1, 2)),
    ((41, 1, 2, 2), (1, 2)),
]


def bits(array):
    return array.view(f"u{array.dtype.itemsize}")


@pytest.mark.parametrize("epsilon", [0.0, 1e-6])
@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize(("shape", "axes"), SHAPES, ids=str)
def test_a_sample_has_the_same_bits_alone(target, rng, shape, axes, name, epsilon):
    """Whatever samples stand beside it, and wherever: a server may batch requests as it likes."""
    channels = channels_of(shape, axes)
    x = rng.normal(size=shape)
    x[1::4] *= 1e-7 if name == "float16" else 1e-36  # the squares of these need a factor
    x = x.astype(DTYPES[name])
    params = make_params(rng, channels, np.float64 if name == "float64" else np.float32)
    params[0][1::3] *= 1e-39  # the scales that belong to these are no normal floats
    options = {"epsilon": epsilon, "axes": axes}
    y = _native.frn(x, *params, **options)
    alone = np.concatenate([_native.frn(x[n : n + 1], *params, **options) for n in range(len(x))])
    np.testing.assert_array_equal(bits(y), bits(alone))
    _native.frn(x, *params, out=x, **options)
    np.testing.assert_array_equal(bits(x), bits(y))
