"""Reading and writing model files."""

import os

import graph_models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from frn_onnx.errors import ModelError
from frn_onnx.graph import convert, inspect, model_io, protos
from frn_onnx.graph.fusion import fuse
from frn_onnx.graph.lowering import lower


def test_round_trip(cnn, tmp_path):
    path = tmp_path / "model.onnx"
    model_io.save(cnn, path)
    assert model_io.load_proto(path) == graph_models.plain(cnn)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_loading_copies(cnn):
    loaded = model_io.load(cnn)
    loaded.graph.name = "changed"
    loaded.graph[0].name = "changed"
    assert (cnn.graph.name, cnn.graph.node[0].name) == ("cnn", "conv1")
    given = ir.from_proto(cnn)
    from_ir = model_io.load(given)
    from_ir.graph[0].name = "changed"
    assert [n.name for n in given.graph] == [n.name for n in cnn.graph.node]


@pytest.mark.parametrize("as_ir", [False, True])
def test_external_data_is_read(cnn, external, as_ir):
    loaded = model_io.load_proto(ir.load(external) if as_ir else external)
    for tensor, original in zip(loaded.graph.initializer, cnn.graph.initializer, strict=True):
        assert tensor.data_location == TensorProto.DEFAULT
        np.testing.assert_array_equal(
            numpy_helper.to_array(tensor), numpy_helper.to_array(original)
        )
    assert model_io.external_files(external) == {external.parent / "weights.bin"}


def test_external_data_in_subgraphs_and_attributes(rng, tmp_path):
    weight = numpy_helper.from_array(rng.normal(size=3).astype(np.float32), "w")
    (tmp_path / "w.bin").write_bytes(weight.raw_data)
    outside = onnx.TensorProto()
    outside.CopyFrom(weight)
    outside.ClearField("raw_data")
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="w.bin")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])
    branch = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "b", [], [y], [outside]
    )
    constant = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=outside)], "c", [], [y]
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=constant)
    c = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    model = helper.make_model(helper.make_graph([node], "g", [c], [y]))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    loaded = model_io.load_proto(tmp_path / "m.onnx")
    assert [t.raw_data for t in protos.tensor_protos(loaded)] == [weight.raw_data] * 2


def test_what_is_said_of_an_initializer_is_said_once():
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 18]> g (float[2] x) => (float[2] y) '
        "<float[2] w = {1, 2}> { y = Add (x, w) }"
    )
    model.graph.initializer[0].metadata_props.add(key="of", value="w")
    written = model_io.load_proto(model).graph
    assert written.initializer[0].metadata_props == model.graph.initializer[0].metadata_props
    assert not written.value_info


def test_a_message_without_a_graph():
    with pytest.raises(ModelError, match="not an ONNX model: it holds no graph"):
        model_io.load(onnx.ModelProto())


def test_external_data_of_half_a_byte_an_element(tmp_path, rng):
    path = tmp_path / "in.onnx"
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["": 21]> g () => (int4[3001] y) { y = Identity (w) }'
    )
    model.graph.initializer.append(
        helper.make_tensor("w", TensorProto.INT4, (3001,), rng.bytes(1501), raw=True)
    )
    before = model.graph.initializer[0].raw_data
    onnx.save(model, path, save_as_external_data=True, location="weights")
    loaded = model_io.load(path)
    assert protos.to_proto(loaded).graph.initializer[0].raw_data == before
    (tmp_path / "weights").unlink()
    with pytest.raises(ModelError, match=r"'w' cannot be read from .*weights.* until then"):
        protos.to_proto(loaded)


@pytest.mark.parametrize("change", ["another file", "written to", "gone"])
def test_external_data_that_become_others_meanwhile(external, tmp_path, change):
    """Weights are read when they are written: of these the old graph must not be made."""
    weights, out = external.parent / "weights.bin", tmp_path / "out.onnx"
    out.write_bytes(b"of before")
    content = weights.read_bytes()

    def become_others():
        if change != "written to":
            weights.rename(tmp_path / "old.bin")
        if change != "gone":
            weights.write_bytes(bytes(reversed(content)))
            os.utime(weights, (1, 1))

    with pytest.raises(ModelError), model_io.rewriting(external, out):
        become_others()
    assert out.read_bytes() == b"of before"
    assert not list(tmp_path.glob("out.onnx.data"))
    assert not list(tmp_path.glob("*.tmp"))


def test_external_data_is_written(cnn, tmp_path, rng):
    path = tmp_path / "out.onnx"
    before = cnn.SerializeToString()
    model_io.save(cnn, path, external_data=True)
    assert cnn.SerializeToString() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.onnx", "out.onnx.data"]
    assert path.stat().st_size < (tmp_path / "out.onnx.data").stat().st_size
    onnx.checker.check_model(str(path))
    assert model_io.load_proto(path).graph == graph_models.plain(cnn).graph
    # A weight stored as floats, not as bytes, is written just as well.
    weight = cnn.graph.initializer[0]
    values = numpy_helper.to_array(weight).ravel()
    weight.CopyFrom(helper.make_tensor(weight.name, TensorProto.FLOAT, weight.dims, values))
    model_io.save(cnn, path, external_data=True)
    np.testing.assert_array_equal(
        numpy_helper.to_array(model_io.load_proto(path).graph.initializer[0]).ravel(), values
    )


def test_models_beyond_one_file(cnn, tmp_path, monkeypatch, rng):
    """With a limit of 4 KB in place of 2 GiB."""
    portable = lower(cnn, "portable")
    monkeypatch.setattr(model_io, "LIMIT_BYTES", 4000)
    assert model_io.byte_size(portable) > 4000
    path = tmp_path / "large.onnx"
    model_io.save(portable, path)
    assert path.with_name("large.onnx.data").exists()
    for form in ("custom", "primitives", "portable"):
        lowered = lower(path, form)
        model_io.save(lowered, path)
        onnx.checker.check_model(str(path))
        assert model_io.load_proto(path) == lowered
    import onnxruntime as ort

    image = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
    expected = graph_models.run(portable, {"image": image})[0]
    session = ort.InferenceSession(path)
    np.testing.assert_array_equal(session.run(None, {"image": image})[0], expected)


@pytest.mark.slow
def test_a_model_beyond_2_gib(tmp_path):
    """The weights come from a sparse file, which takes no room on disk."""
    shape = [1024, 1024, 513]
    model = graph_models.parse(
        f"""<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
        large (float[N,2,W] x) => (float[N,2,W] y, float[{",".join(map(str, shape))}] z)
        <float[2,1] gamma, float[2,1] beta>
        {{
          y = frn_onnx.FilterResponseNormalization <axes = [2]> (x, gamma, beta)
          z = Identity (weight)
        }}""",
        np.random.default_rng(0),
    )
    weight = model.graph.initializer.add(name="weight", data_type=TensorProto.FLOAT, dims=shape)
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    path = tmp_path / "large.onnx"
    path.write_bytes(model.SerializeToString())
    with (tmp_path / "weights.bin").open("wb") as file:
        file.truncate(4 * np.prod(shape))
    out = tmp_path / "out.onnx"
    model_io.save(lower(path, "portable"), out)
    onnx.checker.check_model(str(out))
    assert (tmp_path / "out.onnx.data").stat().st_size == 4 * np.prod(shape)
    assert [f.name for f in onnx.load(out, load_external_data=False).functions] == [
        "FilterResponseNormalization"
    ]


def test_a_model_that_says_no_opset_has_the_first():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["other": 1]> g (float[N] x) => (float[N] y) '
        "{ y = Concat <axis = 1.5> (x) }"
    )
    with pytest.raises(ModelError, match="has 'axis' of type FLOAT, expected INT"):
        model_io.load(model)


@pytest.mark.parametrize("head", ['"": 9999', '"other": 1'])
def test_ops_of_which_nothing_is_known(head):
    """An opset that is newer than ONNX here, or another domain's: the op may be as it is."""
    domain = "other." if "other" in head else ""
    model = onnx.parser.parse_model(
        f"<ir_version: 8, opset_import: [{head}]> g (float[N] x) => (float[N] y) "
        f"{{ y = {domain}Unheard (x) }}"
    )
    assert model_io.load_proto(model) == graph_models.plain(model)


def test_unsorted_nodes_are_put_in_order():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]> g (float[N] x) => (float[N] y)
        { y = Relu (u) u = Neg (x) }"""
    )
    assert [node.op_type for node in model_io.load(model).graph] == ["Neg", "Relu"]


def model_and_tensor(where):
    """A model of an initializer and a Constant, and the tensor that one of them holds."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) '
        "<float[3] w = {1, 2, 3}> { c = Constant <value = float[3] {1, 2, 3}> () "
        "s = Add (x, w) y = Add (s, c) }"
    )
    graph = model.graph
    return model, graph.initializer[0] if where == "initializer" else graph.node[0].attribute[0].t


class TestIr:
    """Into the representation that fuse works on."""

    def test_a_sparse_initializer_of_a_branch(self):
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (bool c, float[3] x) => (float[3] y) '
            "{ y = If (c) <then_branch = a () => (float[3] t) { t = Add (x, sparse) }, "
            "else_branch = b () => (float[3] e) { e = Neg (x) }> }"
        )
        values = numpy_helper.from_array(np.array([4], np.float32), "sparse")
        places = numpy_helper.from_array(np.array([1]), "places")
        branch = model.graph.node[0].attribute[0].g
        branch.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3]))
        onnx.checker.check_model(model)
        attributes = model_io.load_proto(model).graph.node[0].attribute
        (then,) = (each.g for each in attributes if each.name == "then_branch")
        assert then.sparse_initializer == branch.sparse_initializer

    @pytest.mark.parametrize("indices", [[1, 5], [[0, 1], [1, 2]]], ids=["places", "rows"])
    def test_sparse_initializers_stay_sparse(self, indices):
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (float[2,3] x) => (float[2,3] y) '
            "{ y = Add (x, x) }"
        )
        values = numpy_helper.from_array(np.array([3, 4], np.float32), "sparse")
        places = numpy_helper.from_array(np.array(indices), "places")
        model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [2, 3]))
        model.graph.node[0].input[1] = "sparse"
        result = fuse(model).model
        assert result.graph.sparse_initializer == model.graph.sparse_initializer
        (value,) = model_io.load(model).graph.initializers.values()
        assert np.array_equal(value.const_value.numpy(), [[0, 3, 0], [0, 0, 4]])
        x = np.ones((2, 3), np.float32)
        (before,), (after,) = (graph_models.run(m, {"x": x}) for m in (model, result))
        assert np.array_equal(before, after)

    @pytest.mark.parametrize("op_type", ["Constant", "Foreign"])
    @pytest.mark.parametrize("places", [[0, 2], [0, 7]])
    def test_sparse_attributes(self, op_type, places):
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) '
            "{ c = Constant <value_float = 1.0> () y = Add (x, c) }"
        )
        node = model.graph.node[0]
        values = numpy_helper.from_array(np.array([3, 4], np.float32), "sparse")
        sparse = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(places)), [3])
        del node.attribute[:]
        node.attribute.append(helper.make_attribute("sparse_value", sparse))
        node.op_type = op_type
        kept = model.SerializeToString()
        if op_type == "Foreign":
            with pytest.raises(ModelError, match=r"'c' \(Foreign\).*'sparse_value'"):
                fuse(model)
        elif places == [0, 7]:
            with pytest.raises(ModelError, match=r"'sparse' do not fit its shape \(3,\)"):
                fuse(model)
        else:
            (y,) = graph_models.run(fuse(model).model, {"x": np.ones(3, np.float32)})
            assert y.tolist() == [4, 1, 5]
        assert model.SerializeToString() == kept

    @pytest.mark.parametrize("kind", [0, 99])
    @pytest.mark.parametrize("work", [fuse, inspect, convert])
    @pytest.mark.parametrize("where", ["initializer", "attribute"])
    def test_types_that_there_are_not(self, where, work, kind):
        model, tensor = model_and_tensor(where)
        tensor.data_type = kind
        with pytest.raises(ModelError, match=f"element type {kind}, which ONNX does not have"):
            work(model)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda tensor: tensor.dims.append(2), r"12 bytes, expected 24 for \(3, 2\) of FLOAT"),
            (lambda tensor: setattr(tensor, "data_type", 7), "12 bytes, expected 24 .* of INT64"),
            (lambda tensor: setattr(tensor, "raw_data", b"12345"), "5 bytes, expected 12"),
            (lambda tensor: tensor.ClearField("raw_data"), r"0 numbers, expected 3 for \(3,\)"),
            (lambda tensor: setattr(tensor, "data_type", 8), "0 numbers, expected 3 .* STRING"),
            (lambda tensor: setattr(tensor, "data_type", 15), "12 bytes, expected 48 .* COMPLEX"),
            (lambda tensor: tensor.dims.append(-1), r"has the shape \(3, -1\)"),
        ],
    )
    @pytest.mark.parametrize("where", ["initializer", "attribute"])
    def test_tensors_that_are_not_what_they_say(self, where, change, message):
        model, tensor = model_and_tensor(where)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
        fuse(model)
        change(tensor)
        with pytest.raises(ModelError, match=message):
            fuse(model)

    @pytest.mark.parametrize(
        ("place", "message"),
        [
            ({}, "names no file"),
            ({"location": "w", "offset": "-4"}, "at the offset '-4', expected a number of bytes"),
            ({"location": "w", "length": "all"}, "at the length 'all', expected"),
        ],
    )
    @pytest.mark.parametrize("where", ["initializer", "attribute"])
    def test_external_data_that_is_nowhere(self, where, place, message):
        model, tensor = model_and_tensor(where)
        tensor.ClearField("raw_data")
        tensor.ClearField("float_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in place.items():
            tensor.external_data.add(key=key, value=value)
        with pytest.raises(ModelError, match=message):
            fuse(model)

    def test_tensors_of_every_type(self):
        """As numbers, each in the field that its type is kept in."""
        for kind in set(onnx.TensorProto.DataType.values()) - {0}:
            constant = helper.make_tensor("c", kind, [3], [b"1"] * 3 if kind == 8 else [1] * 3)
            node = helper.make_node("Constant", [], ["y"], value=constant)
            y = helper.make_tensor_value_info("y", kind, [3])
            model_io.load(helper.make_model(helper.make_graph([node], "g", [], [y])))

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda m: setattr(m.graph.node[0].attribute[0], "name", "v"), "'v', expected its val"),
            (lambda m: m.graph.node[0].attribute[0].ClearField("type"), "not state the type of .*"),
            (lambda m: m.opset_import.add(version=2**31), "imports version 2147483648 of .* ''"),
        ],
    )
    def test_attributes_and_versions_that_there_are_not(self, change, message):
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g () => (float y) '
            "{ y = Constant <value = float {1}> () }"
        )
        change(model)
        with pytest.raises(ModelError, match=message):
            fuse(model)

    def test_an_input_whose_type_is_not_said(self):
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (float[3] x) => (float[3] y) '
            "{ y = Relu (x) }"
        )
        model.graph.input[0].type.tensor_type.elem_type = 0
        assert inspect(model).inputs == {"x": "unknown"}

    def test_data_that_became_shorter(self, rng, tmp_path):
        weights = numpy_helper.from_array(rng.normal(size=1000).astype(np.float32), "w")
        model = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (float[1000] x) => (float[1000] y) '
            "{ y = Add (x, w) }"
        )
        model.graph.initializer.append(weights)
        path = tmp_path / "model.onnx"
        onnx.save(model, path, save_as_external_data=True, location="w.data")
        loaded = model_io.load(path)
        os.truncate(tmp_path / "w.data", 3000)
        with pytest.raises(ModelError, match="'w' are not whole any more"):
            protos.to_proto(loaded)

    def test_maps_are_refused(self):
        """As classifiers made by scikit-learn have them."""
        kind = helper.make_map_type_proto(
            onnx.TensorProto.INT64, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
        )
        output = helper.make_value_info("y", helper.make_sequence_type_proto(kind))
        node = helper.make_node(
            "ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
        )
        graph = helper.make_graph(
            [node], "g", [helper.make_tensor_value_info("x", 1, ["N", 2])], [output]
        )
        with pytest.raises(ModelError, match=r"holds what onnx_ir .* does not: Map types"):
            fuse(helper.make_model(graph))
