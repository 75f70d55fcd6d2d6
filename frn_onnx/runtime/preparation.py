"""What a session loads: the model it is given, or one that is made of it (making.py)."""

import contextlib
import dataclasses
import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from frn_onnx import op
from frn_onnx.errors import FrnError, ModelError
from frn_onnx.runtime import library
from frn_onnx.runtime.blocked import trial
from frn_onnx.runtime.blocked.errors import TrialError
from frn_onnx.runtime.blocked.optimised import weights_in_one_file
from frn_onnx.runtime.blocked.report import Report
from frn_onnx.runtime.cache import Cache, Model, state
from frn_onnx.runtime.session_options import changed

ort: Any = library.onnxruntime()
logger = logging.getLogger("frn_onnx.runtime")

_ALL = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
_NONE = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
# How often a file may become another while a model is made of it.
_MOST_TRIALS = 3


@dataclass(frozen=True)
class Prepared:
    """What a session loads.

    Attributes:
        model: the model.
        report: what became of its FRN nodes.
        lasting: whether the same would come of it again.
    """

    model: Model
    report: Report
    lasting: bool = True

    def level(self, options: Any) -> AbstractContextManager[None]:
        """Options under which the model is loaded: a blocked one was optimised already."""
        if self.report.reason is not None:
            return contextlib.nullcontext()
        return changed(options, graph_optimization_level=_NONE)


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
    reason = reason or _against(model, options, fuse)
    if fuse or reason is None:
        if cache is not None and folder is not None:
            made = _through(cache, model, options, folder, fuse, reason)
        else:
            made = _make(model, options, folder, fuse, reason)
    else:
        made = Prepared(model, Report(reason=reason))
    logger.info("FRN: %s", made.report)
    return made


def _through(
    cache: Cache, model: Model, options: Any, folder: Path, fuse: bool, reason: str | None
) -> Prepared:
    """What the cache has, or what is made, and kept in there."""

    def key_now() -> str:
        return cache.key(model, fuse=fuse, block=trial.size() if reason is None else 0)

    try:
        key = key_now()
    except TrialError as error:
        return _make(model, options, folder, fuse, str(error))
    except (OSError, FrnError):  # which is told by whoever loads the model
        return _make(model, options, folder, fuse, reason)
    if (entry := cache.get(key)) is not None:
        said, kept = entry
        with contextlib.suppress(KeyError, TypeError):  # damaged where no checksum looks
            found = model if said["file"] is None else kept / said["file"]
            # With a reason, whatever it was when the entry was made.
            report = Report(**said["report"]) if reason is None else Report(reason=reason)
            return Prepared(found, report)
    if reason is None:
        # What is kept is for whoever comes: nothing of the caller's options may be in it.
        options = ort.SessionOptions()
        library.register(options)
    made = _make(model, options, folder, fuse, reason)
    with contextlib.suppress(OSError, FrnError):  # the file has gone
        # Else the key is that of another model, or of other weights.
        if made.lasting and (isinstance(model, bytes) or key_now() == key):
            file = None if made.model is model else Path(cast(Path, made.model)).name
            cache.put(key, {"file": file, "report": dataclasses.asdict(made.report)}, folder)
    return made


def _make(
    model: Model, options: Any, folder: Path | None, fuse: bool, reason: str | None
) -> Prepared:
    # Only now: with all that changes graphs, it takes longer to import than a session to make.
    from frn_onnx.runtime import making

    for _ in range(_MOST_TRIALS):
        before = _state(model)
        made = making.make(model, options, folder, fuse, reason)
        if _state(model) == before:
            return made
        # Weights that were left in the file may be those of the one that took its place.
    if fuse:
        raise ModelError(f"{os.fspath(model)!r}: the file changes all the time while it is read")
    return Prepared(model, Report(reason="its file changes all the time"), False)


def _state(model: Model) -> list[int] | None:
    """What tells a file from the one that takes its place."""
    if isinstance(model, bytes):
        return None
    try:
        return state(model)
    except OSError:  # which is told by whoever loads it
        return None


def is_ort_format(model: Model) -> bool:
    """Whether a model is a file in ONNX Runtime's own format, which only that reads."""
    return not isinstance(model, bytes) and os.fspath(model).endswith(".ort")


def _against(model: Model, options: Any, fuse: bool) -> str | None:
    """Why a session is made of the model as it is."""
    if is_ort_format(model):
        return "the file is in ONNX Runtime's own format"
    if options.graph_optimization_level != _ALL:
        return "the session options ask for less than all of ONNX Runtime's optimisations"
    if options.optimized_model_filepath:
        weights_in_one_file(options)
        return "the session options ask for the optimised model"
    return None if fuse or _mentions_frn(model) else "it has no FRN nodes"


def _mentions_frn(model: Model) -> bool:
    """Whether the ops' name, which the one with a residual ends in, is in the file.

    Its weights are not looked through: a file that is overwritten while it is mapped ends the
    process, and they would be nearly all of that time.
    """
    name = op.OP_TYPE.encode()
    if isinstance(model, bytes):
        return name in model
    from frn_onnx.graph import wire

    try:
        return name in (wire.without_weights(Path(model), larger_than=0) or b"")
    except OSError:  # which is told by whoever loads it
        return False
