"""Checks on the files that ``tests/data/exporters`` makes: each output is one form of FRN."""

from dataclasses import dataclass
from pathlib import Path

import graph_models
import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper

from frn_onnx import op
from frn_onnx.graph.fuse import FuseResult, fuse
from frn_onnx.graph.verify import verify

FOLDER = Path(__file__).parent / "data" / "exporters"


@dataclass(frozen=True)
class Outcome:
    """What became of the forms of one file.

    Attributes:
        counts: for each form the FRN nodes between the model's input and its output.
        max_error: the largest absolute error of any output, before against after.
    """

    counts: dict[str, int]
    max_error: float


def check(model: onnx.ModelProto) -> Outcome:
    """Fuses a file of forms; fails unless every form is one FRN node, and every miss none."""
    names = next(p.value for p in model.metadata_props if p.key == "forms").split(",")
    result = fuse(model)
    onnx.checker.check_model(result.model)
    report = verify(model, result.model, samples=2)
    assert report.ok, str(report)
    counts = frn_counts(result, names)
    wrong = {name: count for name, count in counts.items() if count != (not is_miss(name))}
    assert wrong == {}, (wrong, result.skipped)
    assert len(result.fused) == sum(not is_miss(name) for name in names)
    assert_not_trivial(model)
    return Outcome(counts, max(output.max_abs for output in report.outputs))


def is_miss(name: str) -> bool:
    return name.startswith("miss")


def frn_counts(result: FuseResult, names: list[str]) -> dict[str, int]:
    """How many FRN nodes are behind each output."""
    graph = ir.from_proto(result.model).graph
    counts = {}
    for name, output in zip(names, graph.outputs, strict=True):
        seen: set[ir.Node] = set()
        stack = [output.producer()]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack += [value.producer() for value in node.inputs if value is not None]
        counts[name] = sum(node.op_type == op.OP_TYPE for node in seen)
    return counts


def assert_not_trivial(model: onnx.ModelProto) -> None:
    """No output is a constant, or NaN: equal outputs before and after then mean something."""
    (value,) = model.graph.input
    kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
    sizes = iter((3, 5, 7))
    shape = [dim.dim_value or next(sizes) for dim in value.type.tensor_type.shape.dim]
    x = np.random.default_rng(0).normal(size=shape).astype(kind)
    for output, array in zip(
        model.graph.output, graph_models.run(model, {value.name: x}), strict=True
    ):
        assert np.isfinite(array).all(), output.name
        assert array.std() > 0.05, output.name
