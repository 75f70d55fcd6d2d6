"""Writes a model repository for Triton Inference Server, which needs no Python to serve it.

    REPO/NAME/config.pbtxt
    REPO/NAME/libfrn_onnx_ops.so      where the model has FRN nodes
    REPO/NAME/1/model.onnx            and its external data

Source: model repository and model configuration,
https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/
"""

import math
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import onnx

from frn_onnx import op
from frn_onnx.errors import ArgumentError, ModelError
from frn_onnx.graph.model_io import external_files, replacing
from frn_onnx.runtime.library import build_info, get_library_path
from frn_onnx.serving import pbtxt
from frn_onnx.serving.model import Model
from frn_onnx.serving.options import ModelOptions
from frn_onnx.serving.probe import PATIENCE_SECONDS, Probe, probe
from frn_onnx.serving.triton_config import data_type, dims, model_config
from frn_onnx.whole import at_least

INSTANCE_KINDS = ("gpu", "cpu")
# Brings ONNX Runtime 1.27; the library takes any from 1.18 on.
IMAGE = "nvcr.io/nvidia/tritonserver:26.07-py3"
# Where the printed command puts the repository inside the container.
_MOUNT = PurePosixPath("/models")
_DEFAULT_MAX_BATCH = 32


@dataclass(frozen=True)
class Entry:
    """A model that was put into a repository.

    Attributes:
        folder: the model's folder.
        files: what was written, relative to ``folder``.
        command: the ``docker run`` line that serves the repository.
        notes: what the user should know, one sentence each.
    """

    folder: Path
    files: tuple[str, ...]
    command: str
    notes: tuple[str, ...]


def write_repository(
    path: str | os.PathLike,
    repo: str | os.PathLike,
    *,
    name: str | None = None,
    library_path: str | None = None,
    max_batch: int | None = None,
    instance_kind: str = "gpu",
    count: int = 1,
    warmup: bool = False,
) -> Entry:
    """Puts a model into a repository.

    Args:
        path: the ONNX file.
        repo: the repository; made if it is not there. A model of the same name is replaced.
        name: the model's name; None takes the file's.
        library_path: absolute path of the library **as Triton will see it**; None is where the
            printed ``docker run`` line mounts the copy.
        max_batch: most samples that Triton puts together, 0 for none; so many are tried. None
            is 32, or as many as can be tried in a few seconds, if the model's samples do not touch
            each other, else 0.
        instance_kind: ``"gpu"`` or ``"cpu"``.
        count: instances of the model on each device.
        warmup: whether Triton runs a sample before it reports the model ready.

    Raises:
        ArgumentError: an argument means nothing, or the model cannot be batched.
        ModelError: the file cannot be served.
        PluginError: the model needs the library, which is missing.
    """
    _check(library_path, instance_kind)
    count = at_least(1, "count", count)
    max_batch = None if max_batch is None else at_least(0, "max_batch", max_batch)
    source = Path(path)
    model = Model(ModelOptions(source, name=name, device="cpu"))
    # Who asks for a number gets all of them tried, however long that takes.
    most_seconds = math.inf if max_batch else PATIENCE_SECONDS
    probed = probe(model, max_batch or _DEFAULT_MAX_BATCH, most_seconds=most_seconds)
    proto = onnx.load(source, load_external_data=False)
    folder = Path(repo) / model.signature.name
    files: dict[str, Path | str] = _external_data(source)
    notes = []
    inside = None
    if any(imported.domain == op.DOMAIN for imported in proto.opset_import):
        library = Path(get_library_path())
        files[library.name] = library
        inside = library_path or str(_MOUNT / model.signature.name / library.name)
        notes += _library_notes(proto, instance_kind)
    batch = _max_batch(max_batch, probed)
    if not batch:
        notes.append(f"Triton will not put requests together: {probed.reason}.")
    elif max_batch is None and batch < _DEFAULT_MAX_BATCH:
        notes.append(
            f"Triton will put at most {batch} samples together, as many as were tried here in "
            f"{PATIENCE_SECONDS:g} s: pass --max-batch to have more tried."
        )
    files["1/model.onnx"] = source
    # Triton may be watching: the configuration, which makes the entry complete, comes last.
    files["config.pbtxt"] = pbtxt.render(
        _config(model, probed, batch, inside, instance_kind, count, warmup)
    )
    for target, content in files.items():
        _write(folder / target, content)
    return Entry(folder, tuple(files), _command(Path(repo), instance_kind), tuple(notes))


def _check(library_path: str | None, instance_kind: str) -> None:
    if library_path is not None and not PurePosixPath(library_path).is_absolute():
        raise ArgumentError(
            "the library path must be absolute, for Triton hands it to the loader as it is; "
            f"received {library_path!r}"
        )
    if instance_kind not in INSTANCE_KINDS:
        raise ArgumentError(
            f"the instance kind must be one of {', '.join(INSTANCE_KINDS)}, "
            f"received {instance_kind!r}"
        )


def _external_data(source: Path) -> dict[str, Path | str]:
    """The files beside the model that hold its weights, under their places in the entry."""
    files: dict[str, Path | str] = {}
    for data in sorted(external_files(source)):
        place = data.relative_to(source.parent)
        if ".." in place.parts:
            raise ModelError(f"{source}: its external data {data} must be in the model's folder")
        files[f"1/{place.as_posix()}"] = data
    return files


def _max_batch(asked: int | None, probed: Probe) -> int:
    if asked and not probed.stacks:
        raise ArgumentError(
            f"max_batch is {asked}, and the model's samples cannot run together: {probed.reason}; "
            "leave max_batch, or make it 0"
        )
    default = probed.rows if probed.stacks else 0
    return default if asked is None else asked


def _library_notes(proto: onnx.ModelProto, instance_kind: str) -> list[str]:
    if instance_kind == "cpu" or build_info()["cuda"] is not None:
        return []
    has_body = any(function.domain == op.DOMAIN for function in proto.functions)
    where = "as standard ops on the GPU" if has_body else "on the CPU, with copies back and forth"
    return [
        f"This library was built without CUDA: FRN will run {where}. Build it with nvcc of the "
        "container's CUDA version for the GPU kernels."
    ]


def _config(
    model: Model,
    probed: Probe,
    batch: int,
    library: str | None,
    instance_kind: str,
    count: int,
    warmup: bool,
) -> dict[str, Any]:
    """Triton's ModelConfig."""
    config = model_config(model.signature, batch, instance_kind, count)
    if library:
        config["model_operations"] = {"op_library_filename": [library]}
    if warmup:
        if not probed.shapes:
            raise ModelError(f"there is no sample to warm the model up with: {probed.reason}")
        sizes = dict.fromkeys((1, batch)) if batch else (0,)
        config["model_warmup"] = [_warmup(model, probed, size) for size in sizes]
    return config


def _warmup(model: Model, probed: Probe, size: int) -> dict[str, Any]:
    """A sample of the size; random only where any value is valid."""
    inputs = []
    for name, spec in model.signature.inputs.items():
        is_float = spec.datatype.startswith("FP")
        value = {
            "data_type": data_type(spec),
            "dims": dims(probed.shapes[name], size)["dims"],
            "random_data" if is_float else "zero_data": True,
        }
        inputs.append({"key": name, "value": value})
    return {"name": f"batch_{size}" if size else "sample", "batch_size": size, "inputs": inputs}


def _write(target: Path, content: Path | str) -> None:
    """Copies a file or writes a text, so that nobody ever sees half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as part:
        if isinstance(content, Path):
            shutil.copyfile(content, part)
        else:
            part.write_text(content)


def _command(repo: Path, instance_kind: str) -> str:
    gpus = " --gpus all" if instance_kind == "gpu" else ""
    folder = shlex.quote(str(repo.resolve()))
    return (
        f"docker run --rm{gpus} -p 8000:8000 -p 8001:8001 -p 8002:8002 "
        f"-v {folder}:{_MOUNT}:ro {IMAGE} tritonserver --model-repository={_MOUNT}"
    )
