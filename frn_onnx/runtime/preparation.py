"""What a session loads in place of the model it is given: fused, and with FRN in blocked layout."""

import contextlib
import dataclasses
import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import onnx
import onnx_ir as ir

from frn_onnx.errors import FrnError
from frn_onnx.graph import model_io, protos
from frn_onnx.graph.fusion import fuse_loaded
from frn_onnx.runtime import blocked, library
from frn_onnx.runtime.cache import Cache

ort: Any = library.onnxruntime()
logger = logging.getLogger("frn_onnx.runtime")

Model = str | bytes | os.PathLike
_ALL = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
_NONE = ort.GraphOptimizationLevel.ORT_DISABLE_ALL


@dataclass(frozen=True)
class Prepared:
    """What a session loads.

    Attributes:
        model: the model.
        report: what became of its FRN nodes.
        lasting: whether the same would come of it again.
    """

    model: Model
    report: blocked.Report
    lasting: bool = True

    def level(self, options: Any) -> AbstractContextManager[None]:
        """Options under which the model is loaded: a blocked one was optimised already."""
        if self.report.reason is not None:
            return contextlib.nullcontext()
        return blocked.changed(options, graph_optimization_level=_NONE)


def prepare(
    model: Model,
    options: Any,
    folder: Path | None,
    *,
    fuse: bool,
    reason: str | None,
    cache: Cache | None,
) -> Prepared:
    """What a session is to load.

    Args:
        model: that it is given.
        options: of the session, with the plugin.
        folder: an empty one, to write what is made to; it is needed until the model is loaded. None
            where there is none: then nothing is blocked.
        fuse: whether FRN in standard ops is to be fused.
        reason: why FRN is not to be blocked; None where it may be.
        cache: where what is made is kept.

    Raises:
        ModelError: the model cannot be read, and is to be fused.
    """
    reason = reason or _against(model, options)
    if cache is None or folder is None or (reason and not fuse):
        made = _make(model, options, folder, fuse, reason)
    else:
        made = _cached(cache, model, folder, fuse, reason)
    logger.info("FRN: %s", made.report)
    return made


def _cached(cache: Cache, model: Model, folder: Path, fuse: bool, reason: str | None) -> Prepared:
    options = ort.SessionOptions()
    try:
        if reason is None:
            # What is kept is for whoever comes: nothing of this session's options may be in it.
            library.register(options)
            key = cache.key(model, fuse=fuse, block=blocked.block())
        else:
            key = cache.key(model, fuse=fuse)
    except blocked.UnfitError as error:
        return _make(model, options, folder, fuse, str(error))
    except (OSError, FrnError):  # which is told by whoever loads the model
        return _make(model, options, folder, fuse, reason)
    if (entry := cache.get(key)) is not None:
        said, kept = entry
        with contextlib.suppress(KeyError, TypeError):  # damaged where no checksum looks
            found = model if said["file"] is None else kept / said["file"]
            return Prepared(found, blocked.Report(**said["report"]))
    made = _make(model, options, folder, fuse, reason)
    if made.lasting:
        file = None if made.model is model else Path(cast(Path, made.model)).name
        cache.put(key, {"file": file, "report": dataclasses.asdict(made.report)}, folder)
    return made


def _against(model: Model, options: Any) -> str | None:
    """Why a session is made of the model as it is."""
    if not isinstance(model, bytes) and os.fspath(model).endswith(".ort"):
        return "the file is in ONNX Runtime's own format"
    if options.graph_optimization_level != _ALL:
        return "the session options ask for less than all of ONNX Runtime's optimisations"
    if options.optimized_model_filepath:
        blocked.weights_in_one_file(options)
        return "the session options ask for the optimised model"
    return None


def _make(
    model: Model, options: Any, folder: Path | None, fuse: bool, reason: str | None
) -> Prepared:
    loaded, lasting = _fused(model) if fuse else None, True
    if reason is None and folder is None:
        reason = "there is no temporary folder to write to"
    if reason is None and folder is not None:
        try:
            return Prepared(*blocked.prepare(loaded or _load(model), options, folder))
        except blocked.UnfitError as error:
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
    return Prepared(model, blocked.Report(reason=reason), lasting)


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
