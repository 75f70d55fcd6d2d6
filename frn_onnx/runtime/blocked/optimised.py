"""A model as ONNX Runtime's own optimiser leaves it."""

from pathlib import Path
from typing import Any

from frn_onnx.runtime import library
from frn_onnx.runtime.providers import CPU
from frn_onnx.runtime.session_options import changed, chooses_providers, entry

ort: Any = library.onnxruntime()

_ERRORS_ONLY = 3
# Weights go into a file of their own, and stay there: the largest part of a model is not read, put
# into a message and parsed again.
_WEIGHTS_FILE = "session.optimized_model_external_initializers_file_name"
_WEIGHTS_FROM = "session.optimized_model_external_initializers_min_size_in_bytes"
_WEIGHTS = "frn_onnx.data"
_LARGE_BYTES = 1024


def optimise(source: Path, path: Path, options: Any) -> None:
    """Writes to ``path`` what ONNX Runtime makes of a model, with these options of the user's.

    Free dimensions and the like hold here as in any session.
    """
    changes = {
        "optimized_model_filepath": str(path),
        "log_severity_level": _ERRORS_ONLY,  # it warns that the file is made for this machine
        "enable_profiling": False,
    }
    _set(options, _WEIGHTS_FILE, _WEIGHTS)
    _set(options, _WEIGHTS_FROM, str(_LARGE_BYTES))
    with changed(options, **changes):
        # It warns where providers are given twice.
        providers = None if chooses_providers(options) else [CPU]
        ort.InferenceSession(str(source), options, providers=providers)


def weights_in_one_file(options: Any) -> None:
    """Takes back what :func:`optimise` left in options that now ask for a file of their own."""
    if entry(options, _WEIGHTS_FILE) == _WEIGHTS:
        options.add_session_config_entry(_WEIGHTS_FILE, "")


def _set(options: Any, key: str, value: str) -> None:
    """Sets a config entry, which stays: ONNX Runtime warns on stderr where one is set again."""
    if entry(options, key) != value:
        options.add_session_config_entry(key, value)
