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
