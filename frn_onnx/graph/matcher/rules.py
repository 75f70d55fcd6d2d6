"""What each ONNX op does to a known tensor: one small rule per op."""

import numpy as np
import onnx_ir as ir

from frn_onnx.graph.matcher import form as fm
from frn_onnx.graph.matcher.form import Form
from frn_onnx.graph.matcher.rules_axes import MOVES
from frn_onnx.graph.matcher.rules_elementwise import ELEMENTWISE
from frn_onnx.graph.matcher.rules_sizes import SIZE_RULES
from frn_onnx.graph.matcher.rules_statistic import STATISTICS
from frn_onnx.graph.matcher.values import Context, Known, Rule, Sizes, apply
from frn_onnx.graph.standard import is_standard

_RULES: dict[str, Rule] = {**ELEMENTWISE, **MOVES, **STATISTICS}


def evaluate(context: Context, node: ir.Node, args: list[Known | None]) -> Known | None:
    """The output of a node for known inputs; None where it is outside the algebra."""
    if not is_standard(node) or len(node.outputs) != 1 or "broadcast" in node.attributes:
        # Before BROADCASTING_OPSET, "broadcast" and its axis said how two tensors meet.
        return None
    given = [a for a, value in zip(args, node.inputs, strict=True) if value is not None]
    if given and all(isinstance(arg, np.ndarray) for arg in given):
        return context.constants.fold_sizes(node, args)
    tables = [_RULES]
    if any(isinstance(arg, Sizes) for arg in given) or node.op_type in ("Shape", "Size"):
        tables.insert(0, SIZE_RULES)
    rules = [table[node.op_type] for table in tables if node.op_type in table]
    results = (apply(rule, context, node, args) for rule in rules)
    return next((result for result in results if result is not None), None)


def evaluate_unknown(node: ir.Node, args: list[Known | None]) -> Known | None:
    """The output of a node with an input of which nothing is known: a flawed form, or None."""
    if not is_standard(node, "Add", "Sum"):
        return None
    form = next((arg for arg in args if isinstance(arg, Form)), None)
    if form is None or not (form.is_statistic and (form.nu_power == 1 or form.over)):
        return None
    unknown = next(v for a, v in zip(args, node.inputs, strict=True) if a is None and v is not None)
    return form.but(flaw=form.flaw or f"{fm.NOT_CONSTANT}: {unknown.name!r}")
