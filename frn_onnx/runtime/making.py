"""Models for sessions: fused, and with FRN in the blocked layout of convolutions."""

import contextlib
import logging
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from frn_onnx.graph import model_io, protos, sites
from frn_onnx.runtime.blocked import trial
from frn_onnx.runtime.blocked.errors import TrialError, UnfitError
from frn_onnx.runtime.blocked.report import Report
from frn_onnx.runtime.blocked.rewriting import FILE, transform
from frn_onnx.runtime.cache import Model
from frn_onnx.runtime.preparation import Prepared

logger = logging.getLogger("frn_onnx.runtime")

# Weights are written once more, to a temporary folder.
_LARGEST_BYTES = 2 << 30


def make(
    model: Model, options: Any, folder: Path | None, fuse: bool, reason: str | None
) -> Prepared:
    """What :func:`frn_onnx.runtime.preparation.prepare` says, anew."""
    loaded, lasting = _fused(model) if fuse else None, True
    if folder is None:
        if loaded is not None:
            model = protos.to_proto(loaded).SerializeToString()
        return Prepared(model, Report(reason=reason or "there is no temporary folder to write to"))
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
        model_io.save(loaded, model)
    return Prepared(model, Report(reason=reason), lasting)


def _blocked(model: ir.Model, options: Any, folder: Path) -> Prepared:
    if sum(value.const_value.nbytes for value in sites.initializers(model)) > _LARGEST_BYTES:
        raise UnfitError("its weights are larger than 2 GiB")
    report = transform(model, options, trial.block(), folder)
    return Prepared(folder / FILE, report)


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
