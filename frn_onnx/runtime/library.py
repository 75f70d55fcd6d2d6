"""Where the native library is, what it was built with, and how ONNX Runtime gets it."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from frn_onnx import errors

_NAMES = {"win32": "frn_onnx_ops.dll", "darwin": "libfrn_onnx_ops.dylib"}
_LIBRARY = Path(__file__).parent.parent / _NAMES.get(sys.platform, "libfrn_onnx_ops.so")
REINSTALL = (
    "install it again: make clean setup in a checkout, or pip install --force-reinstall --no-deps "
    "with the wheel or the source"
)

# The oldest ONNX Runtime that the library works with. A test compares it with the build's.
OLDEST_ONNXRUNTIME = "1.18"


def get_library_path() -> str:
    """The path of the custom-op library, for ``register_custom_ops_library`` in any language.

    The file depends on neither Python nor the rest of the package: C++, C#, Java and Triton
    load the same one.

    Raises:
        PluginError: the file is missing.
    """
    if not _LIBRARY.is_file():
        raise errors.PluginError(
            f"the custom-op library {_LIBRARY} is missing; expected it beside the Python "
            f"package. {REINSTALL}."
        )
    return str(_LIBRARY)


def has_native() -> bool:
    """Whether the compiled module was built.

    It is not where Python's headers were missing, and in the wheels of Windows and macOS.
    """
    return importlib.util.find_spec("frn_onnx._native") is not None


def native() -> ModuleType:
    """The compiled module ``frn_onnx._native``.

    Raises:
        PluginError: it was not built, or does not load.
    """
    if not has_native():
        raise errors.PluginError(
            "the compiled module frn_onnx._native, which frn_onnx.frn and build_info need, is not "
            f"there: {_why_no_native()}"
        )
    try:
        from frn_onnx import _native
    except ImportError as error:
        raise errors.PluginError(
            f"the compiled module frn_onnx._native does not load: {error}. {REINSTALL}."
        ) from error
    return _native


def _why_no_native() -> str:
    if sys.platform in _NAMES:
        return (
            "the package for this system holds the library for sessions alone. Run a session "
            "(frn_onnx.InferenceSession), or frn_onnx.reference.frn."
        )
    return (
        "Python's headers were missing when it was built (sessions do without). Install them ('apt "
        "install python3-dev' on Debian and Ubuntu, 'dnf install python3-devel' on Fedora), then "
        f"{REINSTALL}."
    )


def build_info() -> dict[str, Any]:
    """What the native library was built with, and what of it this machine uses.

    Returns:
        The library's path and version, its compiler, the ONNX Runtime API versions it
        accepts, the CPU instruction sets compiled in and the one in use, and the CUDA
        architectures (None: built without CUDA).

    Raises:
        PluginError: the library or the compiled module is missing.
    """
    return {"library": get_library_path(), **native().build_info()}


def onnxruntime() -> ModuleType:
    """The installed ONNX Runtime, checked against the oldest one the library works with.

    Raises:
        DependencyError: neither onnxruntime nor onnxruntime-gpu is installed.
        PluginError: the installed one is too old.
    """
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise errors.missing_dependency("onnxruntime", "cpu", "An ONNX Runtime session") from error
    if _minor_version(ort.__version__) < _minor_version(OLDEST_ONNXRUNTIME):
        raise errors.PluginError(
            f"the FRN library needs ONNX Runtime {OLDEST_ONNXRUNTIME} or newer, this is "
            f"{ort.__version__}; upgrade it with: pip install -U onnxruntime, or run a portable "
            "or primitives file without the library."
        )
    return ort


def _minor_version(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])


def register(session_options: Any) -> None:
    """Makes sessions created with these options know the FRN op and its kernels.

    Calling it again on the same options changes nothing.

    Args:
        session_options: an ``onnxruntime.SessionOptions``.

    Raises:
        ArgumentError: ``session_options`` is something else.
        DependencyError: ONNX Runtime is not installed.
        PluginError: the library is missing, or does not fit this ONNX Runtime.
    """
    ort = onnxruntime()
    if not isinstance(session_options, ort.SessionOptions):
        raise errors.ArgumentError(
            "register expects an onnxruntime.SessionOptions, received "
            f"{type(session_options).__name__}; pass the options that the session is made with"
        )
    path = get_library_path()
    try:
        session_options.register_custom_ops_library(path)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        raise errors.PluginError(
            f"ONNX Runtime {ort.__version__} could not load the custom-op library {path}: {error}. "
            f"If the file is damaged or of another system, {REINSTALL}."
        ) from error
