"""Models for sessions: fused, and with FRN in the blocked layout of convolutions."""

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from frn_onnx.errors import ModelError
from frn_onnx.graph import model_io, protos, sites
from frn_onnx.runtime.blocked import trial
from frn_onnx.runtime.blocked.errors import TrialError, UnfitError
from frn_onnx.runtime.blocked.report import Report
from frn_onnx.runtime.blocked.rewriting import FILE, transform
from frn_onnx.runtime.cache import Model
from frn_onnx.runtime.preparation import Prepared

logger = logging.getLogger("frn_onnx.runtime")

# Files of weights are copied to a temporary folder, and what is made of them is written there.
_LARGEST_BYTES = 2 << 30


def make(
    model: Model, options: Any, folder: Path | None, fuse: bool, reason: str | None
) -> Prepared:
    """What :func:`frn_onnx.runtime.preparation.prepare` says, anew."""
    loaded, lasting = _fused(model) if fuse else None, True
    if folder is None:
        reason = reason or "there is no temporary folder to write to"
        return Prepared(model if loaded is None else _content(loaded), Report(reason=reason), False)
    if reason is None:
        try:
            return _blocked(loaded or _load(model), options, folder)
        except UnfitError as error:
            reason, lasting = str(error), not isinstance(error, TrialError)
        except Exception as error:  # whatever it is, the model as it is will do, or tell
            reason, lasting = f"{type(error).__name__}: {error}", False
        for path in folder.iterdir():
            with contextlib.suppress(OSError):  # Windows keeps what is mapped
                path.unlink()
    if loaded is not None:
        model = folder / "fused.onnx"
        try:
            model_io.save(loaded, model)
        except ModelError:  # the folder is full
            model, lasting = _content(loaded), False
    return Prepared(model, Report(reason=reason), lasting)


def _blocked(model: ir.Model, options: Any, folder: Path) -> Prepared:
    if _size(model) > _LARGEST_BYTES:
        raise UnfitError("its weights, or the files that they are in, are larger than 2 GiB")
    report = transform(model, options, trial.block(), folder)
    return Prepared(folder / FILE, report)


def _size(model: ir.Model) -> int:
    """Bytes of the weights, and of all that is in the files of those that are in files."""
    weights = [value.const_value for value in sites.initializers(model)]
    files = {os.path.realpath(w.path) for w in weights if isinstance(w, ir.ExternalTensor)}
    inside = sum(w.nbytes for w in weights if not isinstance(w, ir.ExternalTensor))
    return inside + sum(map(os.path.getsize, files))


def _content(model: ir.Model) -> bytes:
    return protos.to_proto(model).SerializeToString()


def _fused(model: Model) -> ir.Model:
    # Only now: it takes longer to import than all else that is needed here.
    from frn_onnx.graph.fusion import fuse_loaded

    result = fuse_loaded(_load(model), "portable")
    for node in result.fused:
        logger.info("fused %s, in place of %d nodes", node.name, len(node.replaced))
    for skipped in result.skipped:
        logger.info("not fused: %s: %s", skipped.nodes[-1], skipped.reason)
    return result.graph


def _load(model: Model) -> ir.Model:
    if isinstance(model, bytes):
        return model_io.load(onnx.load_model_from_string(model))
    return model_io.load(model, in_place=True)
