"""fuse from file to file: fused, proven on random input, and only then written."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from frn_onnx.errors import VerificationError
from frn_onnx.graph import guard, model_io
from frn_onnx.graph.comparison import verify
from frn_onnx.graph.conv_transpose import fix_conv_transpose as fix
from frn_onnx.graph.forms import Form, check_form
from frn_onnx.graph.fusion import FuseResult, fuse_loaded
from frn_onnx.graph.proof import NodeProof, prove
from frn_onnx.graph.report import OutputReport, Report
from frn_onnx.graph.samples import Inputs

_OFF = "compare=False (--no-verify)"


@dataclass(frozen=True)
class FileResult:
    """What :func:`fuse_file` did.

    Attributes:
        result: of fuse.
        report: both files compared; None if that was not asked for.
        proofs: each fused node compared with what it replaced; None likewise.
        conv_transposes: how many ConvTranspose lost their one-sided pads.
    """

    result: FuseResult
    report: Report | None
    proofs: Sequence[NodeProof] | None
    conv_transposes: int

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON."""
        return {
            "fused": [{**asdict(node), "layout": node.layout} for node in self.result.fused],
            "skipped": [asdict(skipped) for skipped in self.result.skipped],
            "verified": self.report and self.report.to_dict(),
            "per_node": self.proofs
            and [{"name": proof.name, **proof.report.to_dict()} for proof in self.proofs],
            "conv_transposes": self.conv_transposes,
        }


def fuse_file(
    source: str | os.PathLike,
    path: str | os.PathLike,
    *,
    form: Form = "portable",
    compare: bool = True,
    per_node: bool = False,
    fix_conv_transpose: bool = False,
    inputs: Inputs | None = None,
) -> FileResult:
    """Fuses an ONNX file and writes the result, if it computes the same.

    Args:
        source: path of the ONNX file; it is not changed.
        path: of the file to write.
        form: as for :func:`frn_onnx.fuse`.
        compare: run both models on random input of several sizes.
        per_node: also run each fused node alone against the nodes it replaced.
        fix_conv_transpose: also take the one-sided pads out of every ConvTranspose, which
            ONNX Runtime's CUDA provider leaves to the CPU; results stay the same bits.
        inputs: arrays by input name, or the path of an .npz file, to compare on; None makes
            random ones.

    Raises:
        ModelError: the file or ``inputs`` cannot be read, or ``path`` cannot be written.
        ArgumentError: ``inputs`` do not fit the model, or nothing is to be compared on them.
        VerificationError: the two compute something else, and the node that is furthest off is
            named, or they cannot be compared. Nothing is written.
        DependencyError: ONNX Runtime, which compares, is not installed.
    """
    check_form(form)
    inputs = guard.read_inputs(inputs, compare, _OFF)
    with model_io.rewriting(source, path) as model:
        result = fuse_loaded(model, form)
        changed = fix(model) if fix_conv_transpose else 0
        with guard.ways_out(str(source), _OFF):
            report = verify(source, model, inputs=inputs) if compare else None
            different = report is not None and not report.ok
            proofs = prove(source) if per_node or different else None
        failed = [proof for proof in proofs or () if not proof.report.ok]
        if different or failed:
            first = report if different else failed[0].report
            text = f"{guard.verdict(first, str(source))}; {path} was not written"
            if failed:
                worst = max(failed, key=lambda proof: max(map(_excess, proof.report.outputs)))
                text += f". Furthest off: {worst.name}, in place of {', '.join(worst.replaced)}"
                text += f"\n{worst.report}"
            if different:
                text += f"\n{report}"
            raise VerificationError(f"{text}\n{guard.ways(_OFF)}")
    return FileResult(result, report, proofs, changed)


def _excess(output: OutputReport) -> float:
    """How far an output is off, in units of what is allowed."""
    if output.problem or not output.allowed or output.a is None or output.b is None:
        return float("inf")
    return abs(output.a - output.b) / output.allowed
