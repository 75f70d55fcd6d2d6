"""What a comparison of two models found, for people and as JSON."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Verdict = Literal["equal", "different", "unknown"]
_WORDS = {
    "equal": "equal within tolerance",
    "different": "DIFFERENT",
    "unknown": "CANNOT BE COMPARED",
}


@dataclass(frozen=True)
class OutputReport:
    """How one output of the two models differs.

    Attributes:
        name: in the first model.
        max_abs: the largest |a - b|.
        max_rel: the largest |a - b| relative to the largest |a| in the same array.
        sample, index: where the error is largest against what is allowed; None where the
            arrays cannot be compared.
        a, b, allowed: the two values there (None for text), and the error allowed there.
        shape: of the output in that sample.
        exceeding, elements: how many elements are off by more than allowed, and of how many.
        differing: how many are off by more than rounding explains, in a place where the first
            model jumps by itself or not. Integers, booleans and text differ if not equal.
        jumping: how many elements of the first model were seen to jump when its input moved by
            rounding; so many may differ. 0 where nothing differed: then it was not measured.
        problem: why the arrays cannot be compared, or "".
        comparable: False where ``problem`` leaves open whether the models are equal.
    """

    name: str
    max_abs: float = 0.0
    max_rel: float = 0.0
    sample: int | None = None
    index: tuple[int, ...] | None = None
    a: float | None = None
    b: float | None = None
    allowed: float | None = None
    shape: tuple[int, ...] | None = None
    exceeding: int = 0
    elements: int = 0
    differing: int = 0
    jumping: int = 0
    problem: str = ""
    comparable: bool = True

    @property
    def verdict(self) -> Verdict:
        if self.exceeding or (self.problem and self.comparable):
            return "different"
        return "equal" if self.comparable else "unknown"

    @property
    def ok(self) -> bool:
        return self.verdict == "equal"

    def __str__(self) -> str:
        if self.problem:
            where = "" if self.sample is None else f" in sample {self.sample}"
            return f"{self.name}: {self.problem}{where}"
        if not self.elements:
            return f"{self.name}: it has no elements, so that there was nothing to compare"
        text = f"{self.name}: max abs error {self.max_abs:.3g}, relative {self.max_rel:.3g}"
        if self.index is not None and self.max_abs:
            text += f"; worst at {self.index} of {self.shape}"
            if self.a is not None and self.b is not None:
                text += f": {self.a:.9g} against {self.b:.9g}, allowed {self.allowed:.3g}"
        if self.exceeding:
            text += f"; {self.exceeding} of {self.elements} elements are out of tolerance"
        if self.differing:
            text += (
                f"; {self.differing} of {self.elements} elements differ by more than rounding, "
                f"{self.differing - self.exceeding} of them as the first model does itself: "
                f"{self.jumping} of its elements jump when its input moves by rounding"
            )
        return text


@dataclass(frozen=True)
class Report:
    """The comparison of two models.

    Attributes:
        a, b: what the models are called.
        samples: for each sample the shapes of the inputs by name.
        outputs: one entry for each output.
    """

    a: str
    b: str
    samples: Sequence[Mapping[str, tuple[int, ...]]]
    outputs: Sequence[OutputReport]

    @property
    def verdict(self) -> Verdict:
        """ "different" if an output is, else "unknown" if one is or all are empty."""
        found = {output.verdict for output in self.outputs}
        if not any(output.elements for output in self.outputs):
            found.add("unknown")
        return next((v for v in ("different", "unknown") if v in found), "equal")

    @property
    def ok(self) -> bool:
        """Whether every element of every output is within its tolerance."""
        return self.verdict == "equal"

    def to_dict(self) -> dict[str, Any]:
        """Plain types only, for JSON."""
        outputs = [
            {**dataclasses.asdict(output), "ok": output.ok, "verdict": output.verdict}
            for output in self.outputs
        ]
        samples = [{name: list(shape) for name, shape in s.items()} for s in self.samples]
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "a": self.a,
            "b": self.b,
            "samples": samples,
            "outputs": outputs,
        }

    def __str__(self) -> str:
        lines = [f"{self.a} and {self.b}: {_WORDS[self.verdict]}"]
        for sample in self.samples:
            lines.append("  on " + ", ".join(f"{name} {shape}" for name, shape in sample.items()))
        lines += [f"  {output}" for output in self.outputs]
        return "\n".join(lines)
