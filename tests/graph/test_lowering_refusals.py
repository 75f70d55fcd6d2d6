"""What cannot become another form, and where there is no FRN: it is said which, and why."""

import graph_models
import onnx
import pytest

from frn_onnx import op
from frn_onnx.errors import ArgumentError, FrnWarning, ModelError, ShapeError
from frn_onnx.graph.forms import FORMS, form_of
from frn_onnx.graph.lowering import lower


def test_no_frn_at_all(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[N,3] x) => (float[N,3] y) { y = Relu (x) }""",
        rng,
    )
    assert lower(model, "primitives") == graph_models.plain(model)
    with pytest.warns(
        FrnWarning, match=r"no FRN was found; .* its form 'portable', too\.$"
    ) as told:
        assert lower(model, "portable") == graph_models.plain(model)
    assert told[0].filename == __file__


def test_what_is_no_frn_is_told(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 13]>
        g (float[N,3,H,W] x) => (float[N,3,H,W] y) <float epsilon = {0.5}>
        {
          s = Mul (x, x)
          m = ReduceMean <axes = [2, 3]> (s)
          r = Sqrt (m)
          e = Add (r, epsilon)
          y = Div (x, e)
        }""",
        rng,
    )
    with pytest.warns(FrnWarning, match=r"with the reasons:\n  y: epsilon is added outside"):
        assert lower(model, "custom") == graph_models.plain(model)


def test_bad_arguments(rng):
    model = graph_models.parse(graph_models.ONE_NODE, rng)
    with pytest.raises(ArgumentError, match="portable, custom, primitives, received 'fast'"):
        lower(model, "fast")
    with pytest.raises(ArgumentError, match="received int"):
        lower(3, "portable")


def test_old_opsets_are_refused_where_the_body_is_needed(rng):
    model = graph_models.parse(graph_models.ONE_NODE.replace('"": 18', '"": 7'), rng)
    for form in ("portable", "primitives"):
        with pytest.raises(ModelError, match=r"opset 8 or newer, the model has 7.*convert_version"):
            lower(model, form)
    assert form_of(lower(model, "custom")) == "custom"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ("<axes = [1,2]>", ModelError, "'only' has no attribute 'axes'"),
        ("<axes = [1,1]>", ShapeError, r"distinct axes.*received axes=\[1, 1\]"),
        ("(x, gamma)", ModelError, "'only': expected 3 to 5 inputs .*, received 2"),
        ('"frn_onnx": 9', ModelError, "version 9 of the opset 'frn_onnx'.*knows version 1"),
        ("int32[N,H,W,3] x", ModelError, "'only': the types of X .* received INT32"),
        ("<axes = [1,2], epsilon = -1.0>", ModelError, "'only': epsilon must be .* received -1.0"),
        ("<axes = [1,2], eps = 0.1>", ModelError, "'only' .* 'eps', .* expected axes and epsilon"),
        ("<axes = [1]>", ModelError, r"'only': X must have rank 3, .* \('N', 'H', 'W', 3\)"),
        ("<axes = [2,3]>", ModelError, r"'only': gamma must .* \('H', 1, 1\), received \(3,\)"),
        ("float[N,H,W,4] x", ModelError, r"gamma must have shape \(4,\), received \(3,\); X has"),
    ],
)
def test_wrong_nodes_are_named(rng, change, error, message):
    text = graph_models.ONE_NODE
    if change.startswith("<"):
        text = text.replace("<axes = [1,2]>", "" if "no attribute" in message else change)
    elif change.startswith("("):
        text = text.replace("(x, gamma, beta, tau)", change)
    elif change.startswith('"'):
        text = text.replace('"frn_onnx": 1', change)
    else:
        text = text.replace("float[N,H,W,3] x", change)
    with pytest.raises(error, match=message):
        lower(graph_models.parse(text, rng), "portable")


def test_attributes_of_the_function_around_are_refused(rng):
    text = graph_models.EVERYWHERE.replace("Block (x, g, b)", "Block <axes> (x, g, b)").replace(
        "[five] y = frn_onnx.FilterResponseNormalization <axes = [2,3]>",
        "[five] y = frn_onnx.FilterResponseNormalization <axes: ints = @axes>",
    )
    with pytest.raises(ModelError, match=r"local::Block/five.*inline that function first"):
        lower(graph_models.parse(text, rng), "portable")


@pytest.mark.parametrize(
    ("wrong", "dtype", "message"),
    [
        ("gamma", "double", "gamma must be FLOAT or FLOAT16, received DOUBLE"),
        ("residual", "float", "residual must be FLOAT16, received FLOAT"),
        ("epsilon", "float16", "epsilon must be FLOAT, received FLOAT16"),
    ],
)
def test_types_that_sessions_refuse(wrong, dtype, message):
    types = {"residual": "float16", "gamma": "float", "beta": "float16", "epsilon": "float"}
    types[wrong] = dtype
    dims = dict.fromkeys(types, "C") | {"residual": "N,W,C"}
    inputs = ", ".join(f"{types[name]}[{dims[name]}] {name}" for name in types)
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]> '
        f"g (float16[N,W,C] x, {inputs}) => (float16[N,W,C] y) {{ [n] y = "
        f'frn_onnx.{op.RESIDUAL_OP_TYPE} <axes = [1]> (x, residual, gamma, beta, "", epsilon) }}'
    )
    for form in FORMS:
        with pytest.raises(ModelError, match=f"FRN node 'n': {message}"):
            lower(model, form)
