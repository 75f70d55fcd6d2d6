"""What a file says besides its nodes is there afterwards, whatever is done to it."""

import functools

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from frn_onnx.errors import ModelError
from frn_onnx.graph import convert, fuse, lower
from frn_onnx.graph.forms import FORMS

pytest.importorskip("onnxruntime")

TEXT = """
<ir_version: 9, opset_import: ["": 18, "other": 3]>
g (float[batch,2,width] x) => (float[batch,2,width] y, float[batch,2,width] z)
<int64[1] axes = {2}, float epsilon = {0.01}, float[2,1] gamma = {2.0, 3.0},
 float[2,1] beta = {1.0, -1.0}, float scale = {0.5}>
{
  square = Mul (x, x)
  nu2 = ReduceMean <keepdims = 1> (square, axes)
  shifted = Add (nu2, epsilon)
  root = Sqrt (shifted)
  normal = Div (x, root)
  scaled = Mul (normal, gamma)
  y = Add (scaled, beta)
  z = Relu (y)
}
"""
STEPS = {f"fuse-{form}": functools.partial(fuse, form=form) for form in FORMS}
STEPS |= {f"lower-{form}": functools.partial(lower, form=form) for form in FORMS}
STEPS |= {to: functools.partial(convert, to=to) for to in ("float16", "bfloat16")}


@pytest.fixture
def model():
    """Has all of it."""
    made = onnx.parser.parse_model(TEXT.replace('"": 18', '"": 22'))
    made.producer_name, made.producer_version, made.domain = "me", "1.2", "my.domain"
    made.model_version, made.doc_string = 7, "the model"
    made.metadata_props.add(key="of", value="the model")
    made.graph.doc_string = "the graph"
    made.graph.metadata_props.add(key="of", value="the graph")
    for node in made.graph.node:
        node.doc_string = f"makes {node.output[0]}"
        node.metadata_props.add(key="of", value=node.output[0])
    for value in (*made.graph.input, *made.graph.output):
        value.doc_string = f"the value {value.name}"
        value.metadata_props.add(key="of", value=value.name)
    for name in ("x", "y", "z"):
        annotation = made.graph.quantization_annotation.add(tensor_name=name)
        annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="scale")
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.array([3, 4], np.int64), "sparse"),
        numpy_helper.from_array(np.array([1, 5])),
        [2, 3],
    )
    made.graph.sparse_initializer.append(sparse)
    made.graph.node.append(helper.make_node("Identity", ["sparse"], ["dense"], name="last"))
    made.graph.node[-1].doc_string = "the node"
    made.graph.output.append(helper.make_tensor_value_info("dense", TensorProto.INT64, [2, 3]))
    return made


def changed(step, model):
    result = STEPS[step](model)
    return result if isinstance(result, onnx.ModelProto) else result.model


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("as_ir", [False, True])
def test_everything(model, step, as_ir):
    if as_ir:
        del model.graph.sparse_initializer[:], model.graph.node[-1:], model.graph.output[-1:]
    before = model.SerializeToString(deterministic=True)
    after = changed(step, ir.from_proto(model) if as_ir else model)
    assert model.SerializeToString(deterministic=True) == before
    for field in ("producer_name", "producer_version", "domain", "model_version", "doc_string"):
        assert getattr(after, field) == getattr(model, field)
    assert after.metadata_props == model.metadata_props
    assert after.graph.name == "g"
    assert after.graph.doc_string == "the graph"
    assert after.graph.metadata_props == model.graph.metadata_props
    assert after.graph.input == model.graph.input
    assert after.graph.output == model.graph.output
    annotations = {a.tensor_name: a for a in after.graph.quantization_annotation}
    assert annotations == {a.tensor_name: a for a in model.graph.quantization_annotation}
    assert "scale" in {tensor.name for tensor in after.graph.initializer}
    assert after.graph.sparse_initializer == model.graph.sparse_initializer
    imports = {entry.domain: entry.version for entry in after.opset_import}
    assert (imports[""], imports["other"]) == (22, 3)
    (norm,) = (node for node in after.graph.node if node.doc_string == "makes y")
    assert [entry.value for entry in norm.metadata_props] == ["y"]
    if not as_ir:
        (last,) = (node for node in after.graph.node if node.name == "last")
        assert last.doc_string == "the node"
    onnx.checker.check_model(after)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("version", [3, 4])
def test_old_ir_versions(step, version):
    """Up to version 3 every initializer is an input, too, which stays the constant it was."""
    model = onnx.parser.parse_model(TEXT.replace('"": 18', '"": 22').replace('"scale": 3', ""))
    model.ir_version = version
    for tensor in model.graph.initializer if version == 3 else ():
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        model.graph.input.append(info)
    onnx.checker.check_model(model)
    after = changed(step, model)
    onnx.checker.check_model(after)
    constants = {tensor.name for tensor in after.graph.initializer}
    inputs = [value.name for value in after.graph.input]
    if after.ir_version > 3:
        assert inputs == ["x"]
    else:
        assert constants <= set(inputs)


class TestTraining:
    """training_info: kept where what it uses is there, else refused."""

    @staticmethod
    def trained(model, name):
        info = model.training_info.add()
        gradient = helper.make_node("Neg", [name], ["next"])
        out = helper.make_tensor_value_info("next", TensorProto.FLOAT, None)
        info.algorithm.CopyFrom(helper.make_graph([gradient], "a", [], [out]))
        info.update_binding.add(key=name, value="next")
        return model

    @pytest.mark.parametrize("step", STEPS)
    def test_kept(self, model, step):
        after = changed(step, self.trained(model, "scale"))
        assert after.training_info == model.training_info

    @pytest.mark.parametrize("step", [step for step in STEPS if step != "lower-primitives"])
    def test_refused(self, model, step):
        with pytest.raises(ModelError, match=r"training_info.* uses gamma, which .* any more"):
            changed(step, self.trained(model, "gamma"))


def test_a_function_that_calls_itself_in_a_branch():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18, "local": 1]>
        g (float[N,3] x, bool c) => (float[N,3] y) { y = local.First (x, c) }
        <domain: "local", opset_import: ["": 18, "local": 1]>
        First (x, c) => (y) { y = If (c) <then_branch = t () => (a) { a = local.First (x, c) },
                                         else_branch = e () => (b) { b = Relu (x) }> }"""
    )
    for step in STEPS:
        with pytest.raises(ModelError, match="in a circle: local::First -> local::First"):
            changed(step, model)


def test_a_cycle_of_functions():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18, "local": 1]>
        g (float[N,3] x) => (float[N,3] y) { y = local.First (x) }
        <domain: "local", opset_import: ["": 18, "local": 1]>
        First (x) => (y) { y = local.Second (x) }
        <domain: "local", opset_import: ["": 18, "local": 1]>
        Second (x) => (y) { z = Relu (x)  y = local.First (z) }"""
    )
    circle = r"in a circle: local::(First -> local::Second|Second -> local::First) -> local::"
    for step in STEPS:
        with pytest.raises(ModelError, match=circle):
            changed(step, model)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("initializer", "the initializer 'gamma' is defined twice in 'g'"),
        ("input", "the input 'x' of 'g' is defined twice"),
        ("functions", "the function local::F is defined twice"),
    ],
)
def test_what_is_there_twice(model, field, message):
    if field == "functions":
        model.opset_import.add(domain="local", version=1)
        function = helper.make_function(
            "local", "F", ["x"], ["x"], [], [helper.make_opsetid("", 22)]
        )
        model.functions.extend([function, function])
    else:
        entries = getattr(model.graph, field)
        entries.append(next(e for e in entries if e.name in ("gamma", "x")))
    with pytest.raises(ModelError, match=message):
        fuse(model)
