"""Reading and writing ONNX models: what is wrong with a file is said, and nothing is half written.

A model in memory (``onnx.ModelProto``) always carries its weights; external data is read when a
file is read. It is written again where one file cannot hold the model: protobuf ends at 2 GiB.
"""

import contextlib
import math
import os
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError, Message
from onnx import TensorProto, external_data_helper, numpy_helper

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import scopes, structure

Source = str | os.PathLike | onnx.ModelProto | ir.Model

# What protobuf can hold in one message, hence in one file.
LIMIT_BYTES = onnx.checker.MAXIMUM_PROTOBUF
# Tensors up to this size stay in the model file: shapes and axes must be readable without the
# external data, and a file is not worth its seek for less.
_INLINE_BYTES = 1024
_DATA_FIELDS = frozenset(
    ("raw_data", "float_data", "double_data", "int32_data", "int64_data", "uint64_data")
)

# What people pass by mistake, told by its first bytes, and what to do about it.
_OTHER_FILES = (
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with 'git lfs pull'"),
    (
        b"PK\x03\x04",
        "a zip archive, as .keras files are",
        "export a Keras model with frn_onnx.export",
    ),
    (b"\x89HDF\r\n", "an HDF5 file", "export a Keras model with frn_onnx.export"),
)


def load(source: Source) -> onnx.ModelProto:
    """The model as a proto of its own, with all weights in memory, and a valid graph.

    Args:
        source: path of an ONNX file, or a model in memory; the latter is copied.

    Raises:
        ModelError: the file is missing, empty, truncated or no ONNX file, its external data is
            missing, or the graph is invalid: undefined or doubly defined names, cycles.
        ArgumentError: ``source`` is none of these types.
    """
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        model = _parse(path)
        for tensor in _external_tensors(model):
            _read_external(tensor, path)
        what = f"{path}: "
    elif isinstance(source, onnx.ModelProto):
        what = ""
        model = onnx.ModelProto()
        model.CopyFrom(source)
        _refuse_references(model)
    elif isinstance(source, ir.Model):
        what = ""
        model = ir.to_proto(ir.external_data.load_to_model(source.clone()))
        _refuse_references(model)
    else:
        raise ArgumentError(
            "model must be the path of an ONNX file, an onnx.ModelProto or an onnx_ir.Model, "
            f"received {type(source).__name__}"
        )
    if not model.HasField("graph"):
        raise ModelError(f"{what}not an ONNX model: it holds no graph")
    problem = structure.problem(model)
    if problem:
        raise ModelError(f"{what}the graph is invalid: {problem}")
    return model


def load_ir(source: Source) -> ir.Model:
    """As :func:`load`, in the representation that the matcher works on.

    It has no sparse initializers; they become dense ones.

    Raises:
        ModelError: also for a model with what that representation lacks, such as maps.
    """
    model = load(source)
    for scope in scopes.scopes(model):
        if isinstance(scope.body, onnx.GraphProto):
            scope.body.initializer.extend(map(_dense, scope.body.sparse_initializer))
            del scope.body.sparse_initializer[:]
    try:
        return ir.from_proto(model)
    except (ir.serde.SerdeError, NotImplementedError) as error:
        reason: BaseException = error
        while reason.__cause__ is not None:
            reason = reason.__cause__
        raise ModelError(
            f"the model holds what onnx_ir {ir.__version__} does not: {reason}"
        ) from error


def save(model: onnx.ModelProto, path: str | os.PathLike, *, external_data: bool = False) -> None:
    """Writes the model to a temporary file beside ``path`` and moves it there when it is whole.

    Args:
        model: stays as it is.
        path: of the ONNX file; its folder must exist.
        external_data: True writes the large weights to a second file, ``<path>.data``. That
            happens anyway when the model does not fit into one file (2 GiB).

    Raises:
        ModelError: the path cannot be written, or what is not a weight is beyond 2 GiB.
    """
    path = Path(os.path.realpath(path))
    check_output(path)
    weights = None
    if external_data or byte_size(model) > LIMIT_BYTES:
        model, weights = without_weights(model)
    if byte_size(model) > LIMIT_BYTES:
        raise ModelError(
            f"{path}: the model is larger than 2 GiB, the most an ONNX file can hold, even with "
            "its initializers in a file of their own; large Constant nodes and weights in "
            "subgraphs have to become initializers of the main graph first"
        )
    try:
        if weights:
            data = path.with_name(path.name + ".data")
            with replacing(data) as temporary:
                _write_weights(weights, temporary, data.name)
        with replacing(path) as temporary:
            temporary.write_bytes(model.SerializeToString())
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_output(path: str | os.PathLike, *sources: object) -> None:
    """Refuses an output path before any work is done for it.

    Args:
        path: where something is to be written.
        sources: what it is made from; those that are paths, and the files they store weights
            in, must not be overwritten.

    Raises:
        ModelError: ``path`` is a folder, one of the inputs, or in a folder that is missing or
            may not be written to.
    """
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise ModelError(f"{path}: expected the path of a file to write, this is a folder")
    if not path.parent.is_dir():
        raise ModelError(f"{path}: the folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise ModelError(f"{path}: no permission to write to the folder {path.parent}")
    written = {path, path.with_name(path.name + ".data")}
    for source in sources:
        if isinstance(source, str | os.PathLike):
            files = {Path(os.path.realpath(f)) for f in (source, *external_files(source))}
            if files & written:
                raise ModelError(
                    f"{path}: the output would overwrite the input {source}; choose another name"
                )


def external_files(source: str | os.PathLike) -> set[Path]:
    """The files that an ONNX file stores weights in; none for any other file."""
    try:
        model = _parse(Path(source))
    except ModelError:
        return set()
    infos = (external_data_helper.ExternalDataInfo(t) for t in _external_tensors(model))
    return {Path(source).parent / info.location for info in infos}


def byte_size(model: onnx.ModelProto) -> int:
    """Size of the serialised model; one more than can be where it is too large."""
    try:
        return model.ByteSize()
    except EncodeError:
        return LIMIT_BYTES + 1


def tensor_bytes(tensor: TensorProto) -> int:
    """Size of a tensor of numbers, from its shape: its data may be gigabytes, and is not read."""
    return math.ceil(math.prod(tensor.dims) * ir.DataType(tensor.data_type).itemsize)


def without_weights(
    model: onnx.ModelProto,
) -> tuple[onnx.ModelProto, list[tuple[TensorProto, TensorProto]]]:
    """A copy of a model whose large initializers hold a name, a type and dimensions only.

    Returns:
        The copy, and for each emptied initializer the pair (in the copy, in the model).
    """
    light = onnx.ModelProto()
    _copy(model, light, without=("graph",))
    _copy(model.graph, light.graph, without=("initializer",))
    emptied = []
    for tensor in model.graph.initializer:
        copy = light.graph.initializer.add()
        if tensor.data_type == TensorProto.STRING or tensor_bytes(tensor) <= _INLINE_BYTES:
            copy.CopyFrom(tensor)
            continue
        _copy(tensor, copy, without=_DATA_FIELDS)
        copy.data_location = TensorProto.EXTERNAL
        emptied.append((copy, tensor))
    return light, emptied


def _parse(path: Path) -> onnx.ModelProto:
    """The file's proto as it is, without its external data."""
    if path.is_dir():
        raise ModelError(f"{path}: expected an ONNX file, this is a folder")
    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise ModelError(
                f"{path}: {size} bytes; an ONNX file can hold at most {LIMIT_BYTES} (2 GiB), so "
                "this is none; larger models keep their weights in external data"
            )
        content = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    if not content:
        raise ModelError(f"{path}: the file is empty (0 bytes); expected an ONNX model")
    for head, what, cure in _OTHER_FILES:
        if content.startswith(head):
            raise ModelError(f"{path}: this is {what}, not an ONNX model; {cure}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ModelError(f"{path}: {_unreadable(content)}") from None
    if not model.HasField("graph"):
        raise ModelError(f"{path}: {_unreadable(content)}")
    return model


def _unreadable(content: bytes) -> str:
    head = content[:512]
    with contextlib.suppress(UnicodeDecodeError):
        if head.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
            return "this is a text file; expected an ONNX model in protobuf's binary format"
    return (
        f"cannot be read as an ONNX model ({len(content)} bytes): the file is truncated or of "
        "another format; copy or download it again"
    )


def _external_tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    for tensor in scopes.tensors(model):
        if external_data_helper.uses_external_data(tensor):
            yield tensor


def _read_external(tensor: TensorProto, path: Path) -> None:
    """Reads one tensor's external data into it."""
    info = external_data_helper.ExternalDataInfo(tensor)
    file = path.parent / info.location
    if not file.is_file():
        raise ModelError(
            f"{path}: its external data is missing: tensor {tensor.name!r} is stored in {file}, "
            "which does not exist; keep the model and its data files in one folder"
        )
    offset, expected = info.offset or 0, tensor_bytes(tensor)
    stored = file.stat().st_size - offset if info.length is None else info.length
    if stored != expected or offset + expected > file.stat().st_size:
        raise ModelError(
            f"{path}: tensor {tensor.name!r} has {expected} bytes from byte {offset} of {file}, "
            f"which has {file.stat().st_size}, and {stored} are said to be stored; the data file "
            "is truncated or belongs to another model"
        )
    try:
        external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    except (ValueError, OSError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"{path}: the external data of tensor {tensor.name!r} cannot be read from {file}: "
            f"{error}"
        ) from error
    tensor.ClearField("data_location")
    del tensor.external_data[:]


def _dense(sparse: onnx.SparseTensorProto) -> TensorProto:
    """The same tensor with its zeros."""
    values, indices = map(numpy_helper.to_array, (sparse.values, sparse.indices))
    dense = np.zeros(sparse.dims, values.dtype)
    # A row of indices for each value, or its place in the flattened tensor.
    places = tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dense.shape)
    dense[places] = values
    return numpy_helper.from_array(dense, sparse.values.name)


def _refuse_references(model: onnx.ModelProto) -> None:
    for tensor in _external_tensors(model):
        raise ModelError(
            f"tensor {tensor.name!r} is in external data that was not loaded; pass the model's "
            "path, or load it with onnx.load(path), which reads external data too"
        )


def _copy(source: Message, target: Message, *, without: Collection[str]) -> None:
    """Copies every field but some, which are not even looked at: reading bytes copies them."""
    for name in set(source.DESCRIPTOR.fields_by_name).difference(without):
        value = getattr(source, name)
        if hasattr(value, "extend"):
            getattr(target, name).extend(value)
        elif source.HasField(name):
            if isinstance(value, Message):
                getattr(target, name).CopyFrom(value)
            else:
                setattr(target, name, value)


def _write_weights(
    weights: list[tuple[TensorProto, TensorProto]], file: Path, location: str
) -> None:
    """Writes the weights one after another, and where they are into the emptied tensors."""
    with file.open("wb") as stream:
        for emptied, tensor in weights:
            content = (
                tensor.raw_data or numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data
            )
            place = {"location": location, "offset": stream.tell(), "length": len(content)}
            for key, value in place.items():
                emptied.external_data.add(key=key, value=str(value))
            stream.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces ``path`` on success and is removed on failure."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
