"""Names for the sizes that an exported model leaves open."""

import onnx

from frn_onnx.export.trace import Source
from frn_onnx.graph.forms import lower_nodes


def name(model: onnx.ModelProto, source: Source) -> None:
    """Names the open sizes of inputs and outputs, in place.

    tf2onnx numbers them, each time from where it stopped before. Sizes of one name must be
    equal: axis 0 is the same batch in all inputs of a Keras model. Of the others nothing is
    known, and of those of an output only what ONNX infers.

    Args:
        model: with canonical FRN nodes.
        source: what it was made from.
    """
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                is_batch = axis == 0 and source.is_keras_model
                dim.dim_param = "batch" if is_batch else f"{value.name}_{axis}"
    for value in model.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    lower_nodes(model, "custom")
    inferred = onnx.shape_inference.infer_shapes(model)
    for value, known in zip(model.graph.output, inferred.graph.output, strict=True):
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if not dim.HasField("dim_value"):
                dim.CopyFrom(known.type.tensor_type.shape.dim[axis])
                if not dim.HasField("dim_value") and not _tells(dim.dim_param):
                    dim.dim_param = f"{value.name}_{axis}"


def _tells(symbol: str) -> bool:
    # ONNX's shape inference writes unk__0, unk__1, ... for what it cannot tell.
    return bool(symbol) and not symbol.startswith("unk__")
