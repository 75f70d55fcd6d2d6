"""Protocol Buffers' text format, as much as a Triton configuration needs."""

import json
from collections.abc import Mapping
from typing import Any


class Enum(str):
    """The name of an enum's value, which is written without quotes."""


def render(message: Mapping[str, Any]) -> str:
    """A message as text, one field a line, lists of scalars in one line.

    Args:
        message: field name -> str, bool, number, Enum, mapping (a message), or a list of these.

    Example:
        >>> print(render({"name": "x", "dims": [3, -1], "kind": Enum("KIND_CPU")}))
        name: "x"
        dims: [3, -1]
        kind: KIND_CPU
    """
    return "".join(f"{line}\n" for line in _lines(message))


def _lines(message: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, value in message.items():
        values = value if isinstance(value, list) else [value]
        if isinstance(value, list) and not any(isinstance(item, Mapping) for item in value):
            lines.append(f"{name}: [{', '.join(map(_scalar, value))}]")
            continue
        for item in values:
            if isinstance(item, Mapping):
                lines += [f"{name} {{", *(f"  {line}" for line in _lines(item)), "}"]
            else:
                lines.append(f"{name}: {_scalar(item)}")
    return lines


def _scalar(value: Any) -> str:
    # JSON's strings, numbers and booleans are the text format's too, once they are not cut down
    # to ASCII.
    return str(value) if isinstance(value, Enum) else json.dumps(value, ensure_ascii=False)
