"""The Windows library in Windows' own ONNX Runtime, under Wine (``make test-windows``).

Takes the wheel win_amd64 in dist/ apart, looks at what its DLL exports and needs, and runs
``custom_ops/tests/session_test.cc`` with it in the oldest and the newest ONNX Runtime, once for
each set of instructions.

Says so and ends well where Wine or MinGW's GCC is not installed; FRN_ONNX_REQUIRE_ENVS=1 makes that
a failure.
"""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import session_cases
from machines import cannot

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".envs" / "windows"
LIBRARY = "frn_onnx_ops.dll"
_OLDEST, _NEWEST = "1.18.0", "1.32.0"
_COMPILER = "x86_64-w64-mingw32-g++-posix"
# What every Windows has.
_SYSTEM = r"(KERNEL32|msvcrt|ntdll|api-ms-win-[\w-]+)\.dll"


def main() -> int:
    wine = next((path for path in ("/usr/lib/wine/wine64", "wine64") if shutil.which(path)), None)
    if wine is None or shutil.which(_COMPILER) is None:
        return cannot("no Windows: apt install wine64 wine g++-mingw-w64-x86-64-posix")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="windows-", dir=CACHE) as name:
        folder = Path(name)
        (wheel,) = (ROOT / "dist").glob("*-win_amd64.whl")
        library = unpack(wheel, f"frn_onnx/{LIBRARY}", folder)
        check_file(library)
        program = build_program(folder)
        count = session_cases.write(folder / "cases.bin")
        for version in (_OLDEST, _NEWEST):
            for target in ("baseline", "avx2"):
                arguments = [onnxruntime(version), library, folder / "cases.bin", folder / "own"]
                said = run(wine, program, arguments, target)
                assert f"ONNX Runtime {version}: {count} cases, 0 failures" in said, said
                print(f"windows: {target}: {said.strip()}", flush=True)
    return 0


def unpack(wheel: Path, member: str, folder: Path) -> Path:
    """A file of a wheel."""
    with zipfile.ZipFile(wheel) as packed:
        return Path(packed.extract(member, folder))


def onnxruntime(version: str) -> Path:
    """Windows' onnxruntime.dll of a release; it is fetched once."""
    found = CACHE / version / "onnxruntime.dll"
    if not found.exists():
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            (_fetch_from_npm if version == _OLDEST else _fetch_from_pypi)(version, Path(name))
            found.parent.mkdir(exist_ok=True)
            for library in Path(name).rglob("*.dll"):
                library.rename(found.parent / library.name)
    return found


def _fetch_from_npm(version: str, folder: Path) -> None:
    """Python's wheels of old releases have no onnxruntime.dll, and npm has no new ones."""
    command = ["npm", "pack", "--silent", f"onnxruntime-node@{version}"]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    with tarfile.open(next(folder.glob("*.tgz"))) as packed:
        for member in packed.getmembers():
            if "/win32/x64/" in member.name and member.name.endswith(".dll"):
                packed.extract(member, folder, filter="data")


def _fetch_from_pypi(version: str, folder: Path) -> None:
    command = [
        *(sys.executable, "-m", "pip", "--quiet", "download", "--no-deps", "--dest", folder),
        *("--only-binary=:all:", "--platform=win_amd64", "--python-version=3.11"),
        f"onnxruntime=={version}",
    ]
    subprocess.run(command, check=True)
    unpack(next(folder.glob("*.whl")), "onnxruntime/capi/onnxruntime.dll", folder)


def build_program(folder: Path) -> Path:
    """The test program, for Windows."""
    source = ROOT / "custom_ops"
    fetch = ["sh", source / "tests" / "fetch_ort_header.sh", ROOT / "build" / "ort-header"]
    header = subprocess.run(fetch, check=True, capture_output=True, text=True).stdout.strip()
    program = folder / "session_test.exe"
    command = [
        *(_COMPILER, "-std=gnu++17", "-O1", "-s", "-static", f"-I{source}", f"-isystem{header}"),
        *(source / "tests" / "session_test.cc", source / "tests" / "reference.cc"),
        *("-o", program),
    ]
    subprocess.run(command, check=True)
    return program


def check_file(library: Path) -> None:
    """One export, and no DLL but Windows' own."""
    headers = subprocess.run(
        ["objdump", "-p", library], check=True, capture_output=True, text=True
    ).stdout
    needed = re.findall(r"DLL Name: (\S+)", headers)
    foreign = [name for name in needed if not re.fullmatch(_SYSTEM, name, re.IGNORECASE)]
    assert needed, headers
    assert not foreign, foreign
    table = headers.split("[Ordinal/Name Pointer] Table", 1)[1].split("\n\n", 1)[0]
    exported = re.findall(r"\[ *\d+\].* (\w+)$", table, re.MULTILINE)
    assert exported == ["RegisterCustomOps"], exported


def run(wine: str, program: Path, arguments: list[Path], target: str) -> str:
    """What the program says under Wine; its failure ends this one."""
    environment = {
        **os.environ,
        "FRN_ONNX_CPU_TARGET": target,
        "WINEPREFIX": str(CACHE / "prefix"),
        "WINEDEBUG": "-all",
    }
    arguments[-1].mkdir(exist_ok=True)
    result = subprocess.run(
        [wine, program, *arguments], env=environment, capture_output=True, text=True, timeout=600
    )
    if result.returncode != 0:
        raise SystemExit(f"{program.name} with {target}: {result.stdout}{result.stderr}")
    return result.stdout


if __name__ == "__main__":
    sys.exit(main())
