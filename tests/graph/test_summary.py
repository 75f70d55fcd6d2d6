"""What inspect finds in a file, and how it is shown."""

import itertools
import json

import graph_models
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import model_io
from frn_onnx.graph.forms import FORMS
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.summary import inspect, shape_text
from frn_onnx.views import layered
from frn_onnx.views.plot import plot
from frn_onnx.views.tables import info_view


@pytest.fixture
def cnn(rng):
    return graph_models.parse(graph_models.CNN, rng)


def shown(info) -> str:
    console = pytest.importorskip("rich.console").Console(width=160, record=True, file=None)
    with console.capture() as capture:
        console.print(info_view(info))
    return capture.get()


@pytest.mark.parametrize("form", FORMS)
def test_forms(cnn, tmp_path, form):
    path = tmp_path / "model.onnx"
    model_io.save(lower(cnn, form), path)
    info = inspect(path)
    assert (info.name, info.form, info.opset) == (str(path), form, 18)
    assert info.runs_without_plugin == (form != "custom")
    assert info.inputs == {"image": "float32 Nx3xHxW"}
    assert info.outputs == {"scores": "float32 Nx5"}
    frn_nodes, fusible = (0, 2) if form == "primitives" else (2, 0)
    assert (len(info.frn), info.fusible) == (frn_nodes, fusible)
    assert info.foreign_domains == []
    assert f"{form}: " in shown(info)
    if form != "primitives":
        assert info.nodes == 8
        assert info.ops["FilterResponseNormalization"] == 2


@pytest.mark.parametrize("form", ["portable", "custom"])
def test_nodes(cnn, form):
    first, second = inspect(lower(cnn, form)).frn
    assert (first.name, first.layout, first.axes) == ("frn1", "NCHW", (2, 3))
    assert (first.shape, first.dtype, first.channels) == (("N", 8, None, None), "float32", 8)
    assert first.epsilon == pytest.approx(0.1)
    for key, name in (("gamma", "gamma1"), ("beta", "beta1"), ("tau", "tau1")):
        values = next(numpy_helper.to_array(t) for t in cnn.graph.initializer if t.name == name)
        parameter = first.parameters[key]
        assert (parameter.name, parameter.shape) == (name, (8, 1, 1))
        assert (parameter.minimum, parameter.maximum) == (values.min(), values.max())
    # In a portable file the second node has a tau, too: of -inf, which is none.
    assert list(second.parameters) == ["gamma", "beta"]


def test_a_node_with_everything(rng):
    """Per-channel epsilon, computed gamma, a function, a foreign op, an optional rank."""
    model = graph_models.parse(
        """<ir_version: 8, opset_import: ["": 18, "frn_onnx": 1, "local": 1, "elsewhere": 1]>
        g (float[N,W,2] x, float[2] given) => (float[N,W,2] y, float[N,W,2] z)
        <float[2] beta, float[2] epsilon, float[2,1] column>
        {
          [one] y = frn_onnx.FilterResponseNormalization <axes = [1]> (x, given, beta, "", epsilon)
          u = elsewhere.Op (x)
          z = local.Block (u, column)
        }
        <domain: "local", opset_import: ["": 18, "frn_onnx": 1]>
        Block (x, b) => (y)
        { [in] y = frn_onnx.FilterResponseNormalization <axes = [2]> (x, b, b) }
        """,
        rng,
    )
    info = inspect(model)
    one, inner = info.frn
    assert (one.layout, one.parameters["gamma"]) == ("NWC", None)
    assert one.parameters["epsilon"].minimum > 0
    assert (inner.name, inner.layout, inner.shape, inner.dtype) == (
        "local::Block/in",
        "NCW",
        None,
        None,
    )
    assert info.foreign_domains == ["elsewhere"]
    text = shown(info)
    assert "computed" in text
    assert "a library for the ops of the domain elsewhere" in text


def test_external_data_and_size(cnn, tmp_path):
    path = tmp_path / "model.onnx"
    model_io.save(cnn, path, external_data=True)
    info = inspect(path)
    assert info.external_files == [str(tmp_path / "model.onnx.data")]
    assert info.size_bytes == pytest.approx(cnn.ByteSize(), rel=0.1)
    assert "model.onnx.data" in shown(info)


def test_weights_that_are_inputs_are_not_listed(cnn):
    cnn.graph.input.append(onnx.helper.make_tensor_value_info("w1", 1, [8, 3, 3, 3]))
    assert list(inspect(cnn).inputs) == ["image"]


def test_json(cnn):
    read = json.loads(json.dumps(inspect(cnn).to_dict()))
    assert read["frn"][0]["parameters"]["gamma"]["name"] == "gamma1"


def test_shapes_in_words():
    assert shape_text(None) == "..."
    assert shape_text(["N", 3, None, "unk__4"]) == "Nx3x?x?"
    assert shape_text([]) == ""


class TestPicture:
    @pytest.fixture(autouse=True)
    def _matplotlib(self):
        pytest.importorskip("matplotlib")

    @pytest.mark.parametrize("form", FORMS)
    def test_it_is_drawn(self, cnn, tmp_path, form):
        path = tmp_path / "picture.png"
        plot(lower(cnn, form), path)
        content = path.read_bytes()
        assert content.startswith(b"\x89PNG")
        assert len(content) > 20_000
        assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]

    def test_text_of_the_picture(self, cnn, tmp_path):
        plot(cnn, tmp_path / "picture.svg", node="frn2")
        text = (tmp_path / "picture.svg").read_text()
        for words in (
            "FRN frn2",
            "in standard ops: 7 nodes, 4 of them over the whole tensor",
            "NCHW, epsilon 0.2, no threshold",
            "conv2",
            "Nx8x1x1",
        ):
            assert f"<!-- {words} -->" in text

    def test_bad_requests(self, cnn, tmp_path):
        with pytest.raises(ArgumentError, match="'frn3'; expected one of frn1, frn2"):
            plot(cnn, tmp_path / "picture.png", node="frn3")
        with pytest.raises(ModelError, match="cannot be written"):
            plot(cnn, tmp_path / "picture.onnx")
        with pytest.raises(ModelError, match="does not exist"):
            plot(cnn, tmp_path / "missing" / "picture.png")
        relu = onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 18]> g (float[N] x) => (float[N] y) {y = Relu (x)}'
        )
        with pytest.raises(ModelError, match="holds no FRN layer"):
            plot(relu, tmp_path / "picture.png")
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(5))
def test_layers_point_down_and_boxes_are_apart(seed):
    rng = np.random.default_rng(seed)
    edges = sorted({tuple(sorted(map(int, rng.choice(12, 2, replace=False)))) for _ in range(18)})
    places, bends = layered.layered(12, edges)
    for source, target in edges:
        chain = [places[source], *bends[source, target], places[target]]
        layers = [layer for _, layer in chain]
        assert layers == list(range(layers[0], layers[-1] + 1))
        assert len(layers) > 1
    everything = [*places, *(point for chain in bends.values() for point in chain)]
    for layer in {layer for _, layer in everything}:
        xs = sorted(x for x, other in everything if other == layer)
        assert all(b - a > 0.999 for a, b in itertools.pairwise(xs))
