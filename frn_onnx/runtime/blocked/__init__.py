"""FRN inside the blocked layout that ONNX Runtime's convolutions use on CPUs.

ONNX Runtime runs Conv on tensors whose channels lie in blocks of 8 or 16 (NCHWc), and reorders the
tensor on both sides of every op that it does not know as one that can be blocked. Here its own
optimiser is led to take FRN for one that can; everything that is known of its internals is in this
package.

==============  ==============================================================
``standins``    each FRN node becomes an activation, with a mark in it
``optimised``   ONNX Runtime's optimiser runs, and blocks what it can
``restore``     the marks become FRN nodes again, of the layout that is there
``reorders``    FRN reads or writes in place of the Reorder beside it
``rewriting``   these, one after the other
``trial``       once per process: the block's size, and that it all holds
==============  ==============================================================

Whatever is not as expected raises :class:`UnfitError`, and the session is made without all this.
"""

from pathlib import Path
from typing import Any

import onnx_ir as ir

from frn_onnx.graph import model_io, sites
from frn_onnx.runtime.blocked.errors import UnfitError
from frn_onnx.runtime.blocked.optimised import changed, weights_in_one_file
from frn_onnx.runtime.blocked.rewriting import FILE, Report, transform
from frn_onnx.runtime.blocked.trial import block

# Weights are written twice, to a temporary folder.
_LARGEST_BYTES = 2 << 30

__all__ = ["Report", "UnfitError", "block", "changed", "prepare", "weights_in_one_file"]


def prepare(model: ir.Model, options: Any, folder: Path) -> tuple[Path, Report]:
    """Writes a model with blocked FRN nodes, which ONNX Runtime is to load without optimising it.

    Args:
        model: the model.
        options: the ``onnxruntime.SessionOptions`` of the session, which has the plugin.
        folder: to write it to.

    Returns:
        The file's path, which weights lie beside.

    Raises:
        UnfitError: nothing would be gained, or something is not as it is expected to be.
    """
    if not sites.frn_sites(model):
        raise UnfitError("it has no FRN nodes")
    if model_io.byte_size(model) > _LARGEST_BYTES:
        raise UnfitError("its weights are larger than 2 GiB")
    report = transform(model, options, block(), folder)
    return folder / FILE, report
