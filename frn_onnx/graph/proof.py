"""Each fused node alone against the nodes it replaced.

The proof of ``match.py`` is algebra; this one is arithmetic. For every match, the nodes between x
and y are cut out of the model before they are replaced, and what replaces them after, each as a
small model of its own; both run on the same random x.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from frn_onnx import op
from frn_onnx.graph import model_io, sites
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.cut import cut
from frn_onnx.graph.fusion import Fusion
from frn_onnx.graph.lowering import lower
from frn_onnx.graph.matcher.match import Match
from frn_onnx.graph.report import Report

# The oldest opset that a function, which the node is run as, may be written in.
_FUNCTION_OPSET = 13


@dataclass(frozen=True)
class NodeProof:
    """The comparison of one fused node with what it replaced.

    Attributes:
        name: of the fused node.
        replaced: names of the nodes it replaced.
        report: of the two on random input; ``report.ok`` is the verdict.
    """

    name: str
    replaced: Sequence[str]
    report: Report


def prove(model: model_io.Source, *, samples: int = 2, seed: int = 0) -> list[NodeProof]:
    """Compares each node that fuse makes with the nodes it takes the place of.

    Args:
        model: the model as it was before fuse; it is not changed.
        samples: how many random inputs each node gets.
        seed: of the random inputs.

    Raises:
        ModelError: the model cannot be read, or a part of it cannot be run.
    """
    fusion = Fusion(model_io.load(model), observe=_cut)
    fusion.run()
    proofs = []
    for made in fusion.made:
        before, after = made.observed
        # A size that came from another tensor is one the node does not need.
        taken = {value.name for value in after.graph.input}
        after.graph.input.extend(v for v in before.graph.input if v.name not in taken)
        report = verify(before, lower(after, "portable"), samples=samples, seed=seed)
        proofs.append(NodeProof(made.node.name, made.replaced, report))
    return proofs


def _cut(fusion: Fusion, match: Match, y: ir.Value) -> onnx.ModelProto:
    """The part of a model that computes y from the match's root, as a model."""
    part = cut(y, match.root, set(match.cone), fusion.search.constants, fusion.search.order)
    graph = helper.make_graph(
        [ir.to_proto(node) for node in part.nodes],
        y.name,
        [_value_info(fusion, value) for value in part.inputs],
        [_value_info(fusion, y)],
        [numpy_helper.from_array(array, value.name) for value, array in part.constants.items()],
    )
    opset = sites.opset(fusion.model)
    imports = [helper.make_opsetid("", opset)]
    if any(node.domain == op.DOMAIN for node in part.nodes):
        imports = [
            helper.make_opsetid("", max(opset, _FUNCTION_OPSET)),
            helper.make_opsetid(op.DOMAIN, op.VERSION),
        ]
    version = max(fusion.model.ir_version, op.FUNCTION_IR_VERSION)
    return helper.make_model(graph, opset_imports=imports, ir_version=version)


def _value_info(fusion: Fusion, value: ir.Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(
        value.name, fusion.search.shapes.dtype(value).value, fusion.search.shapes.of(value)
    )
