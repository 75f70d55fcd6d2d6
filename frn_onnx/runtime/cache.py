"""A folder of models as sessions load them, so that the next start need not make them again.

Several processes may use one folder: an entry is a folder that is written under another name and
then renamed, and one that is damaged is as good as none. Those that were not used for the longest
time go where all together are larger than is allowed.
"""

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frn_onnx import __version__
from frn_onnx.runtime import library

logger = logging.getLogger("frn_onnx.runtime")

# To be raised where entries become others.
_FORMAT = 1
_LARGEST_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20
_SAID = "frn_onnx.json"
_UNFINISHED = ".frn_onnx-"

Model = str | bytes | os.PathLike


class Cache:
    """Entries in a folder.

    Args:
        folder: is made where it is missing.
        largest: bytes that all entries may take.
    """

    def __init__(self, folder: str | os.PathLike, largest: int = _LARGEST_BYTES) -> None:
        self._folder = Path(folder)
        self._largest = largest

    def key(self, model: Model, **choices: int) -> str:
        """The name of the entry of a model: by its content, and by what it is made with.

        Raises:
            ModelError: the model cannot be read.
        """
        from frn_onnx.graph import model_io

        made_with = {
            "format": _FORMAT,
            "frn_onnx": __version__,
            "library": os.stat(library.get_library_path()).st_mtime_ns,
            "onnxruntime": _runtime(),
            "machine": platform.machine(),
            **choices,
        }
        digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode())
        if isinstance(model, bytes):
            digest.update(model)
        else:
            for path in (Path(model), *sorted(model_io.external_files(model))):
                for chunk in _chunks(path):
                    digest.update(chunk)
        return digest.hexdigest()

    def get(self, key: str) -> tuple[dict[str, Any], Path] | None:
        """What was said of an entry, and its folder; None where there is none, or a damaged one."""
        folder = self._folder / key
        try:
            said = json.loads((folder / _SAID).read_bytes())
            sums = said.pop("crc32")
            if sums != _sums(folder):
                raise ValueError("a checksum is another")
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            logger.warning("the cached model %s is of no use and is made again: %s", folder, error)
            shutil.rmtree(folder, ignore_errors=True)
            return None
        with contextlib.suppress(OSError):  # somebody else's, or read-only
            os.utime(folder)
        return said, folder

    def put(self, key: str, said: dict[str, Any], files: Path) -> None:
        """Keeps a copy of the files of a folder; where that fails it is logged, and no more."""
        size = _size(files)
        if size > self._largest:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(size)
            with tempfile.TemporaryDirectory(dir=self._folder, prefix=_UNFINISHED) as made:
                entry = Path(made, key)
                shutil.copytree(files, entry)
                head = json.dumps({**said, "crc32": _sums(entry)})
                (entry / _SAID).write_text(head)
                with contextlib.suppress(FileExistsError):  # another process was faster
                    os.rename(entry, self._folder / key)
        except OSError as error:
            if not (self._folder / key).is_dir():
                logger.warning("the model could not be cached in %s: %s", self._folder, error)

    def _make_room(self, wanted: int) -> None:
        """Removes what was not used for the longest time."""
        entries = []
        for path in self._folder.iterdir():
            if not (path / _SAID).is_file() and not path.name.startswith(_UNFINISHED):
                continue  # not ours
            with contextlib.suppress(OSError):  # another process may have removed it
                entries.append((path.stat().st_mtime, _size(path), path))
        total = wanted + sum(size for _, size, _ in entries)
        for _, size, path in sorted(entries):
            if total <= self._largest:
                return
            shutil.rmtree(path, ignore_errors=True)
            total -= size


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _sums(folder: Path) -> dict[str, int]:
    """Checksums of the files of an entry."""
    sums = {}
    for path in folder.iterdir():
        if path.name != _SAID:
            total = 0
            for chunk in _chunks(path):
                total = zlib.crc32(chunk, total)
            sums[path.name] = total
    return sums


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _runtime() -> str:
    """Which ONNX Runtime it is: two builds may have one version."""
    ort = library.onnxruntime()
    return f"{ort.__version__} {ort.get_build_info() if hasattr(ort, 'get_build_info') else ''}"
