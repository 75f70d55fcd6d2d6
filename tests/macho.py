"""Reads Mach-O files, macOS' programs and libraries: just what a test of the library asks for.

Written after <mach-o/loader.h> and <mach-o/nlist.h>, whose names it uses.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MAGIC_64 = 0xFEEDFACF
_PROCESSORS = {0x01000007: "x86_64", 0x0100000C: "arm64"}
_MACOS = 1
_LC_LOAD_DYLIB, _LC_RPATH, _LC_CODE_SIGNATURE = 0xC, 0x8000001C, 0x1D
_LC_DYLD_INFO, _LC_DYLD_EXPORTS_TRIE, _LC_BUILD_VERSION = 0x80000022, 0x80000033, 0x32


@dataclass
class MachO:
    """A file for one processor.

    Args:
        processor: "x86_64" or "arm64".
        oldest_macos: the oldest version that loads it, such as (11, 0).
        needed: paths of the libraries that are loaded with it.
        exported: names that others can bind to, with C's leading underscore.
        run_paths: folders that needed libraries are sought in.
        signed: whether there is a code signature; a Mac with arm64 loads nothing without.
    """

    processor: str
    oldest_macos: tuple[int, int] | None = None
    needed: list[str] = field(default_factory=list)
    exported: list[str] = field(default_factory=list)
    run_paths: list[str] = field(default_factory=list)
    signed: bool = False


def read(path: Path) -> MachO:
    """A library for one processor.

    Raises:
        ValueError: it is none.
    """
    data = path.read_bytes()
    magic, processor, _, _, count = struct.unpack_from("<5I", data)
    if magic != _MAGIC_64:
        raise ValueError(f"{path.name} begins with {magic:#x}, expected {_MAGIC_64:#x} (Mach-O)")
    found = MachO(_PROCESSORS[processor])
    offset = 32
    for _ in range(count):
        kind, size = struct.unpack_from("<2I", data, offset)
        command = data[offset : offset + size]
        if kind == _LC_LOAD_DYLIB:
            found.needed.append(_text(command))
        elif kind == _LC_RPATH:
            found.run_paths.append(_text(command))
        elif kind == _LC_CODE_SIGNATURE:
            found.signed = True
        elif kind == _LC_BUILD_VERSION:
            system, version = struct.unpack_from("<2I", command, 8)
            if system == _MACOS:
                found.oldest_macos = version >> 16, version >> 8 & 255
        elif kind in (_LC_DYLD_INFO, _LC_DYLD_EXPORTS_TRIE):
            start, length = struct.unpack_from("<2I", command, 40 if kind == _LC_DYLD_INFO else 8)
            found.exported += sorted(_names(data[start : start + length]))
        offset += size
    return found


def _text(command: bytes) -> str:
    """The string that a command's third field points to."""
    (start,) = struct.unpack_from("<I", command, 8)
    return command[start:].split(b"\0", 1)[0].decode()


def _names(trie: bytes, at: int = 0, prefix: bytes = b"") -> Iterator[str]:
    """The names in a tree of which each edge is a piece of a name."""
    size, at = _number(trie, at)
    if size:
        yield prefix.decode()
    at += size
    edges, at = trie[at], at + 1
    for _ in range(edges):
        end = trie.index(0, at)
        child, following = _number(trie, end + 1)
        yield from _names(trie, child, prefix + trie[at:end])
        at = following


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number in groups of 7 bits, the lowest first (ULEB128), and where it ends."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        shift += 7
        at += 1
        if data[at - 1] < 128:
            return value, at
