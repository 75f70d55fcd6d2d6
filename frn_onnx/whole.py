"""Whole numbers of any kind: Python's, NumPy's, TensorFlow's."""

import operator


def as_int(value: object) -> int | None:
    """A whole number as Python's own; None for anything else, a bool too."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)  # type: ignore[arg-type]  # which is what is asked
    except TypeError:
        return None
