"""What became of the FRN nodes of a session."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """What became of a model's FRN nodes.

    Attributes:
        blocked: how many read or write blocked tensors.
        reordering: how many of these do one of the two with planes, in place of a Reorder.
        phases: how many take the place of a ConvTranspose in front of them, too.
        reason: why none does; None where some do.
    """

    blocked: int = 0
    reordering: int = 0
    phases: int = 0
    reason: str | None = None

    def __str__(self) -> str:
        if self.reason is not None:
            return f"outside ONNX Runtime's blocked layout: {self.reason}"
        return f"{self.blocked} nodes in ONNX Runtime's blocked layout"
