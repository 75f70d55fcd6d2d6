"""A model, made into one whose FRN nodes work in the blocked layout."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any

import onnx_ir as ir

from frn_onnx.graph import model_io, protos, tensors
from frn_onnx.runtime.blocked import reorders, restore, standins
from frn_onnx.runtime.blocked.errors import LostError, UnfitError
from frn_onnx.runtime.blocked.optimised import optimise
from frn_onnx.runtime.blocked.report import Report

FILE = "blocked.onnx"
# Each time without the FRN nodes that were lost the time before.
_MOST_TRIALS = 4


def transform(model: ir.Model, options: Any, block: int, folder: Path) -> Report:
    """Writes a model that ONNX Runtime is to load without optimising it.

    Args:
        model: left as it is.
        options: the ``onnxruntime.SessionOptions`` of the session, which has the plugin.
        block: how many channels ONNX Runtime puts into a block.
        folder: an empty one, to write ``FILE`` and its weights to.

    Raises:
        UnfitError: nothing would be gained, or something is not as it is expected to be.
    """
    without: frozenset[int] = frozenset()
    for _ in range(_MOST_TRIALS):
        try:
            return _transform(model.clone(), options, block, without, folder)
        except LostError as error:
            without |= error.nodes
    raise UnfitError("what stands for its FRN nodes does not come back from the optimiser")


def _transform(
    model: ir.Model, options: Any, block: int, without: Collection[int], folder: Path
) -> Report:
    marks = standins.put_in(model, block, without)
    if not marks:
        raise UnfitError("it has no FRN on NCHW, of constant float32 parameters, to be blocked")
    path = folder / FILE
    _optimise(model, path, options)
    graph = model_io.load(path)
    transposes = any(node.op_type == "Transpose" for node in model.graph.all_nodes())
    blocked = restore.restore(graph, marks, block, transposes=transposes)
    leaving, entering = reorders.take_over_reorders(graph.graph, block)
    if not blocked + entering:
        raise UnfitError("no FRN stands beside a convolution that ONNX Runtime blocks")
    # The weights stay in the file that ONNX Runtime wrote them to.
    path.write_bytes(protos.with_stand_ins(graph, lambda tensor: tensor).SerializeToString())
    return Report(blocked + entering, leaving + entering, sum(1 for mark in marks if mark.sums))


def _optimise(model: ir.Model, path: Path, options: Any) -> None:
    """Has ONNX Runtime optimise a model.

    It takes weights only from the model's folder, and neither symbolic links to them nor, in
    memory, without a copy: to copy whole files is the fastest way there. Hard links would change
    the times of somebody's files.
    """
    made: dict[str, Path] = {}  # file of weights -> its copy

    def beside(weight: ir.TensorProtocol) -> ir.TensorProtocol:
        if not isinstance(weight, ir.ExternalTensor):
            return weight
        if not tensors.is_large(weight):  # as shapes are, which are not inferred from files
            return tensors.in_memory(weight)
        file = os.path.realpath(weight.path)
        if file not in made:
            made[file] = path.with_name(f"given_{len(made)}.data")
            shutil.copyfile(file, made[file])
        return tensors.external(weight, made[file].name, weight.offset or 0)

    source = path.with_name("standins.onnx")
    source.write_bytes(protos.with_stand_ins(model, beside).SerializeToString())
    optimise(source, path, options)
    for written in (source, *made.values()):
        written.unlink()
