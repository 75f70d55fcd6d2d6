"""The three forms of a file, and the way from each to each."""

import graph_models
import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest
import tolerances
from graph_models import frn_nodes
from onnx import TensorProto, helper, numpy_helper

from frn_onnx import op, reference
from frn_onnx.errors import ModelError
from frn_onnx.graph import infer, model_io
from frn_onnx.graph.forms import FORMS, form_of
from frn_onnx.graph.fusion import fuse_in_place
from frn_onnx.graph.lowering import lower, lower_file, lower_in_place


@pytest.mark.parametrize("form", ["portable", "primitives"])
@pytest.mark.parametrize("condition", [True, False])
def test_every_node_computes_frn(everywhere, rng, form, condition):
    x = rng.normal(size=(2, 3, 5, 4)).astype(np.float32) * 2 - 1
    model = lower(everywhere, form)
    feeds = {"x": x, "c": np.array(condition)}
    p, q, r, epsilon = (graph_models.parameters(everywhere)[n] for n in ("p", "q", "r", "epsilon"))
    for outputs in (
        graph_models.run(model, feeds),
        onnx.reference.ReferenceEvaluator(model).run(None, feeds),
    ):
        a, b, d, y, z = outputs
        cases = [
            (a, x, p, q, r, np.float32(0.1)),
            (b, a, q, p, None, np.float32(1e-6)),
            (d, b, q, p, None, epsilon),
            (z, np.maximum(d, 0), r, p, None, np.float32(1e-6)),
        ]
        if condition:
            cases.append((y, d, r, p, q, np.float32(0.3)))
        else:
            np.testing.assert_array_equal(y, -d)
        for actual, given, gamma, beta, tau, eps in cases:
            expected = reference.frn(given, gamma, beta, tau, epsilon=eps, axes=(2, 3))
            bound = tolerances.frn_bound(given, gamma, beta, tau, epsilon=eps, axes=(2, 3))
            tolerances.assert_within(actual, expected, bound)


@pytest.mark.parametrize("start", ["portable", "custom"])
def test_portable_and_custom_are_inverse(everywhere, start):
    model = lower(everywhere, start)
    other = "custom" if start == "portable" else "portable"
    assert lower(lower(model, other), start) == model
    assert lower(model, start) == model


def test_portable_is_valid_everywhere(everywhere):
    model = lower(everywhere, "portable")
    onnx.checker.check_model(model, full_check=True)
    assert [(f.domain, f.name) for f in model.functions] == [
        (op.DOMAIN, op.OP_TYPE),
        ("local", "Block"),
    ]
    assert {len(node.input) for node in frn_nodes(model)} == {5}
    assert form_of(model) == "portable"


def test_custom_is_canonical(everywhere):
    model = lower(lower(everywhere, "portable"), "custom")
    assert [list(n.input) for n in frn_nodes(model)] == [
        list(n.input) for n in frn_nodes(everywhere)
    ]
    assert graph_models.parameters(model).keys() == graph_models.parameters(everywhere).keys()
    assert [n.op_type for f in model.functions for n in f.node] == ["Relu", op.OP_TYPE]
    assert form_of(model) == "custom"


def test_primitives_holds_no_custom_domain(everywhere):
    model = lower(everywhere, "primitives")
    onnx.checker.check_model(model, full_check=True)
    assert op.DOMAIN not in str(onnx.printer.to_text(model))
    assert form_of(model) == "primitives"
    assert lower(model, "primitives") == model
    names = [node.name for node in model.graph.node]
    assert len(names) == len(set(names))
    assert {"one", "two", "three", "if", "call"} <= set(names)


@pytest.mark.parametrize("form", FORMS)
def test_what_is_not_frn_is_untouched(everywhere, form):
    everywhere.graph.node[0].doc_string = "first"
    everywhere.graph.node[0].metadata_props.add(key="namespace", value="stem/norm")
    before = everywhere.SerializeToString(deterministic=True)
    model = lower(everywhere, form)
    assert everywhere.SerializeToString(deterministic=True) == before
    for field in ("producer_name", "model_version", "doc_string", "metadata_props"):
        assert getattr(model, field) == getattr(everywhere, field)
    assert model.graph.input == everywhere.graph.input
    assert model.graph.output == everywhere.graph.output
    domains = {entry.domain: entry.version for entry in model.opset_import}
    assert domains == {"": 18, "local": 1, "other": 3} | (
        {} if form == "primitives" else {op.DOMAIN: 1}
    )
    kept = [node for node in model.graph.node if node.name in ("call", "one")]
    assert kept[1] == graph_models.plain(everywhere).graph.node[-1]
    assert (kept[0].doc_string, kept[0].metadata_props[0].value) == ("first", "stem/norm")
    for name, value in graph_models.parameters(everywhere).items():
        np.testing.assert_array_equal(graph_models.parameters(model)[name], value)


@pytest.mark.parametrize("form", FORMS)
def test_strict_inference_gives_a_shape_behind_every_node(rng, form):
    model = graph_models.parse(graph_models.CNN, rng)
    del model.graph.value_info[:]
    lowered = lower(model, form)
    if form == "custom":
        inferred = lowered
    else:
        inferred = onnx.shape_inference.infer_shapes(lowered, strict_mode=True, data_prop=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in inferred.graph.value_info
    }
    assert shapes["f1"][1] == shapes["f2"][1] == 8
    assert len(shapes["f1"]) == len(shapes["f2"]) == 4


def test_stated_shapes_are_kept(rng):
    model = graph_models.parse(graph_models.CNN, rng)
    stated = helper.make_tensor_value_info("f1", TensorProto.FLOAT, ["N", 8, "h", "w"])
    model.graph.value_info.append(stated)
    for form in FORMS:
        assert stated in lower(model, form).graph.value_info


def test_files_without_a_threshold_get_no_max(rng):
    text = graph_models.ONE_NODE.replace("(x, gamma, beta, tau)", "(x, gamma, beta)")
    text = text.replace(", float[3] tau", "")
    model = lower(graph_models.parse(text, rng), "portable")
    assert [len(n.input) for n in frn_nodes(model)] == [3]
    assert "Max" not in {n.op_type for n in model.functions[0].node}


def test_one_layer_and_its_names_are_reused(rng):
    """Names that the body wants are taken: by a node, by a value, by a longer name."""
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
        g (float[N,H,W,3] x) => (float[N,H,W,3] y) <float[3] gamma, float[3] beta>
        {
          "frn/scale" = Relu (x)
          [frn] u = frn_onnx.FilterResponseNormalization <axes = [1,2]> ("frn/scale", gamma, beta)
          [frn] y = frn_onnx.FilterResponseNormalization <axes = [1,2]> (u, gamma, beta)
        }""".replace('"frn/scale"', "frn_scale"),
        rng,
    )
    for node in model.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = name.replace("frn_scale", "frn/scale")
    onnx.checker.check_model(lower(model, "primitives"), full_check=True)
    onnx.checker.check_model(lower(model, "portable"), full_check=True)


@pytest.mark.parametrize(
    ("dtype", "casts"), [("float", 0), ("float16", 2), ("bfloat16", 2), ("double", 1)]
)
def test_the_body_fits_the_types(rng, dtype, casts):
    """float16 and bfloat16 are cast before the square and back; double casts its epsilon."""
    model = graph_models.parse(graph_models.ONE_NODE, rng, dtype=dtype)
    for node in frn_nodes(model):
        for name in ("gamma", "beta", "tau"):
            tensor = next(t for t in model.graph.initializer if t.name == name)
            if dtype.endswith("16"):
                wide = numpy_helper.to_array(tensor).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(wide, name))
        assert node.op_type == op.OP_TYPE
    for form in ("portable", "primitives"):
        lowered = lower(model, form)
        onnx.checker.check_model(lowered, full_check=True)
        nodes = lowered.functions[0].node if form == "portable" else lowered.graph.node
        assert [n.op_type for n in nodes].count("Cast") == casts


def test_a_function_called_with_two_types(rng):
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1, "local": 1]>
        g (float[N,2,W] x) => (float[N,2,W] y, float16[N,2,W] z) <float[2,1] p, float[2,1] q>
        {
          half = Cast <to = 10> (x)
          y = local.Norm (x, p, q)
          z = local.Norm (half, q, p)
        }
        <domain: "local", opset_import: ["": 18, "frn_onnx": 1]>
        Norm (x, g, b) => (y)
        { y = frn_onnx.FilterResponseNormalization <axes = [2], epsilon = 0.5> (x, g, b) }
        """,
        rng,
    )
    x = rng.normal(size=(2, 2, 7)).astype(np.float32)
    p, q = graph_models.parameters(model)["p"], graph_models.parameters(model)["q"]
    for form in ("portable", "primitives"):
        y, z = graph_models.run(lower(model, form), {"x": x})
        half = x.astype(np.float16)
        for actual, given, g, b in ((y, x, p, q), (z, half, q, p)):
            case = {"epsilon": 0.5, "axes": (2,)}
            expected = reference.frn(given, g, b, **case)
            bound = tolerances.frn_bound(given, g, b, dtype=given.dtype, **case)
            tolerances.assert_within(actual, expected, bound)


@pytest.mark.parametrize("imports", ['"": 17, ', ""])
def test_functions_of_another_opset(rng, imports):
    """Nested, and written for an opset in which ReduceMean has its axes as an attribute."""
    model = graph_models.parse(
        f"""<ir_version: 8, opset_import: ["": 18, "local": 1]>
        g (float[N,2,W] x) => (float[N,2,W] y) <float[2,1] p, float[2,1] q>
        {{ y = local.Outer (x, p, q) }}
        <domain: "local", opset_import: [{imports}"frn_onnx": 1]>
        Inner (x, g, b) => (y)
        {{ y = frn_onnx.FilterResponseNormalization <axes = [2], epsilon = 0.5> (x, g, b) }}
        <domain: "local", opset_import: ["": 17, "local": 1]>
        Outer (x, g, b) => (y) {{ z = local.Inner (x, g, b)  y = Relu (z) }}
        """,
        rng,
    )
    x = rng.normal(size=(2, 2, 5)).astype(np.float32)
    case = (x, graph_models.parameters(model)["p"], graph_models.parameters(model)["q"])
    bound = tolerances.frn_bound(*case, epsilon=0.5, axes=(2,))
    expected = np.maximum(reference.frn(*case, epsilon=0.5, axes=(2,)), 0)
    for form in ("portable", "primitives"):
        lowered = lower(model, form)
        onnx.checker.check_model(lowered, full_check=True)
        tolerances.assert_within(graph_models.run(lowered, {"x": x})[0], expected, bound)


@pytest.mark.parametrize("opset", [15, 18])
def test_unknown_types_behind_an_unknown_domain(rng, opset):
    text = (
        graph_models.ONE_NODE.replace('"": 18', f'"": {opset}')
        .replace("{ [only]", "{ u = elsewhere.Op (x)\n [only]")
        .replace("(x, gamma", "(u, gamma")
    )
    model = graph_models.parse(text.replace("1]>", '1, "elsewhere": 2]>', 1), rng)
    model.opset_import[-1].domain, model.opset_import[-1].version
    portable = lower(model, "portable")
    assert "CastLike" in {n.op_type for n in portable.functions[-1].node}
    assert lower(portable, "custom").graph == lower(model, "custom").graph


def test_a_type_that_nothing_tells(rng):
    """Between nodes of an unknown domain: nothing is stated of what nobody knows."""
    text = """
    <ir_version: 8, opset_import: ["": 18, "frn_onnx": 1, "other": 1]>
    one (float[N,H,W,3] x) => (float[N,H,W,3] y) <float[3] gamma, float[3] beta>
    {
      u = other.Encode (x)
      v = frn_onnx.FilterResponseNormalization <axes = [1,2]> (u, gamma, beta)
      y = other.Decode (v)
    }
    """
    model = graph_models.parse(text, rng)
    for form in ("custom", "portable"):
        result = ir.from_proto(lower(model, form))
        (node,) = (node for node in result.graph if op.is_frn(node))
        assert node.outputs[0].type is None


def test_each_op_has_a_function_of_its_name(rng):
    text = """
    <ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
    two (float[N,H,W,3] x) => (float[N,H,W,3] y) <float[3] p, float[3] q>
    {
      u = frn_onnx.FilterResponseNormalization <axes = [1,2]> (x, p, q)
      y = frn_onnx.ResidualFilterResponseNormalization <axes = [1,2], epsilon = 0.3> (u, x, q, p)
    }
    """
    result = lower(graph_models.parse(text, rng), "portable")
    assert {function.name for function in result.functions} == set(op.SIGNATURES)
    x = rng.normal(size=(2, 4, 3, 3)).astype(np.float32)
    p, q = (graph_models.parameters(result)[name] for name in "pq")
    u = reference.frn(x, p, q)
    expected = reference.frn(u, q, p, epsilon=np.float32(0.3), residual=x)
    (y,) = onnx.reference.ReferenceEvaluator(result).run(None, {"x": x})
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", ["portable", "primitives"])
def test_float64_behind_what_is_not_known(form):
    """Parameters in float64 tell the type of x: the body casts nothing but epsilon."""
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 17, "frn_onnx": 1, "other": 1]>
        g (double[N,2,H,W] x) => (double[N,2,H,W] y)
        <double[2,1,1] gamma = {1, 2}, double[2,1,1] beta = {0, 1}>
        {
          a = other.Op (x)
          y = frn_onnx.FilterResponseNormalization <axes = [2,3]> (a, gamma, beta)
        }"""
    )
    made = lower(model, form)
    body = made.functions[0].node if form == "portable" else made.graph.node
    assert [node.op_type for node in body].count("Cast") == 1


def test_types_that_contradict_each_other(rng, monkeypatch):
    """For FRN in standard ops what the file states may do; nodes of the op need more."""

    def fails(*args):
        raise ModelError("they contradict each other")

    model = graph_models.parse(graph_models.ONE_NODE, rng)
    plain = lower(model, "primitives")
    monkeypatch.setattr(infer, "types", fails)
    for form in FORMS:
        with pytest.raises(ModelError, match="they contradict each other"):
            lower(model, form)
    assert len(fuse_in_place(model_io.load(plain))[0]) == 1


def test_external_data_stay_external_where_all_of_it_is_of_frn(rng, tmp_path):
    """The parameters of the node are other ones."""
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 17]>
        g (float[1,300,H,W] x) => (float[1,300,H,W] y) <float[300,1,1] gamma, float e = {0.1}>
        { q = Mul (x, x) n = ReduceMean <axes = [2, 3]> (q) a = Add (n, e) s = Sqrt (a)
          d = Div (gamma, s) y = Mul (x, d) }""",
        rng,
    )
    source, written = tmp_path / "one.onnx", tmp_path / "two.onnx"
    onnx.save(model, source, save_as_external_data=True, location="weights", size_threshold=0)
    lower_file(source, written, "custom")
    assert [node.op_type for node in onnx.load(written).graph.node] == [op.OP_TYPE]
    assert (tmp_path / "two.onnx.data").exists()


def test_external_data_stay_external(rng, tmp_path):
    model = graph_models.parse(graph_models.ONE_NODE, rng)
    for tensor in model.graph.initializer:
        wide = np.resize(numpy_helper.to_array(tensor), 3000)
        tensor.CopyFrom(numpy_helper.from_array(wide, tensor.name))
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_value = 3000
    model.graph.output[0].type.tensor_type.shape.dim[3].dim_value = 3000
    one, two = tmp_path / "one.onnx", tmp_path / "two.onnx"
    for external in (False, True):
        onnx.save(model, one, save_as_external_data=external, location="weights")
        lower_file(one, two, "custom")
        kept = onnx.load(two, load_external_data=False).graph.initializer
        assert {t.data_location == TensorProto.EXTERNAL for t in kept} == {external}
        assert form_of(onnx.load(two)) == "custom"


@pytest.mark.parametrize(("form", "version"), [("portable", 8), ("custom", 7), ("primitives", 7)])
def test_functions_came_with_version_8_of_the_format(rng, form, version):
    model = graph_models.parse(graph_models.ONE_NODE.replace("ir_version: 8", "ir_version: 7"), rng)
    assert lower(model, form).ir_version == version


def test_names_of_what_is_written_for_a_node(everywhere):
    """They begin with the node's; what fills in for a missing tau says what it is."""
    written = lower(everywhere, "primitives")
    kept = tuple(node.name for node in everywhere.graph.node)
    assert kept[:3] == ("one", "two", "three")
    assert all(node.name.startswith(kept) for node in written.graph.node)
    filled = {tensor.name for tensor in lower(everywhere, "portable").graph.initializer}
    added = filled - set(graph_models.parameters(everywhere))
    assert {name.split("_3x1x1")[0] for name in added} == {"frn_no_threshold", "frn_epsilon"}


def test_nothing_reads_from_what_is_gone(everywhere):
    model = ir.from_proto(everywhere)
    lower_in_place(model, "primitives")
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        assert all(user.graph is not None for user in value.consumers())


def test_models_of_every_kind(rng, tmp_path):
    model = graph_models.parse(graph_models.CNN, rng)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    expected = lower(model, "portable")
    assert lower(path, "portable") == expected
    assert lower(str(path), "portable") == expected
    from_ir = lower(ir.load(path), "portable")
    x = rng.normal(size=(2, 3, 8, 10)).astype(np.float32)
    for y, z in zip(
        graph_models.run(from_ir, {"image": x}),
        graph_models.run(expected, {"image": x}),
        strict=True,
    ):
        np.testing.assert_array_equal(y, z)


def test_results_share_nothing(rng):
    model = graph_models.parse(graph_models.ONE_NODE, rng)
    for form in FORMS:
        first, second = lower(model, form), lower(model, form)
        second.graph.node[0].name = "changed"
        second.graph.initializer[0].raw_data = b""
        assert first == lower(model, form)


def test_layers_in_standard_ops_are_found(rng):
    model = graph_models.parse(graph_models.CNN, rng)
    primitives = lower(model, "primitives")
    for form in ("portable", "custom"):
        assert len(frn_nodes(lower(primitives, form))) == 2


@pytest.mark.parametrize("opset", [8, 9, 10, 11, 12])
def test_old_opsets(rng, opset):
    """Before opset 12 a function cannot hold the attribute epsilon, which becomes an input."""
    text = graph_models.ONE_NODE.replace('"": 18', f'"": {opset}').replace(
        "axes = [1,2]", "axes = [1,2], epsilon = 0.3"
    )
    model = graph_models.parse(text, rng)
    x = rng.normal(size=(2, 3, 4, 3)).astype(np.float32)
    params = [graph_models.parameters(model)[name] for name in ("gamma", "beta", "tau")]
    expected = reference.frn(x, *params, epsilon=np.float32(0.3))
    bound = tolerances.frn_bound(x, *params, epsilon=0.3)
    for form in ("portable", "primitives"):
        lowered = lower(model, form)
        onnx.checker.check_model(lowered, full_check=True)
        tolerances.assert_within(graph_models.run(lowered, {"x": x})[0], expected, bound)
    portable = lower(model, "portable")
    assert lower(portable, "custom") == lower(model, "custom")
    assert len(portable.functions[0].input) == (len(op.INPUTS) if opset < 12 else 4)


@pytest.mark.parametrize("form", FORMS)
def test_the_opset_version_that_onnx_runtime_writes(rng, form):
    """Its optimised models import each domain that the process has loaded, at 1000."""
    text = graph_models.ONE_NODE.replace('"frn_onnx": 1]', '"frn_onnx": 1000]')
    model = graph_models.parse(text, rng)
    versions = {entry.domain: entry.version for entry in lower(model, form).opset_import}
    assert versions.get(op.DOMAIN) == (None if form == "primitives" else op.VERSION)
