"""Reading and writing ONNX models: what is wrong with a file is said, and nothing is half written.

A model is an ``onnx_ir.Model`` on its whole way through this package. Its external data stay on
disk, and go from file to file when it is written; they are written again where the model came
with them, and where one file cannot hold it: protobuf ends at 2 GiB.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError

from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph import edit, protos, sites, structure, tensors, weight_files, wire

Source = str | os.PathLike | onnx.ModelProto | ir.Model

# What protobuf can hold in one message, hence in one file.
LIMIT_BYTES = onnx.checker.MAXIMUM_PROTOBUF

_WRITABLE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

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


def load(source: Source, *, in_place: bool = False) -> ir.Model:
    """The model, with a valid graph, its nodes in order, and external data where they are.

    Args:
        source: path of an ONNX file, or a model in memory, which stays as it is.
        in_place: True leaves large weights that are in the file itself there, as if they were
            external data.

    Raises:
        ModelError: the file is missing, empty, truncated or no ONNX file, its external data is
            missing, or the graph is invalid: undefined or doubly defined names, cycles; or it
            holds what ``onnx_ir`` lacks, such as maps.
        ArgumentError: ``source`` is none of these types.
    """
    path = None
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        proto = _parse(path, in_place)
    elif isinstance(source, onnx.ModelProto):
        proto = source
    elif isinstance(source, ir.Model):
        proto = protos.light_proto(source)
    else:
        raise ArgumentError(
            "model must be the path of an ONNX file, an onnx.ModelProto or an onnx_ir.Model, "
            f"received {type(source).__name__}"
        )
    what = f"{path}: " if path else ""
    if not proto.HasField("graph"):
        raise ModelError(f"{what}not an ONNX model: it holds no graph")
    if problem := structure.problem(proto):
        raise ModelError(f"{what}the graph is invalid: {problem}")
    if isinstance(source, ir.Model):
        model = source.clone()
    else:
        model = protos.from_proto(proto)
        if path:
            weight_files.find(model, path)
        weight_files.refuse_references(model)
        weight_files.own_attributes(model)
    _open_sizes(model)
    edit.sort(model)
    if any(graph.quantization_annotation for graph in protos.graph_protos(proto)):
        edit.keep_annotated(model)
    return model


def _open_sizes(model: ir.Model) -> None:
    """Exporters also write -1 for a size that is open, as ONNX Runtime reads it."""
    for value in sites.values(model):
        sizes = value.shape or ()
        if any(isinstance(size, int) and size < 0 for size in sizes):
            value.shape = ir.Shape(
                [None if isinstance(size, int) and size < 0 else size for size in sizes]
            )


def load_proto(source: Source) -> onnx.ModelProto:
    """As :func:`load`, as one message with all weights in memory."""
    return protos.to_proto(load(source))


@contextlib.contextmanager
def rewriting(source: str | os.PathLike, path: str | os.PathLike) -> Iterator[ir.Model]:
    """The model of a file, to be changed in place; what it has become is written at the end.

    Raises:
        ModelError: ``source`` cannot be read, its weights are replaced meanwhile, or ``path``
            cannot be written.
    """
    check_output(path, source)
    model = load(source)
    weights = weight_files.states(model)
    yield model
    with _saving(model, path, bool(weights)):
        weight_files.check_states(weights)


def save(
    model: ir.Model | onnx.ModelProto, path: str | os.PathLike, *, external_data: bool = False
) -> None:
    """Writes the model to a temporary file beside ``path`` and moves it there when it is whole.

    Args:
        model: stays as it is.
        path: of the ONNX file; its folder must exist.
        external_data: True writes the large weights to a second file, ``<path>.data``. That
            happens anyway when the model does not fit into one file (2 GiB).

    Raises:
        ModelError: the path cannot be written, or what is not a weight is beyond 2 GiB.
    """
    with _saving(model, path, external_data):
        pass


@contextlib.contextmanager
def _saving(
    model: ir.Model | onnx.ModelProto, path: str | os.PathLike, external_data: bool
) -> Iterator[None]:
    """Writes files beside those of a model, which take their places when the body is through."""
    path = Path(os.path.realpath(path))
    check_output(path)
    if isinstance(model, onnx.ModelProto):
        model = protos.from_proto(model)
    data = path.with_name(path.name + ".data")
    weights: list[ir.TensorProtocol] = []
    if external_data or byte_size(model) > LIMIT_BYTES:
        proto = protos.with_stand_ins(model, weight_files.Places(data.name, weights))
    else:
        proto = protos.to_proto(model)
    if _proto_bytes(proto) > LIMIT_BYTES:
        raise ModelError(
            f"{path}: the model is larger than 2 GiB, the most an ONNX file can hold, even with "
            "its initializers in a file of their own; large Constant nodes have to become "
            "initializers first"
        )
    try:
        with contextlib.ExitStack() as both:  # are moved when both are whole
            both.enter_context(replacing(path)).write_bytes(proto.SerializeToString())
            if weights:
                weight_files.write(weights, both.enter_context(replacing(data)))
            yield
    except OSError as error:
        raise ModelError(f"{path}: cannot be written: {error.strerror or error}") from error


def check_output(path: str | os.PathLike, *sources: object) -> None:
    """Refuses an output path before any work is done for it.

    Args:
        path: where something is to be written.
        sources: what it is made from; those that are paths, the files they store weights in,
            and what is in those that are folders, must not be overwritten.

    Raises:
        ModelError: ``path`` is a folder, a device or a pipe, read-only, one of the inputs, in one
            of them, or in a folder that is missing or may not be written to.
    """
    place = Path(os.path.realpath(Path(path).parent))  # where a link may be
    path = Path(os.path.realpath(path))
    if path.is_dir():
        raise ModelError(f"{path}: expected the path of a file to write, this is a folder")
    if path.exists() and not path.is_file():  # which would be replaced
        raise ModelError(f"{path}: expected the path of a file, this is a device, pipe or socket")
    if path.exists() and not path.stat().st_mode & _WRITABLE:  # a rename does not ask
        raise ModelError(
            f"{path}: the file is read-only; choose another name, or make it writable first"
        )
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
            if files & {place, *place.parents, *path.parents} and os.path.isdir(source):
                raise ModelError(
                    f"{path}: the output would be in the folder that is the input, {source}; "
                    "choose another folder"
                )


def external_files(source: str | os.PathLike) -> set[Path]:
    """The files that an ONNX file stores weights in; none for any other file."""
    try:
        proto = _parse(Path(source), in_place=True)
    except ModelError:
        return set()
    folder = Path(source).parent
    found = {
        folder / entry.value
        for tensor in protos.tensor_protos(proto)
        for entry in tensor.external_data
        if entry.key == "location"
    }
    return found - {Path(source)}  # which has those that were left in place


def byte_size(model: ir.Model | onnx.ModelProto) -> int:
    """Size of the model and its weights; one more than can be where it is too large."""
    if isinstance(model, onnx.ModelProto):
        return _proto_bytes(model)
    weights = (value.const_value for value in sites.initializers(model))
    large = sum(tensor.nbytes for tensor in weights if tensors.is_large(tensor))
    return _proto_bytes(protos.light_proto(model)) + large


def _parse(path: Path, in_place: bool = False) -> onnx.ModelProto:
    """The file's proto without its external data; ``in_place``: without its large weights."""
    if path.is_dir():
        raise ModelError(f"{path}: expected an ONNX file, this is a folder")
    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise ModelError(
                f"{path}: {size} bytes; an ONNX file can hold at most {LIMIT_BYTES} (2 GiB), so "
                "this is none; larger models keep their weights in external data"
            )
        content = wire.without_weights(path, tensors.SMALL_BYTES) if in_place else None
        content = path.read_bytes() if content is None else content
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


def _proto_bytes(proto: onnx.ModelProto) -> int:
    try:
        return proto.ByteSize()
    except EncodeError:
        return LIMIT_BYTES + 1


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path that replaces ``path`` on success and is removed on failure.

    Who may read the file that was there may read the new one, and nobody else.
    """
    # Of its own even where threads write one file, or containers, whose processes share numbers.
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        with contextlib.suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
