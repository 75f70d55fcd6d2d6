"""Names for the sizes that an exported model leaves open."""

from collections.abc import Mapping

import onnx_ir as ir

from frn_onnx.errors import ModelError
from frn_onnx.export.trace import Source
from frn_onnx.graph import infer
from frn_onnx.graph.forms import set_form

# The size of the first open axis in either trial, and by how much the next are larger: no padding
# and no stride makes one of another in both.
_TRIALS = ((1009, 211), (2017, 307))


def name(model: ir.Model, source: Source) -> None:
    """Names the open sizes of inputs and outputs, in place.

    tf2onnx numbers them, each time from where it stopped before. Sizes of one name must be
    equal: axis 0 is the same batch in all inputs of a Keras model. Of the others nothing is
    known. A size of an output is that of an input, and has its name, where ONNX infers one from
    the other, whatever number it is.

    Args:
        model: the exported model.
        source: what it was made from.
    """
    symbols: dict[str, None] = {}
    for value in model.graph.inputs:
        if value.shape is not None:
            names = [f"{value.name}_{axis}" for axis in range(len(value.shape))]
            if source.is_keras_model:
                names = ["batch", *names[1:]][: len(names)]
            value.shape = _with_names(value.shape, dict(enumerate(names)))
            symbols |= dict.fromkeys(size for size in infer.sizes(value.shape) if size in names)
    for value in model.graph.outputs:
        if value.shape is not None:
            value.shape = _with_names(value.shape, {})
    set_form(model, "custom")
    trials = [
        {symbol: first + step * i for i, symbol in enumerate(symbols)} for first, step in _TRIALS
    ]
    same = {tuple(trial[symbol] for trial in trials): symbol for symbol in symbols}
    inferred = [_outputs(model, trial) for trial in trials]
    for value, *found in zip(model.graph.outputs, *inferred, strict=True):
        if value.shape is None:
            continue
        left = [None] * len(value.shape)
        pairs = list(zip(*(dims or left for dims in found), strict=True))
        names = [same.get(pair, f"{value.name}_{axis}") for axis, pair in enumerate(pairs)]
        sizes = [a if a == b else None for a, b in pairs]  # whatever those of the inputs are
        known = [a if isinstance(a, int) else b for a, b in zip(value.shape, sizes, strict=True)]
        value.shape = _with_names(ir.Shape(known), dict(enumerate(names)))


def _with_names(shape: ir.Shape, names: Mapping[int, str]) -> ir.Shape:
    """The sizes that are numbers, and names, or none, in place of the others."""
    return ir.Shape(
        [size if isinstance(size, int) else names.get(axis) for axis, size in enumerate(shape)]
    )


def _outputs(model: ir.Model, sizes: Mapping[str, int]) -> list[infer.Dims | None]:
    """The shapes of the outputs where the open sizes of the inputs are these."""
    copy = model.clone()
    for value in copy.graph.inputs:
        if value.shape is not None:
            dims = infer.sizes(value.shape)
            value.shape = ir.Shape([sizes.get(dim, dim) for dim in dims])  # type: ignore[arg-type]
    try:
        types = infer.types(copy)
    except ModelError:  # something in it asks for another size
        return [None] * len(copy.graph.outputs)
    return [types[v].dims if v in types else None for v in copy.graph.outputs]
