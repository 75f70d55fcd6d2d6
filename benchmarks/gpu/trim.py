"""Takes out of ONNX Runtime's GPU wheel the device code that one architecture does not need.

The CUDA provider holds machine code for six architectures, and for Hopper a second set (sm_90a) of
quantised and attention kernels. ``trim`` overwrites all but one architecture's code with zeros,
which compress to nothing. Nothing moves: the driver picks by the headers, which stay as they are,
and loads a kernel's code when it is first launched.
"""

import struct
from collections.abc import Iterator

_CONTAINER = struct.Struct("<IHHQ")  # magic, version, size of this header, size of what follows
_ENTRY = struct.Struct("<HHIQ")  # kind, version, size of this header, size of the code
_ARCHITECTURE_AT = 28  # in an entry's header
_MAGIC = 0xBA55ED50


def trim(library: bytes, architecture: int) -> bytes:
    """``library`` (an ELF file) with the device code of other architectures zeroed.

    Containers with code for ``architecture`` alone are zeroed too: those are its special kernels
    (sm_90a), which no convolutional network launches.

    Raises:
        ValueError: it has no device code for ``architecture``.
    """
    trimmed, kept = bytearray(library), 0
    for entries in _containers(library, *_section(library, b".nv_fatbin")):
        special = {found for found, _, _ in entries} == {architecture}
        for found, begin, size in entries:
            if found == architecture and not special:
                kept += size
            else:
                trimmed[begin : begin + size] = bytes(size)
    if not kept:
        raise ValueError(f"no device code for sm_{architecture} in this library")
    return bytes(trimmed)


def _section(library: bytes, wanted: bytes) -> tuple[int, int]:
    """Begin and end of a section of a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", library, 0x28)
    count, names = struct.unpack_from("<HH", library, 0x3C)
    headers = [struct.unpack_from("<IIQQQQ", library, table + 64 * i) for i in range(count)]
    for name, _, _, _, begin, size in headers:
        start = headers[names][4] + name
        if library[start : library.index(b"\0", start)] == wanted:
            return begin, begin + size
    raise ValueError(f"this library has no section {wanted.decode()}: no device code in it")


def _containers(library: bytes, at: int, end: int) -> Iterator[list[tuple[int, int, int]]]:
    """For each fat binary, (architecture, begin, size) of the codes in it."""
    while at < end:
        magic, _, header, size = _CONTAINER.unpack_from(library, at)
        if magic != _MAGIC:
            at += 8  # padding
            continue
        at += header
        stop, entries = at + size, []
        while at < stop:
            _, _, header, size = _ENTRY.unpack_from(library, at)
            (architecture,) = struct.unpack_from("<I", library, at + _ARCHITECTURE_AT)
            entries.append((architecture, at + header, size))
            at += header + size
        yield entries
