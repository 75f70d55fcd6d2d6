"""Public names of packages, loaded when they are first used."""

import importlib
import sys
from collections.abc import Mapping
from typing import Any


def load(package: str, public: Mapping[str, str], name: str) -> Any:
    """What ``__getattr__`` of a package gives.

    Args:
        package: its name.
        public: name -> the module that it lives in.
        name: that is asked for.

    Raises:
        AttributeError: there is none of this name.
    """
    if name not in public:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(public[name]), name)
    setattr(sys.modules[package], name, value)  # also where importing put a module of that name
    return value
