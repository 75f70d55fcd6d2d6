"""The function body of a portable file, in ONNX Runtime and in ONNX's reference evaluator."""

import itertools

import numpy as np
import onnx
import onnx.reference
import opsets
import pytest
import tolerances
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op, op_body, reference
from frn_onnx.errors import ModelError, ShapeError

TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.float64): TensorProto.DOUBLE,
}
EPSILON = float(np.float32(0.1))


def test_a_node_has_attributes_of_the_types_that_the_op_has():
    node = op.node(op.INPUTS[:3], "Y", axes=(2, 3), epsilon=1)
    assert {a.name: a.type for a in node.attribute} == op.ATTRIBUTES


def portable(x, params, *, opset, axes):
    """A file with one FRN node and its body; returns the model."""
    x_type = TYPES[x.dtype]
    names = op.INPUTS[: 1 + len(params)]
    dims = ["N", *(f"d{i}" for i in range(1, x.ndim))]
    graph = helper.make_graph(
        [op.node(names, "Y", axes=axes, epsilon=EPSILON, name="frn")],
        "one_frn",
        [helper.make_tensor_value_info("X", x_type, dims)],
        [helper.make_tensor_value_info("Y", x_type, dims)],
        [numpy_helper.from_array(p, n) for p, n in zip(params, names[1:], strict=True)],
    )
    function = op_body.function_proto(
        opset=opset,
        inputs=len(names),
        x_types={x_type},
        param_types={TYPES[p.dtype] for p in params},
    )
    return helper.make_model(
        graph,
        functions=[function],
        opset_imports=[helper.make_opsetid("", opset), helper.make_opsetid(op.DOMAIN, op.VERSION)],
        ir_version=op.FUNCTION_IR_VERSION,
    )


def run_everywhere(model, x):
    ort = pytest.importorskip("onnxruntime")
    yield ort.InferenceSession(model.SerializeToString()).run(None, {"X": x})[0]
    yield onnx.reference.ReferenceEvaluator(model).run(None, {"X": x})[0]


@pytest.mark.parametrize("opset", [13, 14, 15, 17, 18, 21, 23])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
@pytest.mark.parametrize("axes", [(2, 3), (1, 2), (2,), (1, 2, 3)])
def test_body_is_the_formula(rng, opset, dtype, axes):
    opsets.needs(opset)
    shape = {4: (2, 3, 4, 5), 3: (2, 3, 7), 5: (2, 3, 4, 2, 3)}[len(axes) + 2]
    x = (rng.normal(size=shape) * 3 - 1).astype(dtype)
    channels = shape[op.channel_axis(axes)]
    param_dtype = np.float32 if dtype == np.float16 else dtype
    params = [rng.normal(size=op.param_shape(axes, channels)).astype(param_dtype) for _ in range(3)]
    model = portable(x, params, opset=opset, axes=axes)
    onnx.checker.check_model(model, full_check=True)
    case = {"epsilon": EPSILON, "axes": axes}
    expected = reference.frn(x, *params, **case)
    bound = tolerances.frn_bound(x, *params, dtype=dtype, **case)
    for y in run_everywhere(model, x):
        assert y.dtype == dtype
        tolerances.assert_within(y, expected, bound)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_optional_inputs(rng, count):
    x = (rng.normal(size=(2, 3, 4, 5)) * 3 - 1).astype(np.float32)
    params = [rng.normal(size=(3, 1, 1)).astype(np.float32) for _ in range(count)]
    if count == 4:
        params[3] = np.abs(params[3])
    expected = reference.frn(
        x, *params[:3], epsilon=params[3] if count == 4 else EPSILON, axes=(2, 3)
    )
    model = portable(x, params, opset=18, axes=(2, 3))
    bound = tolerances.frn_bound(x, *params[:2], epsilon=EPSILON, axes=(2, 3))
    for y in run_everywhere(model, x):
        tolerances.assert_within(y, expected, bound)


def test_half_activations_beyond_256_do_not_overflow(rng):
    x = (rng.normal(size=(1, 2, 8, 8)) * 4000).astype(np.float16)
    params = [rng.normal(size=(2, 1, 1)).astype(np.float16) for _ in range(3)]
    expected = reference.frn(x, *params, epsilon=EPSILON, axes=(2, 3))
    bound = tolerances.frn_bound(x, *params, epsilon=EPSILON, axes=(2, 3), dtype=np.float16)
    for y in run_everywhere(portable(x, params, opset=17, axes=(2, 3)), x):
        tolerances.assert_within(y, expected, bound)


def test_nan_passes_the_threshold(rng):
    x = rng.normal(size=(1, 2, 3, 3)).astype(np.float32)
    x[0, 1, 0, 0] = np.nan
    params = [rng.normal(size=(2, 1, 1)).astype(np.float32) for _ in range(3)]
    for y in run_everywhere(portable(x, params, opset=18, axes=(2, 3)), x):
        assert np.isnan(y[0, 1]).all()
        assert not np.isnan(y[0, 0]).any()


def test_several_half_types_need_cast_like():
    case = {"inputs": 4, "x_types": {TensorProto.FLOAT, TensorProto.FLOAT16}, "param_types": {1}}
    with pytest.raises(ModelError, match=r"needs opset 15 or newer.*received opset 14"):
        op_body.function_proto(opset=14, **case)
    assert any(n.op_type == "CastLike" for n in op_body.function_proto(opset=15, **case).node)


def test_axes_carry_the_layout():
    for rank in op.RANKS:
        for axes in itertools.combinations(range(1, rank), rank - 2):
            channel = op.channel_axis(axes)
            assert {0, channel, *axes} == set(range(rank))
            assert op.param_shape(axes, 7) == (7,) + (1,) * (rank - 1 - channel)


def test_negative_axes_count_from_the_back():
    assert op.normalize_axes([-1, -2]) == (2, 3)
    with pytest.raises(ShapeError, match="received axes=\\[0, 1\\]"):
        op.normalize_axes([0, 1])
