"""Messages whose large weights stay in their file."""

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, TensorProto, helper, numpy_helper

from frn_onnx.errors import ModelError
from frn_onnx.graph import model_io, protos, wire

LARGER_THAN = 100


def weights():
    """One of each kind: large, small, typed, of half a byte an element, empty, of texts."""
    rng = np.random.default_rng(0)
    large = rng.standard_normal((7, 11)).astype(np.float32)
    half = numpy_helper.from_array(rng.standard_normal(300).astype(np.float16), "half")
    half.doc_string = "behind the data"
    return [
        numpy_helper.from_array(large, "large"),
        numpy_helper.from_array(large[0], "small"),
        helper.make_tensor("typed", TensorProto.FLOAT, (40,), rng.standard_normal(40)),
        helper.make_tensor("four_bits", TensorProto.INT4, (301,), rng.bytes(151), raw=True),
        half,
        numpy_helper.from_array(np.zeros((0, 3), np.float32), "empty"),
        helper.make_tensor("texts", TensorProto.STRING, (2,), [b"a" * 200, b""]),
    ]


def model(tensors):
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.arange(50, dtype=np.float32), "w")],
    )
    nodes = [
        helper.make_node("If", ["flag"], ["y"], then_branch=inner, else_branch=inner),
        *(helper.make_node("Identity", [t.name], [f"{t.name}_y"]) for t in tensors),
    ]
    outputs = [
        helper.make_tensor_value_info(f"{t.name}_y", t.data_type, list(t.dims)) for t in tensors
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("flag", TensorProto.BOOL, ())],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None), *outputs],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    made.metadata_props.add(key="key", value="value")
    return made


def filled_in(light, path):
    """The message with what it refers to in the file."""
    found = ModelProto.FromString(light)
    content = path.read_bytes()
    for tensor in found.graph.initializer:
        if tensor.external_data:
            place = {entry.key: entry.value for entry in tensor.external_data}
            assert place["location"] == path.name
            begin = int(place["offset"])
            tensor.raw_data = content[begin : begin + int(place["length"])]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return found


def test_nothing_gets_lost(tmp_path):
    path = tmp_path / "model.onnx"
    whole = model(weights())
    path.write_bytes(whole.SerializeToString())
    light = wire.without_weights(path, LARGER_THAN)
    outside = [t.name for t in ModelProto.FromString(light).graph.initializer if t.external_data]
    assert outside == ["large", "four_bits", "half"]
    assert filled_in(light, path) == whole


def test_a_message_in_pieces(tmp_path):
    """Protobuf lets a field that is there twice stand for both together."""
    path = tmp_path / "model.onnx"
    whole = model(weights())
    rest = ModelProto(graph=GraphProto(initializer=[whole.graph.initializer.pop()]))
    pieces = [whole.SerializeToString(), rest.SerializeToString()]
    path.write_bytes(b"".join(pieces))
    light = wire.without_weights(path, LARGER_THAN)
    assert filled_in(light, path) == ModelProto.FromString(b"".join(pieces))


def test_what_is_no_message_is_none(tmp_path):
    path = tmp_path / "model.onnx"
    content = model(weights()).SerializeToString()
    rng = np.random.default_rng(1)
    cases = [b"", b"\x0b", b"\x80" * 20, content[:-1], content[:700]]
    cases += [rng.bytes(200) for _ in range(50)]
    for case in cases:
        path.write_bytes(case)
        assert wire.without_weights(path, LARGER_THAN) is None


@pytest.mark.parametrize("linked", [False, True])
def test_a_model_with_its_weights_in_place_is_the_same(tmp_path, linked):
    path = tmp_path / "model.onnx"
    whole = model([t for t in weights() if t.name != "texts"])
    whole.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((70, 11), "f4"), "large"))
    path.write_bytes(whole.SerializeToString())
    if linked:
        (tmp_path / "folder").mkdir()
        link = tmp_path / "folder" / "link.onnx"
        link.symlink_to(path)
        path = link
    loaded = model_io.load(path, in_place=True)
    assert type(loaded.graph.initializers["large"].const_value).__name__ == "ExternalTensor"
    assert protos.to_proto(loaded) == model_io.load_proto(path)


def test_errors_are_those_of_any_model(tmp_path):
    path = tmp_path / "model.onnx"
    content = model(weights()).SerializeToString()
    for damaged in (b"", b"text", content[:-1]):
        path.write_bytes(damaged)
        said = []
        for in_place in (False, True):
            with pytest.raises(ModelError) as caught:
                model_io.load(path, in_place=in_place)
            said.append(str(caught.value))
        assert said[0] == said[1]
    onnx.save(model(weights()), path)
    (tmp_path / "folder").mkdir()
    for missing in (tmp_path / "none.onnx", tmp_path / "folder"):
        with pytest.raises(ModelError, match=r"no such file|this is a folder"):
            model_io.load(missing, in_place=True)


def test_a_tensor_that_says_where_its_data_are_stays_as_it_is(tmp_path):
    """Those count, and not the raw data beside them; of raw data that are there twice the last."""
    path = tmp_path / "model.onnx"
    large = numpy_helper.from_array(np.ones(100, np.float32), "both")
    large.data_location = TensorProto.EXTERNAL
    large.external_data.add(key="location", value="elsewhere")
    twice = numpy_helper.from_array(np.ones(100, np.float32), "twice").SerializeToString()
    twice += TensorProto(dims=[10], raw_data=bytes(40)).SerializeToString()
    whole = model([large])
    graph = b"\x2a" + _length(twice) + twice
    path.write_bytes(whole.SerializeToString() + b"\x3a" + _length(graph) + graph)
    light = wire.without_weights(path, LARGER_THAN)
    assert ModelProto.FromString(light) == ModelProto.FromString(path.read_bytes())


def test_a_field_of_another_kind_stays_as_it_is(tmp_path):
    path = tmp_path / "model.onnx"
    unknown = b"\x39\x12\x06abcdef"  # graph's number, as eight bytes
    path.write_bytes(model(weights()).SerializeToString() + unknown)
    light = wire.without_weights(path, LARGER_THAN)
    assert light.endswith(unknown)


def _length(content):
    return bytes([len(content) & 0x7F | 0x80, len(content) >> 7])
