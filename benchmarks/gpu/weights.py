"""Large weights left out of a file, to be drawn again where the file is used.

A network that is only timed needs weights of the right size, not certain ones; without them a
U-Net of 60 MB takes some kilobytes.
"""

import zlib

import numpy as np
import onnx
from onnx import numpy_helper

_LARGE = 4096  # elements; parameters of FRN stay
_KEY = "left_out."


def leave_out(model: onnx.ModelProto) -> None:
    """Takes the large float weights out of ``model``; their spread stays in its metadata."""
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size > _LARGE and values.dtype in (np.float16, np.float32):
            spread = float(values.astype(np.float64).std())
            model.metadata_props.add(key=_KEY + tensor.name, value=repr(spread))
            tensor.ClearField("raw_data")
            tensor.ClearField("float_data")
            tensor.ClearField("int32_data")


def draw_again(model: onnx.ModelProto) -> None:
    """Fills what ``leave_out`` took, by the tensors' names: equal names get equal weights."""
    spreads = {
        prop.key.removeprefix(_KEY): float(prop.value)
        for prop in model.metadata_props
        if prop.key.startswith(_KEY)
    }
    for tensor in model.graph.initializer:
        if tensor.name in spreads:
            rng = np.random.default_rng(zlib.crc32(tensor.name.encode()))
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            values = rng.standard_normal(tuple(tensor.dims)) * spreads[tensor.name]
            tensor.raw_data = values.astype(dtype).tobytes()
