"""Models for sessions: fused, and with FRN in the blocked layout of convolutions."""

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import Any, cast

import onnx
import onnx_ir as ir

from frn_onnx.errors import FrnError
from frn_onnx.graph import model_io, protos, sites
from frn_onnx.graph.fusion import fuse_loaded
from frn_onnx.runtime import library
from frn_onnx.runtime.blocked import trial
from frn_onnx.runtime.blocked.errors import UnfitError
from frn_onnx.runtime.blocked.report import Report
from frn_onnx.runtime.blocked.rewriting import FILE, transform
from frn_onnx.runtime.cache import Cache, Model
from frn_onnx.runtime.preparation import Prepared

ort: Any = library.onnxruntime()
logger = logging.getLogger("frn_onnx.runtime")

# Weights are written twice, to a temporary folder.
_LARGEST_BYTES = 2 << 30


def make(
    model: Model,
    options: Any,
    folder: Path | None,
    fuse: bool,
    reason: str | None,
    cache: Cache | None,
) -> Prepared:
    """What :func:`frn_onnx.runtime.preparation.prepare` says, from the cache where it is there."""
    if cache is None or folder is None:
        return _make(model, options, folder, fuse, reason)
    return _cached(cache, model, folder, fuse, reason)


def _cached(cache: Cache, model: Model, folder: Path, fuse: bool, reason: str | None) -> Prepared:
    options = ort.SessionOptions()
    try:
        if reason is None:
            # What is kept is for whoever comes: nothing of the caller's options may be in it.
            library.register(options)
            key = cache.key(model, fuse=fuse, block=trial.block())
        else:
            key = cache.key(model, fuse=fuse)
    except UnfitError as error:
        return _make(model, options, folder, fuse, str(error))
    except (OSError, FrnError):  # which is told by whoever loads the model
        return _make(model, options, folder, fuse, reason)
    if (entry := cache.get(key)) is not None:
        said, kept = entry
        with contextlib.suppress(KeyError, TypeError):  # damaged where no checksum looks
            found = model if said["file"] is None else kept / said["file"]
            return Prepared(found, Report(**said["report"]))
    made = _make(model, options, folder, fuse, reason)
    if made.lasting:
        file = None if made.model is model else Path(cast(Path, made.model)).name
        cache.put(key, {"file": file, "report": dataclasses.asdict(made.report)}, folder)
    return made


def _make(
    model: Model, options: Any, folder: Path | None, fuse: bool, reason: str | None
) -> Prepared:
    loaded, lasting = _fused(model) if fuse else None, True
    if reason is None and folder is None:
        reason = "there is no temporary folder to write to"
    if reason is None and folder is not None:
        try:
            return _blocked(loaded or _load(model), options, folder)
        except UnfitError as error:
            reason = str(error)
        except Exception as error:  # whatever it is, the model as it is will do, or tell
            reason, lasting = f"{type(error).__name__}: {error}", False
        for path in folder.iterdir():
            with contextlib.suppress(OSError):  # Windows keeps what is mapped
                path.unlink()
    if loaded is not None and folder is None:
        model = protos.to_proto(loaded).SerializeToString()
    elif loaded is not None and folder is not None:
        model = folder / "fused.onnx"
        model_io.save(loaded, model)
    return Prepared(model, Report(reason=reason), lasting)


def _blocked(model: ir.Model, options: Any, folder: Path) -> Prepared:
    if sum(value.const_value.nbytes for value in sites.initializers(model)) > _LARGEST_BYTES:
        raise UnfitError("its weights are larger than 2 GiB")
    report = transform(model, options, trial.block(), folder)
    return Prepared(folder / FILE, report)


def _fused(model: Model) -> ir.Model:
    result = fuse_loaded(_load(model), "portable")
    for node in result.fused:
        logger.info("fused %s, in place of %d nodes", node.name, len(node.replaced))
    for skipped in result.skipped:
        logger.info("not fused: %s: %s", skipped.nodes[-1], skipped.reason)
    return result.graph


def _load(model: Model) -> ir.Model:
    if isinstance(model, bytes):
        return model_io.load(onnx.load_model_from_string(model))
    return model_io.load(model)
