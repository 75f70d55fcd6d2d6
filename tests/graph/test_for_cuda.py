"""``convert`` for the CUDA execution provider: one size of batch, no one-sided pads, no Casts."""

import graph_models
import numpy as np
import onnx
import pytest

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import convert, lower
from frn_onnx.graph.half import convert_file

ort = pytest.importorskip("onnxruntime")

UP = """
<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1]>
up (float[N, 3, H, W] image, float[N, 1] weight) => (float[M, 4, I, J] mask, float[K] mean)
<float[8,3,3,3] w1, float[8,1,1] gamma1, float[8,1,1] beta1, float[8,1,1] tau1,
 float[8,4,3,3] w2, float[4,1,1] gamma2, float[4,1,1] beta2, float[4,1,1] tau2>
{
  c1 = Conv <kernel_shape = [3,3], pads = [1,1,1,1]> (image, w1)
  f1 = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.1> (c1, gamma1, beta1, tau1)
  c2 = ConvTranspose <kernel_shape = [3,3], strides = [2,2], pads = [0,0,1,1]> (f1, w2)
  mask = frn_onnx.FilterResponseNormalization <axes = [2,3], epsilon = 0.2>
    (c2, gamma2, beta2, tau2)
  pooled = GlobalAveragePool (mask)
  flat = Flatten (pooled)
  scaled = Mul (flat, weight)
  one = Constant <value_ints = [1]> ()
  mean = ReduceMean <keepdims = 0> (scaled, one)
}
"""


@pytest.fixture
def up(rng):
    return graph_models.parse(UP, rng)


def shapes(values) -> dict[str, list]:
    return {
        value.name: [dim.dim_value or dim.dim_param for dim in value.type.tensor_type.shape.dim]
        for value in values
    }


def test_all_of_it_is_in_halves_and_of_one_size(up, rng):
    half = convert(up, keep_io_types=False, provider="cuda", batch=3)
    onnx.checker.check_model(half, full_check=True)
    assert shapes(half.graph.input) == {"image": [3, 3, "H", "W"], "weight": [3, 1]}
    outputs = shapes(half.graph.output)
    assert (outputs["mask"][:2], outputs["mean"]) == ([3, 4], [3])
    kinds = [node.op_type for node in half.graph.node]
    assert "Cast" not in kinds
    (node,) = [node for node in half.graph.node if node.op_type == "ConvTranspose"]
    assert {a.name: list(a.ints) for a in node.attribute}["pads"] == [0, 0, 0, 0]

    feeds = {"image": rng.normal(size=(3, 3, 6, 5)), "weight": rng.normal(size=(3, 1))}
    feeds = {name: array.astype(np.float16) for name, array in feeds.items()}
    wide = {name: array.astype(np.float32) for name, array in feeds.items()}
    expected = graph_models.run(lower(up, "portable"), wide)
    for got, wanted in zip(graph_models.run(half, feeds), expected, strict=True):
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, wanted, rtol=0.02, atol=0.02)


def test_without_being_asked_nothing_of_that(up):
    half = convert(up)
    assert shapes(half.graph.input)["image"] == ["N", 3, "H", "W"]
    (node,) = [node for node in half.graph.node if node.op_type == "ConvTranspose"]
    assert {a.name: list(a.ints) for a in node.attribute}["pads"] == [0, 0, 1, 1]


def test_a_runtime_takes_no_other_batch(up, rng):
    half = convert(up, keep_io_types=False, batch=2)
    feeds = {"image": np.zeros((3, 3, 4, 4), np.float16), "weight": np.zeros((3, 1), np.float16)}
    with pytest.raises(Exception, match="invalid dimensions"):
        graph_models.run(half, feeds)


@pytest.mark.parametrize("batch", [0, -1, 1.5, True, "2"])
def test_a_batch_is_a_number(up, batch):
    with pytest.raises(ArgumentError, match="batch must be a whole number from 1 on, received"):
        convert(up, batch=batch)


def test_a_batch_that_no_file_can_have(up):
    with pytest.raises(ArgumentError, match=f"batch must be at most {2**63 - 1}, received {2**63}"):
        convert(up, batch=2**63)
    assert shapes(convert(up, batch=np.int64(2)).graph.input)["image"] == [2, 3, "H", "W"]


def test_an_input_of_another_size(rng):
    model = graph_models.parse(UP.replace("float[N, 1] weight", "float[4, 1] weight"), rng)
    with pytest.raises(
        ArgumentError, match="first axis of input 'weight' has 4 elements, expected 2"
    ):
        convert(model, batch=2)
    assert shapes(convert(model, batch=4).graph.input)["image"] == [4, 3, "H", "W"]


def test_an_input_with_a_default_is_no_batch():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 18]> g (float[N,3] x, float[1,3] b) => (float[N,3] y) '
        "<float[1,3] b = {1, 2, 3}> { y = Add (x, b) }"
    )
    made = convert(model, batch=4).graph
    assert shapes(made.input) == {"x": [4, 3], "b": [1, 3]}
    assert shapes(made.output) == {"y": [4, 3]}


def test_an_unknown_provider(up):
    with pytest.raises(ArgumentError, match="provider must be 'cuda' or None, received 'rocm'"):
        convert(up, provider="rocm")


def test_from_file_to_file(up, tmp_path):
    onnx.save(up, tmp_path / "up.onnx")
    convert_file(tmp_path / "up.onnx", tmp_path / "half.onnx", provider="cuda", batch=1)
    half = onnx.load(tmp_path / "half.onnx")
    assert half == convert(up, provider="cuda", batch=1)
    with pytest.raises(ArgumentError):
        convert_file(tmp_path / "up.onnx", tmp_path / "other.onnx", batch=0)
    assert not (tmp_path / "other.onnx").exists()


def test_an_input_whose_axes_are_not_known():
    model = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["": 18]>
        g (float[n,2] x, float z) => (float[n,2] y) { y = Add(x, z) }"""
    )
    assert shapes(convert(model, batch=3).graph.input) == {"x": [3, 2], "z": []}
    model.graph.input[1].type.tensor_type.ClearField("shape")
    with pytest.raises(ArgumentError, match="how many axes input 'z' has is not known"):
        convert(model, batch=3)


@pytest.mark.parametrize(
    ("shape", "message"),
    [("1, 12", r"'flat' \(Reshape\) is to make \(1, 12\) of \(3, 3, 4\)"), ("1, -1", "MatMul")],
)
def test_a_batch_that_a_shape_in_the_model_holds(rng, shape, message):
    text = f"""<ir_version: 8, opset_import: ["": 18]>
        g (float[N,3,4] x) => (float[N,2] y) <float[12,2] w, int64[2] shape = {{{shape}}}>
        {{ [flat] flat = Reshape (x, shape)  y = MatMul (flat, w) }}"""
    with pytest.raises(ModelError, match=rf"does not run on 3 samples: .*{message}.* open"):
        convert(graph_models.parse(text, rng), batch=3)
    for batch, taken in ((1, text), (3, text.replace(shape, "-1, 12"))):
        half = convert(graph_models.parse(taken, rng), batch=batch)
        assert shapes(half.graph.output) == {"y": [batch, 2]}
