"""A folder of models as sessions load them, so that the next start need not make them again.

Several processes may use one folder: an entry is a folder that is written under another name and
then renamed, as it is again before it is removed. One that is damaged is as good as none. Those
that were not used for the longest time go where all together are larger than is allowed.

Entries are named by content. To read a file takes longer than to make a session of what is kept
for it: so a file's digest is kept, too, and holds while the file's size, times and number stay.
The same goes for the checksums of an entry's own files.
"""

import contextlib
import hashlib
import json
import logging
import os
import platform
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from frn_onnx import __version__
from frn_onnx.runtime import library

logger = logging.getLogger("frn_onnx.runtime")

# To be raised where entries become others.
_FORMAT = 2
_LARGEST_BYTES = 4 << 30
_CHUNK_BYTES = 1 << 20
_SAID = "frn_onnx.json"
_UNFINISHED = ".frn_onnx-"
_DIGESTS = "digests"
_MOST_DIGESTS = 1000
# A file that is younger may change again at the same time: file systems count in up to 2 s.
_SETTLED_SECONDS = 3.0

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
        made_with = {
            "format": _FORMAT,
            "frn_onnx": __version__,
            "library": os.stat(library.get_library_path()).st_mtime_ns,
            "onnxruntime": _runtime(),
            "machine": platform.machine(),
            **choices,
        }
        digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode())
        content = hashlib.sha256(model).digest() if isinstance(model, bytes) else self._of(model)
        digest.update(content)
        return digest.hexdigest()

    def _of(self, model: str | os.PathLike) -> bytes:
        """The digest of a file and its external data."""
        path = os.path.abspath(model)
        kept = self._folder / _DIGESTS / hashlib.sha256(os.fsencode(path)).hexdigest()
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            known = json.loads(kept.read_bytes())
            if all(state(file) == before for file, before in known["files"].items()):
                return bytes.fromhex(known["sha256"])
        from frn_onnx.graph import model_io

        files = [path, *sorted(map(os.fspath, model_io.external_files(path)))]
        states = {file: state(file) for file in files}
        digest = hashlib.sha256()
        for file in files:  # each its own: what moves from one to the next is another content
            content = hashlib.sha256()
            for chunk in _chunks(Path(file)):
                content.update(chunk)
            digest.update(content.digest())
        self._note(kept, {"files": states, "sha256": digest.hexdigest()})
        return digest.digest()

    def _note(self, kept: Path, known: dict[str, Any]) -> None:
        youngest = max(changed for *_, changed in known["files"].values()) / 1e9
        if time.time() - youngest < _SETTLED_SECONDS:
            return
        with contextlib.suppress(OSError):  # a folder of somebody else's
            kept.parent.mkdir(parents=True, exist_ok=True)
            if sum(1 for _ in kept.parent.iterdir()) >= _MOST_DIGESTS:
                shutil.rmtree(kept.parent, ignore_errors=True)
                kept.parent.mkdir(exist_ok=True)
            _write(kept, known)

    def get(self, key: str) -> tuple[dict[str, Any], Path] | None:
        """What was said of an entry, and its folder; None where there is none, or a damaged one."""
        folder = self._folder / key
        try:
            said = json.loads((folder / _SAID).read_bytes())
            sums, states = said.pop("crc32"), said.pop("states")
            moved = states != _states(folder)
            if moved and sums != _sums(folder):
                raise ValueError("a checksum is another")
        except FileNotFoundError:
            return None
        except OSError as error:  # nothing of it says that the entry is damaged
            logger.warning("the cached model %s cannot be read: %s", folder, error)
            return None
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            logger.warning("the cached model %s is of no use and is made again: %s", folder, error)
            _remove(folder)
            return None
        with contextlib.suppress(OSError):  # somebody else's, or read-only
            os.utime(folder)
            if moved:  # the folder was copied: the next start need not read it
                _write(folder / _SAID, {**said, "crc32": sums, "states": _states(folder)})
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
                entry.mkdir()  # for whoever may read the folder; a temporary one is its owner's
                for path in files.iterdir():
                    shutil.copyfile(path, entry / path.name)
                head = {**said, "crc32": _sums(entry), "states": _states(entry)}
                (entry / _SAID).write_text(json.dumps(head))
                _place(entry, self._folder / key)
        except OSError as error:
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
            _remove(path)
            total -= size


def _place(entry: Path, folder: Path) -> None:
    """Renames an entry to its place, unless another process was faster."""
    try:
        os.rename(entry, folder)
    except OSError:
        if (folder / _SAID).exists():
            return
        _remove(folder)  # something took a part of it
        os.rename(entry, folder)


def _remove(entry: Path) -> None:
    """Removes an entry: whoever looks for it finds all of it, or nothing."""
    aside = _unfinished(entry)
    with contextlib.suppress(OSError):
        os.rename(entry, aside)
        shutil.rmtree(aside, ignore_errors=True)


def _write(path: Path, said: dict[str, Any]) -> None:
    unfinished = _unfinished(path)
    unfinished.write_text(json.dumps(said))
    os.replace(unfinished, path)


def _unfinished(path: Path) -> Path:
    """A name beside a path that no other thread, process or container has."""
    return path.with_name(f"{_UNFINISHED}{os.urandom(8).hex()}")


def _chunks(path: Path) -> Iterator[bytes]:
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk


def _sums(folder: Path) -> dict[str, int]:
    """Checksums of the files of an entry."""
    sums = {}
    for path in _files(folder):
        total = 0
        for chunk in _chunks(path):
            total = zlib.crc32(chunk, total)
        sums[path.name] = total
    return sums


def _states(folder: Path) -> dict[str, list[int]]:
    return {path.name: state(path) for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    """The files of a model; not what is said of it, nor what another process is about to say."""
    for path in folder.iterdir():
        if path.name != _SAID and not path.name.startswith(_UNFINISHED):
            yield path


def state(file: str | os.PathLike) -> list[int]:
    """What becomes another when a file is written to, or another takes its place."""
    status = os.stat(file)
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))


def _runtime() -> str:
    """Which ONNX Runtime it is: two builds may have one version."""
    ort = library.onnxruntime()
    return f"{ort.__version__} {ort.get_build_info() if hasattr(ort, 'get_build_info') else ''}"
