"""Model files that cannot be read: every bad one is told apart."""

import os

import onnx
import pytest

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import inspect, model_io


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "model.onnx: no such file"),
        (b"", r"the file is empty \(0 bytes\)"),
        (b"This is not a model.\nAt all.", "this is a text file"),
        (b'{"irVersion": 8}', "this is a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid ", "a Git LFS pointer.*git lfs pull"),
        (b"PK\x03\x04rest", r"a zip archive, as .keras files are.*frn_onnx.export"),
        (b"\x89HDF\r\n\x1a\n", r"an HDF5 file.*frn_onnx.export"),
        (bytes(range(256)), r"\(256 bytes\): the file is truncated or of another format"),
        (b"\x08\x08", r"\(2 bytes\): the file is truncated"),
    ],
)
def test_files_that_are_no_model(tmp_path, content, message):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        model_io.load(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_files(cnn, tmp_path, kept):
    content = cnn.SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ModelError, match="truncated"):
        model_io.load(path)


def test_folders_and_other_types(tmp_path):
    with pytest.raises(ModelError, match="expected an ONNX file, this is a folder"):
        model_io.load(tmp_path)
    with pytest.raises(ArgumentError, match="received bytes"):
        model_io.load(b"model")


def test_files_beyond_2_gib(tmp_path):
    path = tmp_path / "model.onnx"
    with path.open("wb") as file:
        file.truncate(2**31 + 1)
    with pytest.raises(ModelError, match=r"2147483649 bytes.*external data"):
        model_io.load(path)


def test_missing_external_data(external):
    (external.parent / "weights.bin").unlink()
    with pytest.raises(ModelError, match=r"tensor 'w1' is stored in .*weights.bin, which does not"):
        model_io.load(external)


def test_truncated_external_data(external):
    os.truncate(external.parent / "weights.bin", 1000)
    with pytest.raises(
        ModelError,
        match=r"'w2' has 2304 bytes from byte .* of .*weights.bin, which has 1000,.*trun",
    ):
        model_io.load(external)


@pytest.mark.parametrize(("key", "value"), [("length", "860"), ("offset", "99999")])
def test_external_data_of_another_shape(external, key, value):
    model = onnx.load(external, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == key:
            entry.value = value
    external.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"'w1' has 864 bytes from byte.*belongs to another model"):
        model_io.load(external)


def test_external_data_outside_of_the_folder(external):
    model = onnx.load(external, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../weights.bin"
    (external.parent.parent / "weights.bin").write_bytes(b"\0" * 100000)
    external.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="tensor 'w1' cannot be read"):
        model_io.load(external)


def test_external_data_that_was_not_loaded(external):
    model = onnx.load(external, load_external_data=False)
    with pytest.raises(ModelError, match="'w1' is in external data that was not loaded"):
        model_io.load(model)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        (
            "[a] u = Relu (v) [b] v = Neg (u) y = Add (x, v)",
            r"nodes of 'g' form a cycle: node '[ab]' \(\w+\) -> node '[ab]'",
        ),
        ("[a] y = Add (x, lost)", r"node 'a' \(Add\) in 'g' reads 'lost', which nothing defines"),
        ("y = Relu (x) [twice] y = Neg (x)", "'y' is defined twice in 'g', again by node 'twice'"),
        ("[a] x = Relu (x) y = Neg (x)", "'x' is defined twice in 'g', again by node 'a'"),
        ("u = Relu (x)", "the output 'y' of 'g' is defined by nothing"),
        (
            "y = If (c) <then_branch = t () => (float[N] z) { z = Relu (lost) }, "
            "else_branch = e () => (float[N] w) { w = Relu (x) }>",
            "a Relu node in 't' reads 'lost'",
        ),
        (
            "y = If (c) <then_branch = t () => (float[N] z) { z = Relu (y) }, "
            "else_branch = e () => (float[N] w) { w = Relu (x) }>",
            "form a cycle",
        ),
    ],
)
def test_invalid_graphs(nodes, message):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[N] x, bool c) => (float[N] y)'
        f"{{ {nodes} }}"
    )
    with pytest.raises(ModelError, match=f"the graph is invalid: .*{message}"):
        model_io.load(model)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ("y = Mul (x)", r"node 'n' \(Mul\) in 'g' has 1 inputs, expected 2 or more"),
        ("y = Mul (x, x, x)", "has 3 inputs, expected 2 at most"),
        ('y = Mul ("", x)', "has no name where its input 0 belongs"),
        ("y = ReduceMean <axes = 1> (x)", "has 'axes' of type INT, expected INTS"),
        ("y = Cast (x)", "lacks its attribute 'to'"),
        ("y = Constant ()", "has 0 attributes, expected one"),
        ("y = Constant <value_float = 1.0, value_int = 1> ()", "has 2 attributes, expected one"),
    ],
)
@pytest.mark.parametrize("domain", ["", "ai.onnx"])
def test_nodes_that_lack_what_their_op_needs(node, message, domain):
    text = f'<ir_version: 8, opset_import: ["{domain}": 17]> g (float[N] x) => (float[N] y)'
    model = onnx.parser.parse_model(f"{text} {{ [n] {node} }}")
    with pytest.raises(ModelError, match=f"the graph is invalid: .*{message}"):
        model_io.load(model)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ('axes = [1], epsilon = "12"', "has 'epsilon' of type STRING, expected FLOAT"),
        ("axes = [1], epsilon = 12", "has 'epsilon' of type INT, expected FLOAT"),
        ("axes = 1", "has 'axes' of type INT, expected INTS"),
        ("axes = [1.0]", "has 'axes' of type FLOATS, expected INTS"),
    ],
)
@pytest.mark.parametrize("op_type", op.SIGNATURES)
def test_attributes_of_frn_of_another_type(tmp_path, op_type, attributes, message):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]> g (float[N,W,C] x, float[C] p) => '
        f"(float[N,W,C] y) {{ [n] y = frn_onnx.{op_type} <{attributes}> (x, p, p) }}"
    )
    onnx.save(model, tmp_path / "model.onnx")
    expected = rf"model.onnx: the graph is invalid: node 'n' \({op_type}\) in 'g' {message}"
    with pytest.raises(ModelError, match=expected):
        inspect(tmp_path / "model.onnx")
