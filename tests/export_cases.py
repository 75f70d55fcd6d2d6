"""Networks to export, and what is asked of every exported file."""

import keras
import numpy as np
import onnx
import onnxruntime
from graph_models import frn_nodes
from onnx import numpy_helper

from frn_onnx import models


class FRN(models.WrittenOutFrn):
    """FRN as keras-frn writes it, under the name that keras-frn gives it."""


def small_resnet(size=(8, 8), width=4):
    """A ResNet with ten layers of keras-frn: stem, three blocks, projections, one at the end."""
    keras.utils.set_random_seed(20191120)
    layers = keras.layers
    image = keras.Input((*size, 3), name="image")
    x = FRN()(layers.Conv2D(width, 3, padding="same", use_bias=False)(image))
    for stage in range(3):
        filters, strides = width * 2**stage, 2 if stage else 1
        y = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False)(FRN()(y))
        if stage:
            x = FRN()(layers.Conv2D(filters, 1, strides=strides, use_bias=False)(x))
        x = layers.Add()([FRN()(y), x])
    x = layers.GlobalAveragePooling2D()(FRN()(x))
    logits = layers.Dense(5, name="logits")(x)
    return models.randomize(keras.Model(image, logits, name="small_resnet"))


def run(model, feeds):
    """All outputs of an ONNX model, in ONNX Runtime without the plugin."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, feeds)


def attributes(node):
    """axes and epsilon of an FRN node."""
    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return tuple(values["axes"]), values["epsilon"]


def channel_values(model, node):
    """gamma, beta and, where they are there, tau and epsilon of an FRN node, each as (C,)."""
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [constants[name].reshape(-1) for name in node.input[1:] if name]


def check_file(model, form):
    """The file is valid, in its form, and shapes are known behind every FRN node."""
    domains = {entry.domain for entry in model.opset_import}
    assert ("frn_onnx" in domains) == (form != "primitives")
    assert bool(model.functions) == (form == "portable")
    onnx.checker.check_model(model, full_check=form != "custom")
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    shaped = {
        value.name
        for value in (*inferred.graph.value_info, *inferred.graph.output)
        if value.type.tensor_type.HasField("shape")
    }
    assert {node.output[0] for node in frn_nodes(model)} <= shaped


def sizes(value):
    """The sizes of a graph's input or output, None where they are open."""
    dims = value.type.tensor_type.shape.dim
    return [dim.dim_value if dim.HasField("dim_value") else None for dim in dims]


def interface(model):
    """Names and sizes of inputs and outputs."""
    graph = model.graph
    return {v.name: sizes(v) for v in graph.input}, {v.name: sizes(v) for v in graph.output}


def normal(rng, *size):
    return rng.normal(-0.4, 1.3, size).astype(np.float32)
