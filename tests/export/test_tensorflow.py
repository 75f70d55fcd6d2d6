"""What of TensorFlow and Keras takes more than tf2onnx alone: loops, branches, XLA, float64."""

import collections
import re
import warnings

import export_cases
import keras
import pytest
import tensorflow as tf
import tf2onnx
from keras import layers, ops

from frn_onnx import models
from frn_onnx.errors import ArgumentError, ExportError, VerificationError
from frn_onnx.export import export_model
from frn_onnx.layers import FilterResponseNormalization


def frn(**options):
    return FilterResponseNormalization(**options)


def around(layer, shape=(6, 5, 4), *, convolution=True):
    """Convolution, FRN, the layer."""
    x = keras.Input(shape, name="x")
    y = layers.Conv2D(4, 1)(x) if convolution else x
    return models.randomize(keras.Model(x, layer(frn()(y))))


def sequence(layer):
    x = keras.Input((7, 4), name="x")
    return models.randomize(keras.Model(x, layer(frn()(layers.Conv1D(4, 3)(x)))))


class Branch(layers.Layer):
    def call(self, x):
        return ops.cond(ops.mean(x) > 0, lambda: x * 2.0, lambda: x - 1.0)


class Map(layers.Layer):
    def call(self, x):
        return ops.map(lambda row: ops.tanh(row) + 1.0, x)


class While(layers.Layer):
    def call(self, x):
        steps = lambda step, y: (step + 1, ops.tanh(y) * 0.9)  # noqa: E731
        return ops.while_loop(lambda step, y: step < 3, steps, (0, x))[1]


class Scan(layers.Layer):
    """The running sum along the rows, as a recurrent layer would do it by itself."""

    def call(self, x):
        add = lambda total, row: (total + row, total + row)  # noqa: E731
        return ops.scan(add, ops.zeros_like(x[:, 0]), ops.moveaxis(x, 1, 0))[1]


ACTIVATIONS = sorted(
    name
    for name, value in vars(keras.activations).items()
    if name not in ("get", "serialize", "deserialize") and callable(value)
)


LOOPS = {
    "GRU": lambda: sequence(layers.GRU(3, return_sequences=True)),
    "masked LSTM": lambda: sequence(lambda y: layers.LSTM(3)(layers.Masking()(y))),
    "RNN of cells": lambda: sequence(layers.RNN([layers.SimpleRNNCell(3), layers.GRUCell(2)])),
    "cond": lambda: around(lambda y: layers.Conv2D(2, 1)(Branch()(y))),
    "map": lambda: around(Map()),
    "while_loop": lambda: around(While()),
}


@pytest.mark.parametrize("case", LOOPS)
def test_loops_and_branches(case):
    result = export_model(LOOPS[case]())
    assert result.fused == len(result.frn_layers) == 1
    export_cases.check_file(result.model, "portable")


def test_a_loop_that_tf2onnx_cannot_write():
    """keras.ops.scan keeps what it carries in an array that its body reads."""
    with pytest.raises(
        ExportError, match=r"tf2onnx cannot convert .*, at the node '.*scan.*/while"
    ):
        export_model(around(Scan()))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_branch_reads_what_a_transpose_moved(layout):
    assert export_model(LOOPS["cond"](), layout=layout).fused == 1


def test_a_grouped_convolution():
    result = export_model(around(layers.Conv2D(4, 3, groups=2)))
    (node,) = [n for n in result.model.graph.node if n.op_type == "Conv" and _groups(n) == 2]
    assert node


def _groups(node):
    return next((a.i for a in node.attribute if a.name == "group"), 1)


def test_a_depthwise_convolution():
    result = export_model(around(layers.DepthwiseConv2D(3, depth_multiplier=2)))
    assert [n for n in result.model.graph.node if n.op_type == "Conv" and _groups(n) == 4]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    """Behind FRN; ReLU is its threshold."""
    if name in ("glu", "threshold"):
        pytest.skip("takes more, or gives less, than an activation does")
    assert export_model(around(frn(activation=name))).fused == 2


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_gelu(data_format):
    shape = (6, 5, 3) if data_format == "channels_last" else (3, None, None)
    x = keras.Input(shape, name="x")
    y = layers.Conv2D(4, 3, data_format=data_format)(x)
    y = frn(activation="gelu", data_format=data_format)(y)
    result = export_model(models.randomize(keras.Model(x, y)))
    assert result.nodes["Erf"] == 1


def test_maps_of_one_place():
    """tf2onnx writes a Reshape in place of the Transpose of such a map."""
    image = keras.Input((1, 1, 3), name="image")
    y = frn(learned_epsilon=True)(layers.Conv2D(4, 1)(image))
    y = frn()(layers.Conv2D(3, 1)(y))
    result = export_model(models.randomize(keras.Model(image, layers.Conv2D(2, 1)(y))))
    assert (result.fused, result.nodes["Transpose"]) == (2, 0)


def test_time_distributed():
    video = keras.Input((3, 6, 5, 2), name="video")
    y = layers.TimeDistributed(frn())(layers.TimeDistributed(layers.Conv2D(4, 3))(video))
    result = export_model(models.randomize(keras.Model(video, y)))
    assert result.fused == len(result.frn_layers) == 3
    assert "filter_response_normalization" in result.frn_layers[0]


def test_float64_where_onnx_runtime_has_no_kernel():
    x = keras.Input((6, 5, 3), dtype="float64", name="x")
    y = frn(dtype="float64")(layers.Conv2D(4, 1, dtype="float64")(x))
    with pytest.raises(VerificationError, match="ONNX Runtime has no float64 kernel"):
        export_model(keras.Model(x, y))


class Optional(keras.Model):
    def __init__(self):
        super().__init__()
        self.normal = frn()

    def call(self, a, b=None, training=None):
        y = self.normal(a)
        return y if b is None else y + b


def test_an_argument_that_may_be_left_out(rng):
    model = Optional()
    a, b = export_cases.normal(rng, 2, 6, 5, 3), export_cases.normal(rng, 2, 6, 5, 3)
    model(a, b)
    with pytest.raises(ArgumentError, match="with or without 'b', and Keras does not tell"):
        export_model(model)
    spec = tf.TensorSpec((None, 6, 5, 3))
    for given, names in (([spec], ["a"]), ([spec, spec], ["a", "b"])):
        result = export_model(model, signature=given)
        assert list(export_cases.interface(result.model)[0]) == names


class KeywordOnly(Optional):
    def call(self, a, *, b=None, training=None):
        return super().call(a, b)


def test_an_argument_by_its_name_alone(rng):
    model = KeywordOnly()
    model(export_cases.normal(rng, 2, 6, 5, 3))
    with pytest.raises(ArgumentError, match=r"(?s)'b', .*keyword-only one needs a tf.function"):
        export_model(model)
    spec = tf.TensorSpec((None, 6, 5, 3))

    @tf.function(input_signature=[spec, spec])
    def both(a, b):
        return model(a, b=b)

    result = export_model(both)
    assert result.fused == 1
    assert list(export_cases.interface(result.model)[0]) == ["a", "b"]


class AnyNumber(Optional):
    def call(self, *inputs):
        return super().call(*inputs)


class Others(Optional):
    def call(self, a, *others):
        return super().call(a, *others)


class Named(Optional):
    def call(self, a, **more):
        return super().call(a, more.get("b"))


@pytest.mark.parametrize(
    ("kind", "named"), [(AnyNumber, "'*inputs'"), (Others, "'*others'"), (Named, "'**more'")]
)
def test_arguments_of_any_number(rng, kind, named):
    """Keras keeps the shape of the first alone."""
    model, x = kind(), export_cases.normal(rng, 2, 6, 5, 3)
    model(x, **({"b": x} if kind is Named else {}))
    with pytest.raises(ArgumentError, match=re.escape(f"with or without {named}, and")):
        export_model(model)
    result = export_model(model, signature=[tf.TensorSpec((None, 6, 5, 3))])
    assert result.fused == 1


class Functions(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 8, 8, 3])])
    def detect(self, x):
        return x * tf.math.rsqrt(tf.reduce_mean(x * x, [1, 2], keepdims=True) + 1e-6)

    @tf.function(input_signature=[tf.TensorSpec([None, 4])])
    def classify(self, x):
        return 2.0 * x


def test_a_saved_model_without_signatures(tmp_path):
    tf.saved_model.save(Functions(), tmp_path)
    with pytest.raises(
        ArgumentError, match=r"no signatures; its functions are classify, detect\. Export"
    ):
        export_model(tmp_path)
    assert export_model(tf.saved_model.load(tmp_path).detect).fused == 1


def test_no_step_of_tf2onnx_fails(monkeypatch):
    """Where one does, all are taken again from the start."""
    optimize_graph, caught = tf2onnx.optimizer.optimize_graph, []

    def noted(graph, catch_errors):
        caught.append(catch_errors)
        return optimize_graph(graph, catch_errors=catch_errors)

    monkeypatch.setattr(tf2onnx.optimizer, "optimize_graph", noted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_model(LOOPS["cond"](), verify=False)
    assert caught == [False]


def test_functions_without_a_name_of_their_own():
    model = models.randomize(models.digits_cnn())
    signature = [tf.TensorSpec([None, 8, 8, 1], name="x")]
    result = export_model(tf.function(model), signature=signature)
    assert result.fused == 4
    with pytest.raises(ExportError, match=r"tf.function 'digits_cnn' cannot be traced"):
        export_model(tf.function(model), signature=[tf.TensorSpec([None, 3], name="x")])


class FailingStep:
    def __init__(self, calls):
        self.calls = calls

    def __call__(self):
        return self

    def optimize(self, graph, iteration):
        self.calls.append(iteration)
        graph.reset_nodes([])
        raise ValueError("this step fails")


def test_a_step_of_tf2onnx_that_fails_is_left_out(monkeypatch):
    model = around(layers.Activation("relu"))
    expected = export_model(model)
    steps = collections.OrderedDict(tf2onnx.optimizer._get_optimizers())
    calls = []
    steps["failing"] = FailingStep(calls)
    monkeypatch.setattr(tf2onnx.optimizer, "_get_optimizers", lambda: steps)
    result = export_model(model)
    assert len(calls) >= 2
    assert (result.nodes, result.fused) == (expected.nodes, expected.fused)


def test_weights_are_not_copied_at_each_step(monkeypatch):
    """tf2onnx's sixty steps would otherwise leave forty copies of them in memory."""
    written = []
    update = tf2onnx.graph.Graph.update_proto

    def counted(self, *args):
        written.append(self)
        return update(self, *args)

    def refuse(self, memo):
        raise AssertionError("the graph is copied")

    monkeypatch.setattr(tf2onnx.graph.Graph, "update_proto", counted)
    monkeypatch.setattr(tf2onnx.graph.Graph, "__deepcopy__", refuse, raising=False)
    assert export_model(around(layers.Activation("relu"))).fused == 1
    assert len(written) <= 3
