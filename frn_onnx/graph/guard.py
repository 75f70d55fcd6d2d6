"""The comparison that stands before a file is written: what it needs, and the ways around it."""

import contextlib
from collections.abc import Iterator

from frn_onnx.errors import ArgumentError, DependencyError, ModelError, VerificationError
from frn_onnx.graph import samples
from frn_onnx.graph.report import Report


def read_inputs(inputs: samples.Inputs | None, compare: bool, off: str) -> samples.Inputs | None:
    """Reads an .npz file before any work is done.

    Args:
        inputs: what the models are to be compared on.
        compare: whether they are.
        off: the argument that said so, as Python and the command line have it.

    Raises:
        ModelError: the file is missing or no .npz file.
        ArgumentError: there are inputs, and nothing to compare.
    """
    if inputs is not None and not compare:
        raise ArgumentError(f"--inputs (inputs) are to be compared on, and {off} compares nothing")
    return None if inputs is None else samples.read(inputs)


@contextlib.contextmanager
def ways_out(original: str, off: str) -> Iterator[None]:
    """Adds, to what keeps a model from being compared with its original, what can be done."""
    try:
        yield
    except ModelError as error:
        raise VerificationError(f"{original} cannot be verified: {error}\n{ways(off)}") from error
    except DependencyError as error:
        raise DependencyError(f"{error}\n{ways(off)}") from error


def ways(off: str) -> str:
    """What to do about a comparison that failed, and what is lost with it."""
    return (
        "Nothing was written. If the random input does not suit, pass input that does with "
        f"--inputs FILE.npz (inputs in Python); to write the file unproven, pass {off}: then "
        "nothing has shown that it computes the same as the original."
    )


def verdict(report: Report, original: str) -> str:
    """Why a report is no proof, in words."""
    if report.verdict == "unknown":
        return f"outputs cannot be compared with those of {original}"
    return f"the ONNX model computes something else than {original}"
