"""Checks on the files that ``tests/data/exporters`` makes: each output is one form of FRN."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import graph_models
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper

from frn_onnx import op
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.fusion import FuseResult, fuse
from frn_onnx.graph.report import Report

FOLDER = Path(__file__).parent / "data" / "exporters"
FILES = sorted(FOLDER.glob("*.onnx"))
FLOAT32 = [path for path in FILES if "float16" not in path.name]
LEVELS = {
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
}


@dataclass(frozen=True)
class Outcome:
    """What became of the forms of one file.

    Attributes:
        counts: for each form the FRN nodes between the model's input and its output.
        report: the model before against after, on random input.
        result: of fuse.
    """

    counts: dict[str, int]
    report: Report
    result: FuseResult


def check(model: onnx.ModelProto) -> Outcome:
    """Fuses a file of forms; fails unless every form is one FRN node, and every miss none."""
    outcome = try_forms(model)
    onnx.checker.check_model(outcome.result.model)
    assert outcome.report.ok, str(outcome.report)
    counts = outcome.counts
    wrong = {name: count for name, count in counts.items() if count != (not is_miss(name))}
    assert wrong == {}, (wrong, outcome.result.skipped)
    assert len(outcome.result.fused) == sum(not is_miss(name) for name in counts)
    assert_not_trivial(model)
    return outcome


def try_forms(model: onnx.ModelProto) -> Outcome:
    """Fuses a file of forms, and looks what became of each."""
    names = next(p.value for p in model.metadata_props if p.key == "forms").split(",")
    result = fuse(model)
    report = verify(model, result.model, samples=2)
    return Outcome(frn_counts(result, names), report, result)


def optimised(path: Path, level: str) -> onnx.ModelProto:
    """A file as ONNX Runtime writes it at this level of optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = os.path.join(folder, "optimised.onnx")
        ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    names = next(p.value for p in onnx.load(path).metadata_props if p.key == "forms")
    onnx.helper.set_model_props(model, {"forms": names})
    return model


def made_float16(path: Path, statistic: str) -> onnx.ModelProto:
    """A file made float16 by ONNX Runtime's own tool, its statistics in float16 or float32."""
    from onnxruntime.transformers import float16

    blocked = [*float16.DEFAULT_OP_BLOCK_LIST]
    if statistic == "float32":
        blocked += ["Pow", "ReduceMean", "GlobalAveragePool"]
    return float16.convert_float_to_float16(
        onnx.load(path), keep_io_types=True, op_block_list=blocked
    )


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
