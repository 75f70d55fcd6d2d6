"""Everything frn_onnx raises on purpose, so that one ``except`` can tell it from a bug.

Each message says what was wrong, what was expected, what was received, and the cure.
Subclasses also derive from the builtin that fits, so generic handlers work.
"""


class FrnError(Exception):
    """Base of every error that frn_onnx raises on purpose."""


class ArgumentError(FrnError, ValueError):
    """An argument has a value that means nothing, or that cannot be honoured."""


class ShapeError(FrnError, ValueError):
    """An array, tensor or parameter has a shape the op cannot take."""


class DtypeError(FrnError, TypeError):
    """An array or tensor has an element type the op does not support."""


class ModelError(FrnError, ValueError):
    """A model or model file cannot be read, is invalid, or cannot be converted."""


class ExportError(FrnError, RuntimeError):
    """A Keras model could not be turned into an ONNX file; nothing was written."""


class VerificationError(FrnError, RuntimeError):
    """Two models that must agree gave different outputs; nothing was written."""


class PluginError(FrnError, RuntimeError):
    """The native library is missing, or does not fit the ONNX Runtime in use."""


class DependencyError(FrnError, ImportError):
    """An optional package is not installed; the message holds its install line."""


class FrnWarning(UserWarning):
    """Something was done, but not all of it; the message says what is left, and why."""


def missing_dependency(package: str, extra: str, purpose: str) -> DependencyError:
    """The error for an optional package that is not installed.

    Args:
        package: the import name, for example ``"keras"``.
        extra: the extra of frn_onnx that installs it, for example ``"keras"``.
        purpose: what it is needed for, for example ``"the Keras layers"``.
    """
    return DependencyError(
        f"{purpose} needs the package {package!r}, which is not installed; "
        f"install it with: pip install 'frn_onnx[{extra}]'"
    )
