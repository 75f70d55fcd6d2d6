"""The parameters of a call on arrays: real numbers, and an epsilon that is finite."""

import numpy as np
import numpy.typing as npt

from frn_onnx.errors import ArgumentError, DtypeError, ShapeError


def numbers(name: str, value: npt.ArrayLike) -> np.ndarray:
    """A parameter as an array.

    Raises:
        DtypeError: it holds what is no real number.
        ShapeError: it is a list of lists of several lengths.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise ShapeError(f"FRN: {name} must be an array, one value per channel: {error}") from error
    if not np.can_cast(array.dtype, np.float64, "same_kind"):
        raise not_real(name, array.dtype.name)
    return array


def not_real(name: str, dtype: str) -> DtypeError:
    """The error for a parameter of another dtype."""
    return DtypeError(
        f"FRN: {name} must hold real numbers, received {dtype}; convert it first, for example "
        f"with numpy.asarray({name}, 'float32')."
    )


def absolute(epsilon: npt.ArrayLike, dtype: npt.DTypeLike) -> np.ndarray:
    """The absolute value of epsilon, a scalar or a vector, in the dtype that it is added in.

    Raises:
        DtypeError: it is no real number.
        ArgumentError: it is NaN, or infinite in that dtype.
    """
    given = numbers("epsilon", epsilon)
    with np.errstate(over="ignore"):
        values = np.abs(given.astype(dtype))
    finite = np.isfinite(values)
    if not finite.all():
        raise ArgumentError(
            f"FRN: epsilon must be finite in {values.dtype.name}, received {given[~finite][0]}; it "
            f"is a small number such as 1e-6, and at most {np.finfo(values.dtype).max:.3g}."
        )
    return values
