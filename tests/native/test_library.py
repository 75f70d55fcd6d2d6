"""The custom-op library as a file: what it exports, what it needs, what its ABI header says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import frn_onnx

ROOT = Path(__file__).parents[2]
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


@pytest.mark.network
def test_abi_header_conforms_to_the_official_one(tmp_path):
    """Every slot, signature and constant of ort_abi.h against onnxruntime_c_api.h."""
    fetch = subprocess.run(
        ["sh", str(ROOT / "custom_ops/tests/fetch_ort_header.sh"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    if fetch.returncode != 0:
        pytest.skip(f"no official header: {fetch.stderr.strip().splitlines()[-1]}")
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Wno-ignored-attributes", "-Werror"]
    folders = [f"-I{ROOT / 'custom_ops'}", f"-I{fetch.stdout.strip()}"]
    test = str(ROOT / "custom_ops/tests/abi_conformance.cc")
    compile_it = subprocess.run(["c++", *flags, *folders, test], capture_output=True, text=True)
    assert compile_it.returncode == 0, compile_it.stderr
