"""Names for the sizes that an exported model leaves open."""

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from frn_onnx.export.trace import Source
from frn_onnx.graph import infer
from frn_onnx.graph.forms import set_form


def name(model: ir.Model, source: Source) -> None:
    """Names the open sizes of inputs and outputs, in place.

    tf2onnx numbers them, each time from where it stopped before. Sizes of one name must be
    equal: axis 0 is the same batch in all inputs of a Keras model. Of the others nothing is
    known, and of those of an output only what ONNX infers.

    Args:
        model: the exported model.
        source: what it was made from.
    """
    for value in model.graph.inputs:
        if value.shape is not None:
            names = [f"{value.name}_{axis}" for axis in range(len(value.shape))]
            if source.is_keras_model:
                names = ["batch", *names[1:]][: len(names)]
            _state(value, value.shape, names)
    stated = [value for value in model.graph.outputs if value.shape is not None]
    for value in stated:
        _state(value, value.shape, [None] * len(value.shape))
    set_form(model, "custom")
    known = infer.types(model)
    for value in stated:
        sizes = (value in known and known[value].dims) or infer.sizes(value.shape)
        names = [
            size if isinstance(size, str) and _tells(size) else f"{value.name}_{axis}"
            for axis, size in enumerate(sizes)
        ]
        _state(value, sizes, names)


def _state(value: ir.Value, sizes: Iterable, names: Sequence[str | None]) -> None:
    """The sizes that are numbers, and names in place of the others."""
    pairs = zip(sizes, names, strict=True)
    value.shape = ir.Shape([size if isinstance(size, int) else name for size, name in pairs])


def _tells(symbol: str) -> bool:
    # ONNX's shape inference writes unk__0, unk__1, ... for what it cannot tell.
    return not symbol.startswith("unk__")
