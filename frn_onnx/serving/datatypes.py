"""The V2 datatypes: their names in the protocol, in ONNX Runtime and in NumPy.

BF16 has no NumPy type: its tensors are arrays of the 16 bits, in uint16. BYTES tensors, which
are ONNX's strings, are object arrays of ``str``.

Source: Open Inference Protocol, "Tensor Data Types" and the binary tensor data extension,
https://github.com/kserve/open-inference-protocol
"""

import numpy as np

# The wire is little-endian.
NUMPY: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BF16": np.dtype("<u2"),
    "BYTES": np.dtype(object),
}

# ONNX Runtime's name of a tensor type -> the protocol's.
FROM_ORT: dict[str, str] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(bfloat16)": "BF16",
    "tensor(string)": "BYTES",
}

# What JSON has to hold for each kind of datatype, and the word for it in messages.
JSON_TYPES: dict[str, tuple[frozenset[type], str]] = {
    "b": (frozenset({bool}), "true and false"),
    "i": (frozenset({int}), "integers"),
    "u": (frozenset({int}), "integers"),
    "f": (frozenset({int, float}), "numbers"),
    "O": (frozenset({str}), "strings"),
}


def kind(datatype: str) -> str:
    """b, i, u, f or O, as in ``numpy.dtype.kind``; BF16 is a float, whatever carries its bits."""
    return "f" if datatype == "BF16" else NUMPY[datatype].kind


def bfloat16_bits(values: np.ndarray) -> np.ndarray:
    """float32 -> the bits of the nearest bfloat16 (ties to even), in uint16; NaN stays NaN."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    return np.where(np.isnan(values), np.uint32(0x7FC0), rounded).astype(NUMPY["BF16"])


def bfloat16_values(bits: np.ndarray) -> np.ndarray:
    """The bits of bfloat16 numbers, in uint16 -> the same numbers in float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
