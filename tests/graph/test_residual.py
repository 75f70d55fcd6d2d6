"""FRN, the Add behind it and the threshold behind that, taken as one node."""

import logging

import graph_models
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frn_onnx import op
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.half import convert
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.summary import inspect
from frn_onnx.op_schema import register_onnx_schema

BLOCK = """
<ir_version: 8, opset_import: ["": OPSET, "frn_onnx": 1]>
block (float[N,3,H,W] x, float[N,3,H,W] r, float[N,3,1,1] narrow) => (float[N,3,H,W] y)
<float[3,1,1] gamma, float[3,1,1] beta, float[3,1,1] tau, float[1] zero, float[3,1,1] epsilon>
{
  [frn] f = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.1> (INPUTS)
  [add] s = ADD
  TAIL
}
"""
ONE_FRN = "x, gamma, beta"


def block(rng, *, opset=18, inputs=ONE_FRN, add="Add (f, r)", tail="[relu] y = Relu (s)"):
    text = BLOCK.replace("OPSET", str(opset)).replace("INPUTS", inputs)
    return graph_models.parse(text.replace("ADD", add).replace("TAIL", tail), rng)


def kinds(model):
    return [node.op_type for node in model.graph.node]


def feeds_of(rng, shape=(2, 3, 5, 4)):
    n, c = shape[:2]
    shapes = {"x": shape, "r": shape, "narrow": (n, c, 1, 1)}
    return {name: (rng.normal(size=s) * 2 + 0.3).astype(np.float32) for name, s in shapes.items()}


def assert_same(rng, before, after):
    feeds = feeds_of(rng)
    if not after.functions:
        after = lower(after, "portable")
    (expected,), (y,) = (
        graph_models.run(lower(before, "portable"), feeds),
        graph_models.run(after, feeds),
    )
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["custom", "portable", "primitives"])
@pytest.mark.parametrize("add", ["Add (f, r)", "Add (r, f)", "Sum (r, f)"])
@pytest.mark.parametrize(
    "tail",
    [
        "[relu] y = Relu (s)",
        "[max] y = Max (tau, s)",
        "[max] y = Max (s, zero)",
        "[max] y = Max (zero, s, tau)",
        "[clip] y = Clip (s, epsilon1)",
        "[none] y = Identity (s)",
    ],
)
def test_a_block_becomes_one_node(rng, form, add, tail):
    before = block(rng, add=add, tail=tail.replace("epsilon1", "zero"))
    if "clip" in tail:
        before.graph.initializer.append(numpy_helper.from_array(np.float32(-0.2), "low"))
        before.graph.node[-1].input[1] = "low"
    before.graph.node[0].doc_string = "the norm"
    fused = fuse(before, form=form)
    assert_same(rng, before, fused.model)
    (node,) = fused.fused
    assert node.has_residual
    assert node.has_tau == ("none" not in tail)
    assert node.replaced == ("frn", "add", tail[1 : tail.index("]")])[: 3 if node.has_tau else 2]
    if form != "primitives":
        (frn,) = graph_models.frn_nodes(fused.model)
        assert frn.op_type == op.RESIDUAL_OP_TYPE
        assert (frn.name, frn.doc_string) == ("frn", "the norm")


@pytest.mark.parametrize(
    ("inputs", "opset"),
    [("x, gamma, beta", 13), ("x, gamma, beta, , epsilon", 18), ("x, gamma, beta", 8)],
)
def test_epsilons_and_opsets(rng, inputs, opset):
    before = block(rng, inputs=inputs, opset=opset)
    after = fuse(before).model
    assert_same(rng, before, after)
    onnx.checker.check_model(after, full_check=True)
    assert [function.name for function in after.functions] == [op.RESIDUAL_OP_TYPE]


@pytest.mark.parametrize(
    ("case", "left"),
    {
        "a threshold in front": ({"inputs": "x, gamma, beta, tau"}, ["Add", "Relu"]),
        "broadcast": ({"add": "Add (f, narrow)"}, ["Add", "Relu"]),
        "a constant": ({"add": "Add (f, beta)"}, ["Add", "Relu"]),
        "twice the same": ({"add": "Add (f, f)"}, ["Add", "Relu"]),
        "read elsewhere": (
            {"tail": "[relu] t = Relu (s)\n [more] y = Mul (t, f)"},
            ["Add", "Relu", "Mul"],
        ),
        "a subtraction": ({"add": "Sub (r, f)"}, ["Sub", "Relu"]),
    }.values(),
    ids=str,
)
def test_what_is_no_block_stays(rng, case, left):
    before = block(rng, **case)
    after = fuse(before, form="custom").model
    assert kinds(after) == [op.OP_TYPE, *left]


@pytest.mark.parametrize(
    "tail",
    [
        "[clip] y = Clip (s, low, high)",
        "[max] y = Max (s, r)",
        "[max] y = Max (s, r, zero)",
        "[elu] y = Elu (s)",
        "[relu] t = Relu (s)\n [more] y = Mul (t, s)",
        "[max] y = Max (s, rows)",
        "[max] y = Max (s, nan)",
    ],
)
def test_another_tail_stays_behind_the_node(rng, tail):
    before = block(rng, tail=tail)
    for name, values in {
        "low": np.float32(-0.2),
        "high": np.float32(0.5),
        "rows": rng.normal(size=(5, 1)),
        "nan": np.full((1,), np.nan),
    }.items():
        if name in tail:
            array = np.asarray(values, np.float32)
            before.graph.initializer.append(numpy_helper.from_array(array, name))
    after = fuse(before, form="custom").model
    assert kinds(after)[0] == op.RESIDUAL_OP_TYPE
    assert len(graph_models.frn_nodes(after)[0].input) == 4
    if "nan" not in tail:
        assert_same(rng, before, after)


def test_of_two_frn_the_later_takes_the_other(rng):
    text = BLOCK.replace("OPSET", "18").replace("INPUTS", "x, gamma, beta")
    text = text.replace(
        "[add] s = ADD",
        "[other] g = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.3>"
        " (r, beta, gamma)\n  [add] s = Add (f, g)",
    ).replace("TAIL", "[relu] y = Relu (s)")
    before = graph_models.parse(text, rng)
    after = fuse(before, form="custom").model
    assert [node.name for node in after.graph.node] == ["frn", "other"]
    assert kinds(after) == [op.OP_TYPE, op.RESIDUAL_OP_TYPE]
    assert_same(rng, before, after)


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_sizes_that_might_differ_are_not_added(rng, missing):
    before = block(rng)
    dim = before.graph.input[1].type.tensor_type.shape.dim[missing]
    dim.Clear()
    if missing != 1:
        dim.dim_param = "other"
    kinds_after = kinds(fuse(before, form="custom").model)
    assert kinds_after == [op.OP_TYPE, "Add", "Relu"]


def test_it_is_tried_on_numbers(rng, monkeypatch, caplog):
    from frn_onnx.graph import residual

    monkeypatch.setattr(residual, "_tau", lambda site, threshold, *_: np.full(1, 0.5))
    after = fuse(block(rng), form="custom").model
    assert kinds(after) == [op.OP_TYPE, "Add", "Relu"]
    assert "a fault of the matcher" in caplog.text


def test_a_block_in_standard_ops_is_found_whole(rng):
    primitives = lower(fuse(block(rng), form="custom").model, "primitives")
    assert op.DOMAIN not in {node.domain for node in primitives.graph.node}
    result = fuse(primitives)
    (node,) = result.fused
    assert (node.has_residual, node.has_tau) == (True, True)
    assert_same(rng, primitives, result.model)


def test_forms_go_around(rng):
    custom = fuse(block(rng, inputs="x, gamma, beta, , epsilon"), form="custom").model
    portable = lower(custom, "portable")
    assert graph_models.plain(lower(portable, "custom")) == graph_models.plain(custom)
    assert_same(rng, custom, lower(custom, "primitives"))
    register_onnx_schema()
    try:
        onnx.checker.check_model(custom, full_check=True)
    finally:
        for op_type in op.SIGNATURES:
            onnx.defs.deregister_schema(op_type, op.VERSION, op.DOMAIN)


def test_inspect_tells_of_it(rng):
    (node,) = inspect(fuse(block(rng)).model).frn
    assert node.residual
    assert set(node.parameters) == {"gamma", "beta", "tau"}


@pytest.mark.parametrize("to", ["float16", "bfloat16"])
def test_half_precision_keeps_the_parameters_wide(rng, to):
    half = convert(fuse(block(rng)).model, to=to, keep_io_types=False)
    node = next(n for n in half.graph.node if n.op_type == op.RESIDUAL_OP_TYPE)
    types = {value.name: value.data_type for value in half.graph.initializer}
    assert {types[name] for name in node.input[2:] if name} == {onnx.TensorProto.FLOAT}
    wanted = onnx.TensorProto.DataType.Value(to.upper())
    assert {v.type.tensor_type.elem_type for v in half.graph.input} == {wanted}


def test_transposes_around_a_block_go(rng):
    text = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
block (float[N,3,H,W] x, float[N,3,H,W] r) => (float[N,3,H,W] y)
<float[3] gamma, float[3] beta>
{
  a = Transpose <perm = [0,2,3,1]> (x)
  b = Transpose <perm = [0,2,3,1]> (r)
  sq = Mul (a, a)
  m = ReduceMean <keepdims = 1> (sq, axes)
  e = Add (m, epsilon)
  q = Sqrt (e)
  n = Div (a, q)
  g = Mul (n, gamma)
  f = Add (g, beta)
  s = Add (b, f)
  t = Relu (s)
  y = Transpose <perm = [0,3,1,2]> (t)
}
"""
    before = graph_models.parse(text, rng)
    before.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, 2]), "axes"),
            numpy_helper.from_array(np.float32(1e-3), "epsilon"),
        ]
    )
    after = fuse(before).model
    assert kinds(after) == [op.RESIDUAL_OP_TYPE]
    feeds = {k: v for k, v in feeds_of(rng).items() if k != "narrow"}
    (expected,), (y,) = graph_models.run(before, feeds), graph_models.run(after, feeds)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_what_cannot_be_tried_is_left(rng, monkeypatch, caplog):
    from frn_onnx.graph import residual

    def fails(*args):
        raise NotImplementedError("no such op")

    monkeypatch.setattr(residual, "in_float64", fails)
    with caplog.at_level(logging.DEBUG, "frn_onnx.graph"):
        assert kinds(fuse(block(rng), form="custom").model) == [op.OP_TYPE, "Add", "Relu"]
    assert "frn could not be tried on numbers: no such op" in caplog.text


def test_a_threshold_keeps_its_digits():
    """In float64, where gamma is float32, it is no float32."""
    before = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
        block (double[N,2,H,W] x, double[N,2,H,W] r) => (double[N,2,H,W] y)
        <float[2,1,1] gamma = {1, 2}, float[2,1,1] beta = {0, 1}, double tau = {0.1}>
        {
          f = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.1> (x, gamma, beta)
          s = Add (f, r) y = Max (s, tau)
        }"""
    )
    (node,) = graph_models.frn_nodes(after := fuse(before, form="custom").model)
    tau = graph_models.parameters(after)[node.input[4]]
    assert (tau.dtype, tau.ravel().tolist()) == (np.float64, [0.1, 0.1])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("float[N,3,H,W] r", "float16[N,3,H,W] r"),
        (
            " narrow) => (float[N,3,H,W] y)\n<float[3,1,1] gamma,",
            " narrow, float[C,1,1] gamma) => (float[N,3,H,W] y)\n<",
        ),
    ],
    ids=["types", "channels"],
)
def test_what_is_not_known_to_fit_is_left(rng, old, new):
    text = BLOCK.replace("OPSET", "18").replace("INPUTS", ONE_FRN).replace(old, new)
    text = text.replace("ADD", "Add (f, r)").replace("TAIL", "y = Relu (s)")
    fused = fuse(graph_models.parse(text, rng), form="custom")
    assert (kinds(fused.model), fused.fused) == ([op.OP_TYPE, "Add", "Relu"], [])
