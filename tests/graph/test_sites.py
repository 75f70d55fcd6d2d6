"""Where FRN nodes and what they are stored with are: graphs, subgraphs and functions."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper, parser

from frn_onnx import op
from frn_onnx.graph import protos, sites

TEXT = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1, "local": 1]>
main (float[N,3,H,W] x, bool c) => (float[N,3,H,W] y, float[N,3,H,W] z)
<float[3,1,1] p = {1, 2, 3}, float[3,1,1] q = {4, 5, 6}>
{
  [if] y = If (c) <
    then_branch = yes () => (float[N,3,H,W] t) <float[1] inner = {7}> {
      [in] t = frn_onnx.FilterResponseNormalization <axes = [2,3]> (x, p, q, "", q)
    },
    else_branch = no () => (float[N,3,H,W] e) { e = Neg (x) }>
  k = Constant <value = float[1] {8}> ()
  [call] z = local.Block <fill = 0.5> (x, p, q)
}
<domain: "local", opset_import: ["": 18, "frn_onnx": 1]>
Block <fill> (x, g, b) => (y) {
  m = Constant <value_float: float = @fill> ()
  n = Constant <value = float[1] {9}> ()
  [fun] y = frn_onnx.FilterResponseNormalization <axes = [2,3]> (x, g, b)
}
"""


def model() -> ir.Model:
    return ir.from_proto(parser.parse_model(TEXT))


def test_frn_sites():
    found = sites.frn_sites(model())
    assert [site.label for site in found] == ["if/then_branch/in", "local::Block/fun"]
    assert [site.scope.function is None for site in found] == [True, False]
    names = [{k: v.name for k, v in site.parameters().items()} for site in found]
    assert names == [
        {"gamma": "p", "beta": "q", "epsilon": "q"},
        {"gamma": "g", "beta": "b"},
    ]
    assert [site.attributes() for site in found] == [((2, 3), 1e-6)] * 2


def test_a_node_without_a_name_goes_by_its_output():
    node = ir.node("Relu", [ir.Value(name="x")])
    assert sites.name_of(node) == "Relu"
    node.outputs[0].name = "y"
    assert sites.name_of(node) == "y"
    node.name = "relu"
    assert sites.name_of(node) == "relu"


def test_scopes():
    found = [scope.where for scope in sites.scopes(model())]
    assert found == ["", "if/then_branch", "if/else_branch", "local::Block"]


def test_initializers_and_tensors():
    assert [value.name for value in sites.initializers(model())] == ["p", "q", "inner"]
    numbers = [tensor.numpy().reshape(-1).tolist() for tensor in sites.tensors(model())]
    assert numbers == [[1, 2, 3], [4, 5, 6], [7], [8], [9]]


def test_lists_of_tensors_and_of_graphs():
    proto = parser.parse_model(TEXT)
    node = proto.graph.node.add(domain="local", op_type="Many", output=["w"], name="many")
    tensors = [numpy_helper.from_array(np.float32([i])) for i in (10, 11)]
    graphs = [onnx.GraphProto(name=name) for name in ("a", "b")]
    node.attribute.append(helper.make_attribute("tensors", tensors))
    node.attribute.append(helper.make_attribute("graphs", graphs))
    found = ir.from_proto(proto)
    assert [t.numpy().item() for t in sites.tensors(found) if t.size == 1] == [7, 8, 10, 11, 9]
    assert [scope.where for scope in sites.scopes(found)][3:5] == ["many/graphs"] * 2
    (many,) = (node for node in found.graph if node.name == "many")
    sites.change_tensors(many, lambda tensor: ir.tensor(tensor.numpy() + 1))
    assert [t.numpy().item() for t in many.attributes["tensors"].as_tensors()] == [11, 12]
    assert len(list(protos.graph_protos(proto))) == 5


def test_attributes_of_a_function_around_hold_nothing():
    made = model()
    (function,) = made.functions.values()
    node = next(iter(function.graph))
    kinds = {"g": ir.AttributeType.GRAPH, "gs": ir.AttributeType.GRAPHS}
    kinds |= {"t": ir.AttributeType.TENSOR, "ts": ir.AttributeType.TENSORS}
    for name, kind in kinds.items():
        node.attributes[name] = ir.RefAttr(name, name, kind)
    assert list(sites.subgraphs(node)) == []
    assert len(list(sites.tensors(made))) == 5


def test_opset():
    made = model()
    assert sites.opset(made) == 18
    del made.opset_imports[""]
    assert sites.opset(made) == 1
    made.opset_imports["ai.onnx"] = 17
    assert sites.opset(made) == 17


@pytest.mark.parametrize("op_type", op.SIGNATURES)
def test_frn_functions(op_type):
    made = model()
    assert sites.frn_functions(made) == []
    (function,) = made.functions.values()
    function.domain, function.name = "frn_onnx", op_type
    made.functions.clear()
    made.functions[function.identifier()] = function
    assert sites.frn_functions(made) == [function]
