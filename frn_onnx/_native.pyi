"""The compiled module: the CPU kernels on NumPy arrays, and what the build holds.

Thin on purpose: :func:`frn_onnx.frn` checks and copies, and is what to call.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

def frn(
    x: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    tau: np.ndarray | None = None,
    *,
    residual: np.ndarray | None = None,
    epsilon: float | np.ndarray,
    axes: Sequence[int],
    out: np.ndarray | None = None,
    threads: int = 0,
) -> np.ndarray:
    """y = max(gamma * x / sqrt(mean(x**2) + epsilon) + beta + residual, tau), without the GIL.

    Args:
        x: rank 3, 4 or 5, C-contiguous; float32, float64, float16 or bfloat16 (ml_dtypes).
        gamma, beta, tau: (C,), contiguous; float64 where x is, else float32.
        residual: C-contiguous, of x's shape and dtype, or None: nothing is added.
        epsilon: a Python float, or an array as gamma; not negative.
        axes: the spatial axes.
        out: written and returned if given: like x, and x itself or residual is allowed.
        threads: how many to use at most, the caller's among them; 0 for as many as this
            process may use (affinity, CPU quota). A call beside another one that has the
            threads runs on its own. The result has the same bits for every number.

    Raises:
        ValueError: an argument is not as described, or FRN_ONNX_CPU_TARGET cannot be had.
    """

def copy(x: np.ndarray, out: np.ndarray, *, threads: int = 0) -> None:
    """Copies x to out, one memcpy per thread: what the kernels' throughput is held against.

    Args:
        x, out: C-contiguous, of the same size in bytes.
        threads: as for :func:`frn`.
    """

def build_info() -> dict[str, Any]:
    """What was built: ``version``, ``compiler``, ``ort_version_min`` (the oldest ONNX Runtime),
    ``cpu_targets`` (compiled in), ``cpu_target`` (in use), and ``cuda``: None, or a dict with
    ``toolkit`` and ``architectures``."""

def cpu_targets() -> list[str]:
    """The targets that FRN_ONNX_CPU_TARGET may name on this machine, best first."""

def frn_cuda(
    *,
    x: int,
    residual: int = 0,
    y: int,
    shape: Sequence[int],
    dtype: str,
    axes: Sequence[int],
    gamma: tuple[int, str],
    beta: tuple[int, str],
    tau: tuple[int, str] | None = None,
    epsilon: float,
    epsilons: int | None = None,
    device: int,
    stream: int,
) -> None:
    """Enqueues FRN of contiguous CUDA arrays. Only in a build with CUDA.

    Args:
        x, residual, y: addresses on the device; residual 0: none is added; y may be x or residual.
        shape: of all three, rank 3, 4 or 5.
        dtype: of all three: ``"float32"``, ``"float16"`` or ``"bfloat16"``.
        axes: the spatial axes.
        gamma, beta, tau: address and dtype of (C,) values; the dtype is x's, or float32.
        epsilon: not negative; used where epsilons is None.
        epsilons: address of (C,) float32 values.
        device: ordinal of the CUDA device that holds all of them.
        stream: a cudaStream_t as a number; 0 is the default stream.

    Raises:
        ValueError: an argument is not as described.
        RuntimeError: CUDA reported an error; the text has kernel, shape and dtype.
    """

def warm_up_cuda(*, device: int) -> None:
    """Loads the kernels on a CUDA device. Only in a build with CUDA.

    Args:
        device: its ordinal.

    Raises:
        RuntimeError: CUDA reported an error.
    """

def op_contract() -> dict[str, Any]:
    """The ops as the C++ side has them: ``domain``, ``version``, ``attributes`` (name to default;
    None: required), ``dtypes`` (numbers of ``onnx.TensorProto``) and ``ranks``; ``ops``: for each
    name its ``inputs`` and ``required_inputs``. Those and ``name`` beside are of the first op."""
