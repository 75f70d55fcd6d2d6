"""An ``onnxruntime.SessionOptions`` that is somebody's: read, and changed for a while."""

import contextlib
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def changed(options: Any, **changes: Any) -> Iterator[None]:
    """Session options with other values for a while."""
    before = {name: getattr(options, name) for name in changes}
    try:
        for name, value in changes.items():
            setattr(options, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(options, name, value)


def chooses_providers(options: Any) -> bool:
    """Whether they hold devices, a policy or providers, as those of ONNX Runtime 1.23 on may."""
    return hasattr(options, "has_providers") and options.has_providers()


def entry(options: Any, key: str) -> str | None:
    """The value of a config entry; None: it was never set."""
    try:
        return options.get_session_config_entry(key)
    except RuntimeError:  # how ONNX Runtime says so
        return None
