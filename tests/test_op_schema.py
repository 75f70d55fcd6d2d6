"""ONNX's own checker and inference on the FRN op, once it is registered."""

import subprocess
import sys

import graph_models
import onnx
import pytest

from frn_onnx import op
from frn_onnx.graph.forms import FORMS
from frn_onnx.graph.half import convert
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.summary import inspect
from frn_onnx.op_schema import register_onnx_schema

NODE = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
g (float[N,3,H,W] x, float[3,1,1] p) => (float[N,3,H,W] y)
{
  f = frn_onnx.FilterResponseNormalization <axes = [2,3]> (x, p, p, p, p)
  y = Relu (f)
}
"""


@pytest.fixture(autouse=True)
def _registered():
    register_onnx_schema()
    register_onnx_schema()
    yield
    onnx.defs.deregister_schema(op.OP_TYPE, op.VERSION, op.DOMAIN)


def check(model):
    onnx.checker.check_model(model, full_check=True)


def test_the_schema_is_the_contract():
    schema = onnx.defs.get_schema(op.OP_TYPE, op.DOMAIN)
    assert schema.since_version == op.VERSION
    assert tuple(parameter.name for parameter in schema.inputs) == op.INPUTS
    assert (schema.min_input, schema.max_input) == (op.required_inputs(op.OP_TYPE), len(op.INPUTS))
    assert schema.attributes["axes"].required
    assert schema.attributes["epsilon"].default_value.f == pytest.approx(op.DEFAULT_EPSILON)
    assert len(schema.type_constraints[0].allowed_type_strs) == len(op.DTYPES)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_valid(rng, form):
    check(lower(graph_models.parse(graph_models.CNN, rng), form))


@pytest.mark.parametrize("axes", ["[2,3]", "[-1,2]", "[3,2]"])
def test_shapes_are_inferred_through_the_node(axes):
    model = onnx.parser.parse_model(NODE.replace("[2,3]", axes))
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    value = next(v for v in inferred.graph.value_info if v.name == "f")
    assert value.type == model.graph.input[0].type


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<axes = [2,3]>", "", "axes"),
        ("[2,3]", "[2,2]", "distinct axes"),
        ("[2,3]", "[2]", "distinct axes"),
        ("(x, p, p, p, p)", "(x, p)", "input size 2"),
        ("(x, p, p, p, p)", "(x, p, p, p, p, p)", "input size 6"),
        ("float[3,1,1] p", "float[4,1,1] p", r"gamma must have shape \(3, 1, 1\).*\(4, 1, 1\)"),
        ("float[3,1,1] p", "float[3] p", r"gamma must have shape \(3, 1, 1\).*\(3,\)"),
        ("float[N,3,H,W] x", "int32[N,3,H,W] x", "int32"),
        ("<axes = [2,3]>", "<axes = [2,3], eps = 1.0>", "Unrecognized attribute: eps"),
        ("float[3,1,1] p", "double[3,1,1] p", r"gamma must be of the type of X, tensor\(float\)"),
    ],
)
def test_wrong_nodes_are_refused(old, new, message):
    model = onnx.parser.parse_model(NODE.replace(old, new))
    with pytest.raises(
        (onnx.checker.ValidationError, onnx.shape_inference.InferenceError), match=message
    ):
        check(model)


def test_unknown_shapes_are_no_error():
    for old, new in (
        ("float[N,3,H,W] x", "float[] x"),
        ("float[3,1,1] p", "float[] p"),
        ("float[3,1,1] p", "float[C,1,1] p"),
    ):
        model = onnx.parser.parse_model(NODE.replace(old, new))
        onnx.shape_inference.infer_shapes(model, strict_mode=True)


@pytest.mark.parametrize("to", ["float16", "bfloat16"])
def test_rewrites_do_not_mind(rng, to):
    pytest.importorskip("onnxruntime")
    model = graph_models.parse(graph_models.CNN.replace('"": 18', '"": 22'), rng)
    check(convert(lower(model, "primitives"), to))
    assert inspect(convert(model, to)).frn[0].dtype == to


def test_other_domains_stay_unknown():
    """Registering is by process: without it, onnx does not know the op."""
    code = f"import onnx; assert not onnx.defs.has({op.OP_TYPE!r}, {op.DOMAIN!r})"
    subprocess.run([sys.executable, "-c", code], check=True)
