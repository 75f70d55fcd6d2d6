"""Every layer of ``keras.layers`` in a model of its own: writes docs/keras_layers.md.

    python tests/keras_layers.py [LAYER ...]

exports them, prints what came of each, and writes, where no layer is named, that page and
``data/keras_layers.json``, from which it is made. Takes two minutes.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import tf2onnx
from generated import table, write_sections
from keras import layers

from frn_onnx import models
from frn_onnx.errors import ExportError, VerificationError
from frn_onnx.export import export_model
from frn_onnx.layers import FilterResponseNormalization

RESULTS = Path(__file__).parent / "data" / "keras_layers.json"
PAGE = Path(__file__).parents[1] / "docs" / "keras_layers.md"
# Of one sample, by the number of spatial axes.
SHAPES = {1: (8, 4), 2: (6, 5, 4), 3: (4, 6, 5, 4)}
Make = Callable[[], keras.layers.Layer]

# What is no layer of a model to export, with the reason.
LEFT_OUT = {
    "ConvLSTM3D": "takes rank 6, more than FRN",
    "Equalization": "Keras cannot put it into a functional model",
    "FlaxLayer": "another backend",
    "InputLayer": "part of every model",
    "JaxLayer": "another backend",
    "Layer": "base class",
    "MaxNumBoundingBoxes": "boxes only",
    "Pipeline": "of preprocessing layers",
    "TFSMLayer": "a SavedModel: export that",
    "TorchModuleWrapper": "another backend",
    "Wrapper": "base class",
}
# What takes integers, or strings.
TOKENS = ("CategoryEncoding", "Embedding", "HashedCrossing", "Hashing", "IntegerLookup")
TOKENS += ("ReversibleEmbedding", "StringLookup", "TextVectorization")
# What takes several inputs of one shape.
MERGING = ("Add", "AdditiveAttention", "Attention", "Average", "Concatenate", "Maximum")
MERGING += ("Minimum", "Multiply", "Subtract", "MultiHeadAttention", "GroupQueryAttention", "Dot")
# What takes images of three channels.
COLORS = ("AugMix", "AutoContrast", "CutMix", "MixUp", "Solarization")
COLORS += ("ContrastLimitedAdaptiveHistogramEqualization", "RandAugment")
WAVE = -1  # in place of the number of spatial axes: takes one number for each moment

# How a layer is made, and the number of its spatial axes, where the name does not tell them.
ARGUMENTS: dict[str, tuple[int, Make]] = {
    "Activation": (2, lambda: layers.Activation("gelu")),
    "AdditiveAttention": (1, layers.AdditiveAttention),
    "Attention": (1, layers.Attention),
    "Bidirectional": (1, lambda: layers.Bidirectional(layers.LSTM(3, return_sequences=True))),
    "CategoryEncoding": (0, lambda: layers.CategoryEncoding(7)),
    "CenterCrop": (2, lambda: layers.CenterCrop(4, 3)),
    "Dense": (2, lambda: layers.Dense(5)),
    "Dot": (1, lambda: layers.Dot(axes=(2, 2))),
    "EinsumDense": (2, lambda: layers.EinsumDense("bhwc,cd->bhwd", (None, None, 5))),
    "Embedding": (0, lambda: layers.Embedding(7, 4)),
    "GRU": (1, lambda: layers.GRU(3, return_sequences=True)),
    "GRUCell": (1, lambda: layers.RNN(layers.GRUCell(3), return_sequences=True)),
    "GroupNormalization": (2, lambda: layers.GroupNormalization(2)),
    "GroupQueryAttention": (1, lambda: layers.GroupQueryAttention(4, 4, 2)),
    "HashedCrossing": (0, lambda: layers.HashedCrossing(7)),
    "Hashing": (0, lambda: layers.Hashing(7)),
    "IntegerLookup": (0, lambda: layers.IntegerLookup(vocabulary=[1, 2, 3])),
    "LSTM": (1, lambda: layers.LSTM(3, return_sequences=True)),
    "LSTMCell": (1, lambda: layers.RNN(layers.LSTMCell(3), return_sequences=True)),
    "Lambda": (2, lambda: layers.Lambda(lambda x: x * 2 + 1)),
    "Masking": (1, layers.Masking),
    "MelSpectrogram": (WAVE, lambda: layers.MelSpectrogram(32, 8, num_mel_bins=5)),
    "MultiHeadAttention": (1, lambda: layers.MultiHeadAttention(2, 3)),
    "Normalization": (
        2,
        lambda: layers.Normalization(mean=[1.0, 2, 3, 4], variance=[4.0, 3, 2, 1]),
    ),
    "Permute": (2, lambda: layers.Permute((2, 1, 3))),
    "RNN": (1, lambda: layers.RNN(layers.SimpleRNNCell(3), return_sequences=True)),
    "RepeatVector": (WAVE, lambda: layers.RepeatVector(5)),
    "Rescaling": (2, lambda: layers.Rescaling(0.5, offset=1)),
    "Reshape": (2, lambda: layers.Reshape((5, 6, 4))),
    "Resizing": (2, lambda: layers.Resizing(9, 7)),
    "ReversibleEmbedding": (0, lambda: layers.ReversibleEmbedding(7, 4)),
    "STFTSpectrogram": (1, lambda: layers.STFTSpectrogram("log", 4, 2)),
    "SimpleRNN": (1, lambda: layers.SimpleRNN(3, return_sequences=True)),
    "SimpleRNNCell": (1, lambda: layers.RNN(layers.SimpleRNNCell(3), return_sequences=True)),
    "SpectralNormalization": (2, lambda: layers.SpectralNormalization(layers.Conv2D(3, 3))),
    "StackedRNNCells": (
        1,
        lambda: layers.RNN([layers.GRUCell(3), layers.LSTMCell(2)], return_sequences=True),
    ),
    "StringLookup": (0, lambda: layers.StringLookup(vocabulary=["a", "b"])),
    "TextVectorization": (0, lambda: layers.TextVectorization(vocabulary=["a", "b"])),
    "TimeDistributed": (3, lambda: layers.TimeDistributed(layers.Conv2D(3, 3))),
    "UnitNormalization": (2, layers.UnitNormalization),
}
PATTERNS: dict[str, Callable[[type], keras.layers.Layer]] = {
    r"Adaptive.*Pooling": lambda kind: kind(3),
    r"AveragePooling": lambda kind: kind(2),
    r"ConvLSTM": lambda kind: kind(3, 2, return_sequences=True),
    r"(Separable)?Conv.D(Transpose)?$": lambda kind: kind(3, 3),
    r"DepthwiseConv": lambda kind: kind(3),
    r"RandomCrop": lambda kind: kind(4, 3),
    r"RandomTranslation": lambda kind: kind(0.2, 0.1),
    r"RandomPosterization": lambda kind: kind(4),
    r"Random(Brightness|Contrast|Rotation|Zoom|Hue|Sharpness|Saturation|Color)": lambda k: k(0.2),
    r".*Dropout|GaussianNoise": lambda kind: kind(0.3),
    r"Discretization": lambda kind: kind(bin_boundaries=[-1.0, 0.0, 1.0]),
}


def names() -> list[str]:
    """One name of each layer of ``keras.layers``, but what is left out."""
    found: dict[type, str] = {}
    for name in sorted(vars(layers)):
        kind = getattr(layers, name)
        if isinstance(kind, type) and issubclass(kind, layers.Layer) and name not in LEFT_OUT:
            found.setdefault(kind, name)
    return list(found.values())


def model(name: str) -> keras.Model:
    """Convolution, FRN, the layer, FRN, as far as types and ranks allow."""
    kind = getattr(layers, name)
    axes, make = ARGUMENTS.get(name) or (_axes(name), lambda: _made(kind))
    keras.utils.set_random_seed(0)
    if name in TOKENS:
        x, y = _tokens(name, make())
    elif axes == WAVE:
        x = keras.Input((64,), name="x")
        y = make()(x)
    else:
        x = keras.Input(SHAPES[axes], name="x")
        channels = 3 if name.startswith("Random") or name in COLORS else 4
        convolution = getattr(layers, f"Conv{axes}D")(channels, 1)
        y = _called(make(), name, FilterResponseNormalization()(convolution(x)))
    if 3 <= len(y.shape) <= 5 and keras.backend.is_float_dtype(y.dtype):
        y = FilterResponseNormalization()(y)
    return models.randomize(keras.Model(x, y, name=f"with_{name}"))


def _tokens(name: str, layer: keras.layers.Layer):
    text = name in ("StringLookup", "TextVectorization")
    length = 1 if name in ("HashedCrossing", "TextVectorization") else 6
    x = keras.Input((length,), dtype="string" if text else "int32", name="x")
    return x, layer((x, x) if name == "HashedCrossing" else x)


def _called(layer: keras.layers.Layer, name: str, y):
    if name not in MERGING:
        return layer(y)
    other = layers.Dense(y.shape[-1])(y)
    apart = name in ("MultiHeadAttention", "GroupQueryAttention")
    return layer(y, other) if apart else layer([y, other])


def _axes(name: str) -> int:
    found = re.search(r"([123])D", name)
    axes = int(found[1]) if found else 2
    # Time is an axis of its own.
    return axes + 1 if name.startswith("ConvLSTM") else axes


def _made(kind: type) -> keras.layers.Layer:
    for pattern, make in PATTERNS.items():
        if re.match(pattern, kind.__name__):
            return make(kind)
    return kind()


def outcome(name: str) -> dict[str, object]:
    """What export does with the layer: FRN layers, how many were fused, or the error."""
    made = model(name)
    try:
        result = export_model(made)
    except (ExportError, VerificationError) as error:
        return {"error": str(error).splitlines()[0]}
    entry = {"layers": len(result.frn_layers), "fused": result.fused}
    reasons = [skipped.reason for skipped in result.skipped]
    return entry | ({"skipped": reasons} if reasons else {})


def sections(results: Mapping[str, Mapping]) -> dict[str, str]:
    """The texts of the page."""
    whole = [n for n, r in results.items() if "error" not in r and r["fused"] == r["layers"]]
    rows = [(f"`{n}`", _told(r)) for n, r in results.items() if n not in whole]
    rows += [(f"`{name}`", f"not tried: {why}") for name, why in LEFT_OUT.items()]
    listed = ", ".join(f"`{name}`" for name in whole)
    versions = f"Keras {keras.__version__}, tf2onnx {tf2onnx.__version__}"
    return {
        "exported": f"With {versions}, {len(whole)} of {len(results)} layers:\n\n{listed}.",
        "others": table(("layer", "outcome"), sorted(rows), right=()),
    }


def _told(result: Mapping) -> str:
    if "error" in result:
        return result["error"].removeprefix("export: ")
    reasons = "; ".join(result.get("skipped", ()))
    return f"exported, {result['fused']} of {result['layers']} FRN fused: {reasons}"


def main() -> None:
    results = {}
    for name in sys.argv[1:] or names():
        results[name] = outcome(name)
        print(name, results[name], flush=True)
    if not sys.argv[1:]:
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        write_sections(PAGE, sections(results))


if __name__ == "__main__":
    main()
