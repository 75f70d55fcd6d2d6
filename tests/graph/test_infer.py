"""What inference tells of values, where ONNX alone would stop at FRN."""

import graph_models
import onnx_ir as ir

from frn_onnx.graph import infer

MODEL = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1, "local": 1]>
main (float16[N,3,H,5] x, bool c) => (float16[N,3,H,5] y, float16[N,3,H,5] z) <float[3,1,1] p>
{
  a = frn_onnx.FilterResponseNormalization <axes = [2,3]> (x, p, p)
  y = If (c) <
    then_branch = yes () => (float16[N,3,H,5] t) { u = Relu (a)  t = Neg (u) },
    else_branch = no () => (float16[N,3,H,5] e) { e = Abs (a) }>
  z = frn_onnx.ResidualFilterResponseNormalization <axes = [2,3]> (a, x, p, p)
}
"""


def test_values_outputs_and_those_of_branches(rng):
    model = ir.from_proto(graph_models.parse(MODEL, rng))
    for value in model.graph.outputs:
        value.type = value.shape = None
    found = infer.types(model)
    values = {value.name: value for node in model.graph.all_nodes() for value in node.outputs}
    assert set(values) == set("ayzute")
    for value in (*values.values(), model.graph.inputs[0]):
        assert found[value] == (ir.DataType.FLOAT16, ("N", 3, "H", 5))
    assert all(value.shape is None for value in model.graph.outputs)


def test_a_model_that_imports_the_op_alone(rng):
    text = """
    <ir_version: 8, opset_import: ["frn_onnx": 1]>
    main (float[2,3,4,5] x, float[3] p) => (float y)
    {
      y = frn_onnx.FilterResponseNormalization <axes = [2,3]> (x, p, p)
    }
    """
    model = ir.from_proto(graph_models.parse(text, rng))
    (y,) = model.graph.outputs
    y.type = y.shape = None
    assert infer.types(model)[y] == (ir.DataType.FLOAT, (2, 3, 4, 5))


QUANTISED = """
<ir_version: 8, opset_import: ["": 13, "com.microsoft": 1]>
main (float[N,3,H,5] x) => (float y) <float s = {0.1}, uint16 z = {7}>
{
  q = com.microsoft.QuantizeLinear (x, s, z)
  a = com.microsoft.QLinearAdd (q, s, z, q, s, z, s, z)
  m = com.microsoft.QLinearMul (a, s, z, z, s, z, s, z)
  i = com.microsoft.QLinearSigmoid (m, s, z, s, z)
  l = com.microsoft.QLinearLeakyRelu <alpha: float = 0.1> (i, s, z, s, z)
  y = com.microsoft.DequantizeLinear (l, s, z)
}
"""


def test_what_onnx_runtime_quantises(rng):
    """16-bit integers are beyond ONNX's own ops before opset 21."""
    model = ir.from_proto(graph_models.parse(QUANTISED, rng))
    model.graph.outputs[0].shape = None
    found = infer.types(model)
    for node in model.graph:
        assert found[node.outputs[0]].dims == ("N", 3, "H", 5)
    assert found[model.graph.outputs[0]].dtype == ir.DataType.FLOAT
    assert {node.domain for node in model.graph} == {"com.microsoft"}
