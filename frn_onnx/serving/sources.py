"""Which models a command line means: files, NAME=FILE, and folders of files."""

import os
from collections.abc import Iterable
from pathlib import Path

from frn_onnx.errors import ArgumentError
from frn_onnx.serving.options import check_name

# The name that is served, None for the file's own, and the file.
Source = tuple[str | None, Path]


def find(arguments: Iterable[str | os.PathLike], name: str | None = None) -> list[Source]:
    """The models that arguments name, in their order; a folder's by their file names.

    Args:
        arguments: each ``FILE.onnx``, ``NAME=FILE.onnx``, or a folder, which stands for every
            ``*.onnx`` in it.
        name: the name of the one model that there is then.

    A file that cannot be served under its own name is one broken model among others.

    Raises: ArgumentError for a given name that cannot be served, a folder without models, and a
        ``name`` for several models or one that has a name already.
    """
    sources = [source for argument in arguments for source in _sources(os.fspath(argument))]
    if name is not None:
        if len(sources) != 1:
            raise ArgumentError(
                f"--name names one model, and there are {len(sources)}; name each: NAME=FILE.onnx"
            )
        ((given, file),) = sources
        if given is not None:
            raise ArgumentError(
                f"the model has two names, {given!r} and --name {name!r}; leave one"
            )
        sources = [(name, file)]
    for chosen, _ in sources:
        if chosen is not None:
            check_name(chosen)
    return sources


def _sources(argument: str) -> list[Source]:
    path = Path(argument)
    if path.is_dir():
        files = sorted(f for f in path.glob("*.onnx") if not f.name.startswith("."))
        if not files:
            raise ArgumentError(f"there is no *.onnx in the folder {argument!r}")
        return [(None, file) for file in files]
    name, equals, file = argument.partition("=")
    if equals and "/" not in name and not path.exists():
        return [(name, Path(file))]
    return [(None, path)]
