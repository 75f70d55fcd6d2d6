"""Small changes to a graph."""

import onnx
import onnx_ir as ir

from frn_onnx.graph import edit

TEXT = """
<ir_version: 8, opset_import: ["": 18]>
g (float[2] x) => (float[2] y)
<float[2] scale = {1, 2}>
{
  a = Neg (x) b = Mul (a, scale) y = Abs (x)
}
"""


def model(**annotation: str) -> ir.Model:
    """A model of which nothing needs a and b; the output y is annotated."""
    proto = onnx.parser.parse_model(TEXT)
    note = proto.graph.quantization_annotation.add(tensor_name="y")
    for key, value in annotation.items():
        note.quant_parameter_tensor_names.add(key=key, value=value)
    return ir.from_proto(proto)


def test_what_is_said_of_a_value_goes_with_its_name():
    made = model(SCALE_TENSOR="scale")
    (old,) = made.graph.outputs
    old.doc_string = "the output"
    old.metadata_props["of"] = "y"
    a = made.graph[0].outputs[0]
    edit.take_over(old, a)
    assert (a.name, a.doc_string, a.metadata_props) == ("y", "the output", {"of": "y"})
    assert list(made.graph.outputs) == [a]
    assert (old.doc_string, old.metadata_props) == (None, {})
    old.name = "old"
    (annotation,) = ir.to_proto(made).graph.quantization_annotation
    assert annotation.tensor_name == "y"


def test_what_is_said_of_a_node_goes_to_the_one_in_its_place():
    made = model()
    old, new = made.graph[0], made.graph[1]
    old.doc_string = "the node"
    old.metadata_props["of"] = "a"
    edit.move_descriptions(old, new)
    assert (new.doc_string, new.metadata_props) == ("the node", {"of": "a"})
    assert (old.doc_string, old.metadata_props) == (None, {})


class TestUnused:
    def test_is_removed_with_what_only_it_needs(self):
        made = model()
        edit.keep_annotated(made)
        edit.remove_unused(made.graph[1].outputs[0])
        assert [node.op_type for node in made.graph] == ["Abs"]
        assert not made.graph.initializers

    def test_what_an_annotation_names_stays(self):
        made = model(SCALE_TENSOR="scale", ZERO_POINT_TENSOR="elsewhere")
        edit.keep_annotated(made)
        edit.remove_unused(made.graph[1].outputs[0])
        assert [node.op_type for node in made.graph] == ["Abs"]
        assert list(made.graph.initializers) == ["scale"]
