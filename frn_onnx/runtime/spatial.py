"""Which axes of an array are spatial."""

from collections.abc import Sequence

from frn_onnx import op
from frn_onnx.errors import ShapeError


def spatial_axes(shape: Sequence[int], axes: Sequence[int] | None) -> tuple[int, ...]:
    """The spatial axes of an array that a kernel can take; None means channels last.

    Raises:
        ShapeError: no kernel takes the rank, or axes do not leave one channel axis.
    """
    rank = len(shape)
    if rank not in op.RANKS:
        raise ShapeError(
            f"FRN: x must have rank 3, 4 or 5 (batch, channels and 1 to 3 spatial axes), received "
            f"shape {tuple(shape)}."
        )
    return op.default_axes(rank) if axes is None else op.normalize_axes(axes, rank)
