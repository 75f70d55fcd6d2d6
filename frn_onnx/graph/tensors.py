"""Tensors that are elsewhere: in a file, still to be computed, or under another name.

They are what the weights of a model are made of, so that none is in memory before it is needed.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

from frn_onnx.errors import ModelError

# Tensors up to this size are in every message: shapes and axes must be readable.
SMALL_BYTES = 1024


def is_large(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype != ir.DataType.STRING and tensor.nbytes > SMALL_BYTES


def read(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor in memory; to read an external one itself keeps its file mapped."""
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    packed = tensor.dtype.bitwidth < 8
    dtype = np.dtype(np.uint8) if packed else tensor.dtype.numpy().newbyteorder("<")
    count = tensor.nbytes if packed else tensor.size
    try:
        array = np.fromfile(tensor.path, dtype, count, offset=tensor.offset or 0)
    except OSError as error:
        raise ModelError(
            f"the external data of tensor {tensor.name!r} cannot be read from {tensor.path}: "
            f"{error.strerror or error}; they are read when they are needed, and have to stay "
            "where they were until then"
        ) from error
    if array.size < count:
        raise ModelError(
            f"the external data of tensor {tensor.name!r} are not whole any more in {tensor.path}, "
            "which has become shorter; they are read when they are needed, and have to stay as "
            "they were until then"
        )
    shape = ir.Shape(tensor.shape.numpy())
    if packed:
        return ir.PackedTensor(array, tensor.dtype, shape=shape, name=tensor.name)
    return ir.Tensor(array.reshape(shape.numpy()), tensor.dtype, shape=shape, name=tensor.name)


def in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor, or, of one on disk, one that is read from there as it is written."""
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    return lazy(tensor, functools.partial(read, tensor))


def lazy(
    tensor: ir.TensorProtocol,
    make: Callable[[], ir.TensorProtocol],
    dtype: ir.DataType | None = None,
) -> ir.LazyTensor:
    """What ``make`` gives when it is asked for, with what else is said of a tensor."""
    return ir.LazyTensor(
        make, dtype or tensor.dtype, ir.Shape(tensor.shape.numpy()), **_said_of(tensor)
    )


def twin(tensor: ir.TensorProtocol) -> ir.LazyTensor:
    """The same tensor, whose name may become another."""

    def itself() -> ir.TensorProtocol:
        return tensor

    return lazy(tensor, itself)


def external(
    tensor: ir.TensorProtocol, location: str, offset: int | None = None
) -> ir.ExternalTensor:
    """A tensor that is to be found in a file."""
    length = None if offset is None else tensor.nbytes
    return ir.ExternalTensor(
        location,
        offset,
        length,
        tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        **_said_of(tensor),
    )


def _said_of(tensor: ir.TensorProtocol) -> dict[str, Any]:
    return {
        "name": tensor.name or "",
        "doc_string": tensor.doc_string,
        "metadata_props": dict(tensor.metadata_props),
    }
