"""A function under the name of an op is only replaced by the op where it computes the same."""

import graph_models
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from frn_onnx import op, op_body
from frn_onnx.errors import ModelError
from frn_onnx.graph import bodies, convert, fuse, inspect, lower

TYPES = [
    {TensorProto.FLOAT},
    {TensorProto.FLOAT16},
    {TensorProto.BFLOAT16},
    {TensorProto.DOUBLE},
    {TensorProto.FLOAT, TensorProto.FLOAT16},
]


@pytest.fixture
def portable(rng):
    return lower(graph_models.parse(graph_models.CNN, rng), "portable")


def change(model: onnx.ModelProto, op_type: str, new: str) -> None:
    """Puts another op in the place of one of the body."""
    (function,) = (f for f in model.functions if f.name == op.OP_TYPE)
    next(node for node in function.node if node.op_type == op_type).op_type = new


@pytest.mark.parametrize("op_type", op.SIGNATURES)
@pytest.mark.parametrize(
    ("opset", "types"),
    # Before opset 15 there is no CastLike, which several types take.
    [(n, types) for n in (8, 13, 18) for types in TYPES if n > 14 or len(types) == 1],
)
def test_every_body_that_is_written(op_type, opset, types):
    least, most = op.required_inputs(op_type), len(op.SIGNATURES[op_type])
    for count in range(least if opset >= 12 else most, most + 1):
        for param_types in (types, {TensorProto.FLOAT}):
            proto = op_body.function_proto(
                opset=opset, inputs=count, x_types=types, param_types=param_types, op_type=op_type
            )
            function = ir.serde.deserialize_function(proto)
            for attributes in ({"axes": (2, 3), "epsilon": 0.25}, {"axes": (1,), "epsilon": 1e-6}):
                assert bodies._agrees(function, attributes)
                # It was tried, and not left.
                feeds = bodies._feeds(function, attributes["axes"], attributes["epsilon"])
                assert bodies._run(function, feeds, attributes) is not None


@pytest.mark.parametrize(
    "work",
    [
        fuse,
        inspect,
        lambda model: lower(model, "custom"),
        lambda model: lower(model, "primitives"),
        convert,
    ],
)
def test_another_body_is_refused(portable, work):
    """Without the root it is another norm, that nobody asked to be replaced by FRN."""
    change(portable, "Sqrt", "Identity")
    before = portable.SerializeToString()
    with pytest.raises(ModelError, match="computes something else than the op of that name"):
        work(portable)
    assert portable.SerializeToString() == before


def test_what_cannot_be_tried_is_not_told(portable):
    change(portable, "Sqrt", "NoSuchOp")
    assert [node.op_type for node in lower(portable, "custom").graph.node].count(op.OP_TYPE) == 2


@pytest.mark.parametrize("inputs", [["X"], ["X", "gamma"]])
def test_a_function_that_no_node_can_call(portable, inputs):
    """It takes less than each of them gives: there is nothing to try it on."""
    (function,) = (f for f in portable.functions if f.name == op.OP_TYPE)
    function.node[0].CopyFrom(helper.make_node("Identity", ["X"], ["Y"]))
    del function.node[1:]
    function.input[:] = inputs
    assert len(inspect(portable).frn) == 2


def test_each_input_counts():
    """A body that leaves an input, or an attribute, out."""
    for left_out, put_in in (("beta", "gamma"), ("tau", "beta"), ("epsilon", "gamma")):
        proto = op_body.function_proto(
            opset=18, inputs=5, x_types={TensorProto.FLOAT}, param_types={TensorProto.FLOAT}
        )
        for node in proto.node:
            node.input[:] = [put_in if name == left_out else name for name in node.input]
        function = ir.serde.deserialize_function(proto)
        assert not bodies._agrees(function, {"axes": (2, 3), "epsilon": 0.25})


def fix(model: onnx.ModelProto, attribute) -> None:
    """Lets the body have an attribute that is no more given to it."""
    (function,) = (f for f in model.functions if f.name == op.OP_TYPE)
    for node in function.node:
        for old in node.attribute:
            if old.ref_attr_name == attribute.name:
                name = old.name
                old.CopyFrom(attribute)
                old.name = name


@pytest.mark.parametrize(
    ("attribute", "given", "fits"),
    [
        (helper.make_attribute("epsilon", 0.25), 0.25, True),
        (helper.make_attribute("epsilon", 0.25), 0.1, False),
        (helper.make_attribute("epsilon", 0.0), 1e-6, False),
        (helper.make_attribute("axes", [2, 3]), 0.1, True),
        (helper.make_attribute("axes", [1, 2]), 0.1, False),
    ],
)
def test_it_is_tried_as_it_is_called(portable, attribute, given, fits):
    fix(portable, attribute)
    for node in graph_models.frn_nodes(portable):
        (epsilon,) = (a for a in node.attribute if a.name == "epsilon")
        epsilon.f = given
    if fits:
        assert len(inspect(portable).frn) == 2
    else:
        with pytest.raises(ModelError, match="computes something else"):
            inspect(portable)


@pytest.mark.parametrize("epsilon", [0.0, 1e-40, 1e-12, 1.0, 1e36])
@pytest.mark.parametrize("dtype", ["float", "float16"])
def test_any_epsilon(rng, epsilon, dtype):
    model = graph_models.parse(graph_models.CNN, rng, dtype=dtype)
    for node in graph_models.frn_nodes(model):
        (attribute,) = (a for a in node.attribute if a.name == "epsilon")
        attribute.f = epsilon
    assert len(inspect(lower(model, "portable")).frn) == 2


@pytest.mark.parametrize("default", [op.DEFAULT_EPSILON, 0.5])
@pytest.mark.parametrize("stated", [True, False])
def test_a_default_of_its_own(portable, stated, default):
    (function,) = (f for f in portable.functions if f.name == op.OP_TYPE)
    function.attribute.remove("epsilon")
    function.attribute_proto.append(helper.make_attribute("epsilon", default))
    for node in graph_models.frn_nodes(portable) if not stated else ():
        node.attribute.remove(next(a for a in node.attribute if a.name == "epsilon"))
    if stated or default == op.DEFAULT_EPSILON:
        assert len(inspect(portable).frn) == 2
    else:
        with pytest.raises(ModelError, match="computes something else"):
            inspect(portable)
