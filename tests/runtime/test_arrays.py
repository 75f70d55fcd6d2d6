"""frn_onnx.frn: the kernel on arrays, and what it refuses."""

import re

import ml_dtypes
import numpy as np
import pytest
import tolerances

import frn_onnx
from frn_onnx import reference
from frn_onnx.errors import ArgumentError, DtypeError, ShapeError


@pytest.fixture
def arrays(rng):
    x = (rng.normal(size=(2, 5, 6, 7)) * 3 - 1).astype(np.float32)
    return x, *(rng.normal(size=7).astype(np.float32) for _ in range(3))


def check(x, params, **case):
    y = frn_onnx.frn(x, *params, **case)
    assert y.dtype == x.dtype
    assert y.shape == x.shape
    expected = reference.frn(x, *params, **case)
    bound = tolerances.frn_bound(x, *params, dtype=x.dtype, **case)
    tolerances.assert_within(y, expected, bound)
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16])
def test_dtypes(arrays, dtype):
    x, *params = arrays
    check(x.astype(dtype), params, epsilon=0.1)


@pytest.mark.parametrize("count", [2, 3])
def test_tau_is_optional(arrays, count):
    x, *params = arrays
    check(x, params[:count])


def test_channels_first_takes_both_parameter_shapes(arrays):
    x, *params = arrays
    nchw = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    y = check(nchw, params, axes=(2, 3))
    shaped = [p.reshape(7, 1, 1) for p in params]
    np.testing.assert_array_equal(frn_onnx.frn(nchw, *shaped, axes=[-1, -2]), y)


def test_epsilon_per_channel_and_its_sign(arrays, rng):
    x, *params = arrays
    epsilon = rng.normal(size=7).astype(np.float32)
    y = check(x, params, epsilon=epsilon)
    np.testing.assert_array_equal(frn_onnx.frn(x, *params, epsilon=-epsilon), y)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, ::2],
        lambda x: x[:, :, ::-1],
        lambda x: x.transpose(0, 2, 1, 3),
        lambda x: np.asfortranarray(x),
        lambda x: np.broadcast_to(x[:1], x.shape),
    ],
)
def test_any_memory_layout(arrays, view):
    x, *params = arrays
    check(view(x), params)


def test_other_byte_order(arrays):
    x, *params = arrays
    swapped = x.astype(x.dtype.newbyteorder())
    np.testing.assert_array_equal(frn_onnx.frn(swapped, *params), frn_onnx.frn(x, *params))


def test_the_input_stays_as_it_was(arrays):
    before = arrays[0].copy()
    frn_onnx.frn(*arrays)
    np.testing.assert_array_equal(arrays[0], before)


@pytest.mark.parametrize("shape", [(0, 4, 4, 7), (2, 1, 1, 7), (2, 9, 7), (1, 2, 3, 4, 7)])
def test_shapes(arrays, rng, shape):
    _, *params = arrays
    check(rng.normal(size=shape).astype(np.float32), params)


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.complex64, np.bool_])
def test_other_dtypes_are_refused(arrays, dtype):
    x, *params = arrays
    with pytest.raises(DtypeError, match=f"float32, float64.*received {np.dtype(dtype).name}"):
        frn_onnx.frn(x.astype(dtype), *params)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (1, 2, 2, 2, 2, 7)])
def test_other_ranks_are_refused(arrays, shape):
    _, *params = arrays
    with pytest.raises(ShapeError, match=r"rank 3, 4 or 5.*received shape"):
        frn_onnx.frn(np.ones(shape, np.float32), *params)


@pytest.mark.parametrize("which", range(3))
def test_wrong_channel_count_names_both(arrays, which):
    x, *params = arrays
    params[which] = params[which][:5]
    name = ("gamma", "beta", "tau")[which]
    with pytest.raises(ShapeError, match=rf"{name} must have shape \(C,\)=\(7,\), received \(5,\)"):
        frn_onnx.frn(x, *params)


def test_axes_that_leave_no_channel_axis(arrays):
    with pytest.raises(ShapeError, match=r"received axes=\[1, 1\]"):
        frn_onnx.frn(*arrays, axes=[1, 1])


@pytest.mark.parametrize("axes", [1, "NWC", (1.7, 2), (1.0, 2.0), [None, 2], np.array([1.0, 2.0])])
def test_axes_that_are_no_integers(arrays, axes):
    x, *params = arrays
    with pytest.raises(ArgumentError, match=r"must be a sequence of integers.*Received axes="):
        frn_onnx.frn(x, *params, axes=axes)


@pytest.mark.parametrize("which", ["gamma", "beta", "tau", "epsilon"])
@pytest.mark.parametrize(
    ("value", "received"),
    [([1j] * 7, "complex128"), (["a"] * 7, "str32"), (None, "object"), ("a", "str32")],
)
def test_parameters_that_are_no_real_numbers(arrays, which, value, received):
    case = dict(zip(("gamma", "beta", "tau"), arrays[1:], strict=True))
    if (which, value) == ("tau", None):
        return
    with pytest.raises(DtypeError, match=f"{which} must hold real numbers, received {received}"):
        frn_onnx.frn(arrays[0], **{**case, which: value})


def test_parameters_that_are_no_arrays(arrays):
    x, *params = arrays
    with pytest.raises(ShapeError, match="gamma must be an array, one value per channel: "):
        frn_onnx.frn(x, [1, [2]], *params[1:])


@pytest.mark.parametrize("epsilon", [np.nan, -np.inf, 1e39, [0.1] * 6 + [np.nan], [-1e39] * 7])
def test_epsilon_that_is_not_finite(arrays, epsilon):
    x, *params = arrays
    received = np.ravel(epsilon)[-1]
    expected = re.escape(f"epsilon must be finite in float32, received {received}; it is a small")
    with pytest.raises(ArgumentError, match=expected):
        frn_onnx.frn(x, *params, epsilon=epsilon)
    if abs(received) == 1e39:
        check(x.astype(np.float64), params, epsilon=epsilon)
