"""The libraries for macOS as files (``make test-macos``): nothing here could run them.

Takes the wheels macosx_* in dist/ apart, and looks at what each library is for, exports and needs.
"""

import re
import sys
import tempfile
import zipfile
from pathlib import Path

import macho

ROOT = Path(__file__).parents[1]
LIBRARY = "libfrn_onnx_ops.dylib"
# What the linker itself puts into every library: the address of its header, under two names.
_HEADER = {"___dso_handle", "__mh_dylib_header"}


def main() -> int:
    wheels = sorted((ROOT / "dist").glob("*-macosx_*.whl"))
    assert len(wheels) == 2, f"expected a wheel for arm64 and one for x86_64, found {wheels}"
    with tempfile.TemporaryDirectory(prefix="frn_onnx-macos-") as folder:
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as packed:
                library = packed.extract(f"frn_onnx/{LIBRARY}", folder)
            check(wheel.name, macho.read(Path(library)))
            print(f"macos: {wheel.name}: exports, needs and version are right")
    return 0


def check(wheel: str, library: macho.MachO) -> None:
    """One export, no library but the system's, and the machine that the wheel's name says."""
    tag = re.search(r"-py3-none-macosx_(\d+)_(\d+)_(\w+)\.whl$", wheel)
    assert tag is not None, wheel
    assert (library.oldest_macos, library.processor) == ((int(tag[1]), int(tag[2])), tag[3])
    assert set(library.exported) - _HEADER == {"_RegisterCustomOps"}, library.exported
    assert library.needed == ["/usr/lib/libSystem.B.dylib"], library.needed
    assert library.run_paths == [], library.run_paths
    assert library.signed or library.processor == "x86_64"  # which asks for no signature


if __name__ == "__main__":
    sys.exit(main())
