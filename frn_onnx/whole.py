"""Whole numbers of any kind: Python's, NumPy's, TensorFlow's."""

import operator

from frn_onnx.errors import ArgumentError


def as_int(value: object) -> int | None:
    """A whole number as Python's own; None for anything else, a bool too."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # which is what is asked
    except TypeError:
        return None


def at_least(least: int, name: str, value: object, hint: str = "") -> int:
    """An argument that is a whole number, as Python's own.

    Args:
        least: that it may be.
        name: of the argument.
        value: that it has.
        hint: what there is to know about the least.

    Raises: ArgumentError if it is no whole number, or a smaller one.
    """
    number = as_int(value)
    if number is None:
        raise ArgumentError(f"{name} must be an integer, received {value!r}")
    if number < least:
        raise ArgumentError(f"{name} must be at least {least}, received {number}{hint}")
    return number
