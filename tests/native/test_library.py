"""The custom-op library as a file: what it exports and what it needs."""

import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import frn_onnx

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")


def readelf(*arguments) -> str:
    if shutil.which("readelf") is None:
        pytest.skip("readelf (binutils) is not installed")
    return subprocess.run(
        ["readelf", "--wide", *arguments, frn_onnx.get_library_path()],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_exports_one_symbol():
    """Of the functions and objects that others could bind to; the version node is none."""
    rows = [line.split() for line in readelf("--dyn-syms").splitlines()]
    defined = [
        row[7].split("@")[0]
        for row in rows
        if len(row) >= 8 and row[4] in ("GLOBAL", "WEAK") and row[6] not in ("UND", "ABS", "Ndx")
    ]
    assert defined == ["RegisterCustomOps"]


def test_needs_only_the_c_and_cxx_runtime():
    needed = set(re.findall(r"\(NEEDED\).*\[(.+?)\]", readelf("--dynamic")))
    allowed = r"(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt|ld-linux-[\w-]+)\.so\.\d+"
    assert needed
    assert {name for name in needed if not re.fullmatch(allowed, name)} == set()


def test_has_no_path_of_the_machine_it_was_built_on():
    dynamic = readelf("--dynamic")
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic


def test_stays_loaded():
    """Sessions may use the domain longer than the options that loaded the library live."""
    assert "NODELETE" in readelf("--dynamic")


# What Linux calls what each target needs.
AVX2 = {"avx2", "fma", "f16c"}
AVX512 = AVX2 | {"avx512f", "avx512bw", "avx512dq", "avx512vl"}
FEATURES = {
    "zen4": AVX512 | {"AuthenticAMD", "family 25"},
    "avx512": AVX512,
    "avx2": AVX2,
    "neon": {"asimd"},
}


@pytest.mark.native
def test_uses_what_the_cpu_has():
    """Whatever compiler built it: a wheel that always took the baseline computes right, slowly."""
    from frn_onnx import _native

    cpuinfo = Path("/proc/cpuinfo").read_text()
    said = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo, re.MULTILINE)
    if said is None or (platform.machine() == "aarch64" and "asimd" not in said[1]):
        pytest.skip("/proc/cpuinfo is another machine's: emulated")
    has = set(said[1].split()) | set(re.findall("AuthenticAMD", cpuinfo))
    has |= {f"family {number}" for number in re.findall(r"^cpu family\s*: (\d+)$", cpuinfo, re.M)}
    compiled = set(_native.build_info()["cpu_targets"])
    expected = {name for name, needs in FEATURES.items() if name in compiled and needs <= has}
    assert set(_native.cpu_targets()) == expected | {"baseline"}
