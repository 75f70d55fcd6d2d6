"""Whole networks: every form of the file, fewer Transposes than tf2onnx leaves, open sizes."""

import collections

import export_cases
import keras
import numpy as np
import onnx
import onnx.reference
import pytest
import tf2onnx.convert

from frn_onnx import models, op
from frn_onnx.export import export_model
from frn_onnx.export.conversion import NEWEST_OPSET
from frn_onnx.graph import lower, verify

FORMS = ("portable", "custom", "primitives")


def transposes(model):
    return collections.Counter(node.op_type for node in model.graph.node)["Transpose"]


@pytest.mark.parametrize(("opset", "left"), [(13, 1), (15, 1), (17, 1), (18, 1)])
def test_transposes_of_a_resnet(resnet, opset, left):
    """tf2onnx has no rule to move a Transpose through Div: two stay at each layer but the last."""
    plain, _ = tf2onnx.convert.from_keras(resnet, opset=opset)
    assert transposes(plain) == 16
    result = export_model(resnet, opset=opset)
    assert (result.fused, len(result.frn_layers)) == (10, 10)
    assert result.nodes["Transpose"] == transposes(result.model) == left
    assert result.nodes[op.OP_TYPE] == 10
    assert result.report.ok
    # The standard ops profit too: the Transposes were moved before the nodes were written out.
    assert transposes(lower(result.model, "primitives")) == left


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("opset", [13, NEWEST_OPSET])
@pytest.mark.parametrize("layout", ["auto", "NCHW", "NHWC"])
def test_every_form_opset_and_layout(resnet, form, opset, layout):
    result = export_model(resnet, form=form, opset=opset, layout=layout)
    export_cases.check_file(result.model, form)
    assert result.report.ok
    nodes = export_cases.frn_nodes(result.model)
    assert len(nodes) == (0 if form == "primitives" else 10)
    wanted = (1, 2) if layout == "NHWC" else (2, 3)
    assert {export_cases.attributes(node)[0] for node in nodes} <= {wanted}
    if layout == "NHWC":
        # Each convolution and each FRN keeps its layout, with Transposes in between.
        assert result.nodes["Transpose"] == 16
    imports = {entry.domain: entry.version for entry in result.model.opset_import}
    assert imports[""] == opset
    assert result.model.producer_name == "frn_onnx"


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_residual_blocks_in_both_layouts(layout):
    """In NHWC, too, where a Transpose stands behind every FRN that a convolution reads."""
    result = export_model(models.resnet20((8, 8, 3)), form="custom", layout=layout)
    assert result.report.ok
    assert result.nodes[op.RESIDUAL_OP_TYPE] == 9
    assert result.nodes["Add"] == result.nodes["Max"] == 0
    wanted = (1, 2) if layout == "NHWC" else (2, 3)
    nodes = export_cases.frn_nodes(result.model)
    assert {export_cases.attributes(node)[0] for node in nodes} == {wanted}
    # Around each of 21 convolutions two, less where one reads what another does.
    assert result.nodes["Transpose"] == (40 if layout == "NHWC" else 1)


def test_a_portable_file_in_the_reference_evaluator(rng, resnet):
    model = export_model(resnet).model
    image = export_cases.normal(rng, 2, 8, 8, 3)
    feeds = {"image": image}
    (received,) = onnx.reference.ReferenceEvaluator(model).run(None, feeds)
    (expected,) = export_cases.run(model, feeds)
    np.testing.assert_allclose(received, expected, rtol=0, atol=2.0**-12 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["portable", "custom"])
def test_with_the_plugin(rng, resnet, form):
    runtime = pytest.importorskip("frn_onnx.runtime")
    model = export_model(resnet, form=form).model
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = export_cases.normal(rng, 2, 8, 8, 3)
    (received,) = session.run(None, {"image": image})
    expected = resnet.predict_on_batch(image)
    np.testing.assert_allclose(received, expected, rtol=0, atol=2.0**-12 * np.abs(expected).max())


def test_open_sizes(rng, dynamic_resnet):
    model = export_model(dynamic_resnet).model
    assert export_cases.interface(model) == (
        {"image": [None, None, None, 3]},
        {"logits": [None, 5]},
    )
    export_cases.check_file(model, "portable")
    symbols = [
        [dim.dim_param for dim in value.type.tensor_type.shape.dim if dim.dim_param]
        for value in (*model.graph.input, *model.graph.output)
    ]
    assert symbols == [["batch", "image_1", "image_2"], ["batch"]]
    for shape in ((1, 8, 12, 3), (3, 16, 8, 3), (0, 8, 8, 3)):
        image = export_cases.normal(rng, *shape)
        (received,) = export_cases.run(model, {"image": image})
        expected = dynamic_resnet.predict_on_batch(image) if shape[0] else np.zeros((0, 5))
        limit = 2.0**-12 * np.abs(expected).max(initial=0)
        np.testing.assert_allclose(received, expected, rtol=0, atol=limit)


def test_names_of_sizes_behind_reshapes():
    """What is the batch is called so; other multiples of it, and a cropped axis, are not."""
    image = keras.Input((None, 6, 2), name="image")
    x = export_cases.FRN()(keras.layers.Conv2D(2, 1)(image))
    rows = keras.layers.Reshape((-1, 12), name="rows")(x)
    outputs = {
        "dense": keras.layers.Dense(3)(keras.layers.GRU(2)(rows)),
        "cropped": keras.layers.Cropping2D(1)(x),
        "pixels": keras.ops.reshape(x, (-1, 2)),
        "twice": keras.ops.concatenate([rows, rows], axis=0),
        "normal": keras.layers.LayerNormalization()(x),
    }
    model = models.randomize(keras.Model(image, outputs))
    sizes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in export_model(model).model.graph.output
    }
    assert sizes == {
        "dense": ["batch", 3],
        "cropped": ["batch", "cropped_1", 4, 2],
        "pixels": ["pixels_0", 2],
        "twice": ["twice_0", "image_1", 12],
        "normal": ["batch", "image_1", 6, 2],
    }


@pytest.mark.parametrize("form", FORMS)
def test_half_precision(resnet, form):
    result = export_model(resnet, form=form, dtype="float16")
    export_cases.check_file(result.model, form)
    types = {t.data_type for t in result.model.graph.initializer if len(t.dims) == 4}
    assert types == {onnx.TensorProto.FLOAT16}
    assert result.model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    for node in export_cases.frn_nodes(result.model):
        values = export_cases.channel_values(result.model, node)
        assert {value.dtype.name for value in values} == {"float32"}
    (output,) = result.report.outputs
    assert output.ok
    assert output.max_rel > 2.0**-16, "the file that was compared is the converted one"


NETWORKS = {
    "digits": (lambda norm: models.digits_cnn(norm=norm), 4, 0),
    "resnet20": (lambda norm: models.resnet20((16, 16, 3), norm=norm), 21, 1),
    "resnet50": (lambda norm: models.resnet50((32, 32, 3), 10, width=4, norm=norm), 53, 1),
}


@pytest.mark.parametrize("norm", ["frn", "keras-frn"])
@pytest.mark.parametrize("network", NETWORKS)
def test_our_networks(network, norm):
    build, layers, left = NETWORKS[network]
    result = export_model(models.randomize(build(norm)))
    assert result.fused == layers
    assert len(result.frn_layers) == (layers if norm == "frn" else 0)
    assert result.nodes["Transpose"] == left
    assert not result.skipped
    export_cases.check_file(result.model, "portable")


def test_a_unet_of_open_sizes():
    """Skip connections, and transposed convolutions that compute their output's size."""
    model = models.unet((None, None, 1), norm="frn", width=4)
    result = export_model(models.randomize(model))
    assert result.fused == len(result.frn_layers) > 10
    assert result.nodes["Transpose"] <= 2
    export_cases.check_file(result.model, "portable")


def test_shared_and_nested_layers_count_by_use():
    layer = export_cases.FRN()
    inner_input = keras.Input((6, 5, 3))
    shared = layer(keras.layers.Conv2D(3, 1)(inner_input))
    inner = keras.Model(inner_input, layer(shared), name="inner")
    a, b = keras.Input((6, 5, 3), name="a"), keras.Input((6, 5, 3), name="b")
    total = keras.layers.Add(name="total")([inner(a), inner(b), layer(a)])
    model = models.randomize(keras.Model([a, b], [total, inner(total)]))
    result = export_model(model)
    assert result.fused == len(result.frn_layers) == 7
    assert all(layer.name in path for path in result.frn_layers)
    assert result.report.ok


def test_frn_in_a_time_distributed_model():
    frames = keras.Input((4, 6, 5, 3), name="frames")
    image = keras.Input((6, 5, 3))
    per_frame = keras.Model(image, export_cases.FRN()(keras.layers.Conv2D(2, 3)(image)))
    model = models.randomize(keras.Model(frames, keras.layers.TimeDistributed(per_frame)(frames)))
    result = export_model(model)
    assert result.fused == len(result.frn_layers) > 0
    assert result.report.ok


def test_a_file_agrees_with_its_keras_file(resnet, tmp_path):
    """The comparison that the command line makes, of the two files."""
    export_model(resnet, tmp_path / "model.onnx")
    assert verify(resnet, tmp_path / "model.onnx").ok
