"""Weights in files of their own: where they are, that they are whole, and how they are written."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import onnx_ir as ir

from frn_onnx.errors import ModelError
from frn_onnx.graph import sites, tensors


def find(model: ir.Model, path: Path) -> None:
    """Tells external tensors where their files are, and looks whether they are in there."""
    for tensor in sites.tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            tensor.base_dir = path.parent
            _check(tensor, path)
    for value in sites.initializers(model):
        tensor = value.const_value
        if isinstance(tensor, ir.ExternalTensor):
            value.const_value = _unlinked(tensor)


def _unlinked(tensor: ir.ExternalTensor) -> ir.ExternalTensor:
    """Of one in a file that is a link, the file itself: ``onnx_ir`` reads no links elsewhere."""
    real = os.path.realpath(tensor.path)
    if os.path.dirname(real) == os.path.realpath(os.path.dirname(tensor.path)):
        return tensor
    found = tensors.external(tensor, os.path.basename(real), tensor.offset or 0)
    found.base_dir = os.path.dirname(real)
    return found


def _check(tensor: ir.ExternalTensor, path: Path) -> None:
    file = Path(tensor.path)
    real, model = os.path.realpath(file), os.path.realpath(path)
    # Of a model that is a link, the folder that it is in itself, too: as in Hugging Face's cache.
    folders = os.path.realpath(path.parent), os.path.dirname(model)
    if not any(real.startswith(os.path.join(folder, "")) for folder in folders):
        raise ModelError(
            f"{path}: the external data of tensor {tensor.name!r} cannot be read from {file}, "
            "which is outside of the model's folder; move it there"
        )
    if not file.is_file():
        raise ModelError(
            f"{path}: its external data is missing: tensor {tensor.name!r} is stored in {file}, "
            "which does not exist; keep the model and its data files in one folder"
        )
    offset, expected, size = tensor.offset or 0, tensor.nbytes, file.stat().st_size
    stored = size - offset if tensor.length is None else tensor.length
    if stored != expected or offset + expected > size:
        raise ModelError(
            f"{path}: tensor {tensor.name!r} has {expected} bytes from byte {offset} of {file}, "
            f"which has {size}, and {stored} are said to be stored; the data file is truncated "
            "or belongs to another model"
        )
    if not os.access(file, os.R_OK):
        raise ModelError(f"{path}: no permission to read its external data {file}")


def own_attributes(model: ir.Model) -> None:
    """Has the tensors of attributes in memory, and apart from a message that is somebody's.

    ``onnx_ir`` names a Constant's tensor when it is looked into, and writes only initializers to
    files of their own.
    """
    for node in sites.nodes(model):
        sites.change_tensors(node, _own)


def _own(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if isinstance(tensor, ir.serde.TensorProtoTensor):
        copy = onnx.TensorProto()
        copy.CopyFrom(tensor.raw)
        return ir.serde.TensorProtoTensor(copy)
    return tensors.read(tensor)


def refuse_references(model: ir.Model) -> None:
    for tensor in sites.tensors(model):
        if isinstance(tensor, ir.ExternalTensor) and not tensor.base_dir:
            raise ModelError(
                f"tensor {tensor.name!r} is in external data that was not loaded; pass the "
                "model's path, or load it with onnx.load(path), which reads external data too"
            )


State = tuple[int, int, int]


def states(model: ir.Model) -> dict[str, State | None]:
    """What becomes another where a file of weights is written to, or another takes its place."""
    found = (tensor for tensor in sites.tensors(model) if isinstance(tensor, ir.ExternalTensor))
    return {path: _state(path) for path in {os.fspath(tensor.path) for tensor in found}}


def check_states(before: Mapping[str, State | None]) -> None:
    """Refuses weights that are not those that were there before: they are read as they are used.

    Raises:
        ModelError: a file is another one.
    """
    for path, state in before.items():
        if _state(path) != state:
            raise ModelError(
                f"{path}: these weights became others while they were used, and nothing was "
                "written; begin again once they stay as they are"
            )


def _state(path: str) -> State | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    # Not when it was changed last, as of permissions or links: that takes no weight for another.
    return status.st_size, status.st_ino, status.st_mtime_ns


class Places:
    """Gives each large tensor its place in a file of external data."""

    def __init__(self, location: str, weights: list[ir.TensorProtocol]) -> None:
        self._location = location
        self._weights = weights
        self._offset = 0

    def __call__(self, tensor: ir.TensorProtocol) -> ir.TensorProtocol:
        if not tensors.is_large(tensor):
            return tensors.in_memory(tensor)
        place = tensors.external(tensor, self._location, self._offset)
        self._weights.append(tensor)
        self._offset += tensor.nbytes
        return place


def write(weights: Sequence[ir.TensorProtocol], file: Path) -> None:
    """Writes the weights one after another."""
    with file.open("wb") as stream:
        for tensor in weights:
            if isinstance(tensor, ir.ExternalTensor):
                tensor.tofile(stream)
            else:  # NumPy's tofile() does not say where a full disk has not taken the last bytes
                stream.write(tensor.tobytes())
