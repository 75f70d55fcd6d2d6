"""Makes the source distribution and, from it, wheels for this and other machines, in dist/.

    python wheels/build.py [TARGET ...]      (make wheel; without a name the one for this machine)

The compiler for Linux and macOS is Clang as PyPI's ziglang brings it, which builds against an old
glibc (the first time minutes longer: its C++ library is built, and kept in ~/.cache/zig); for
Windows it is MinGW's GCC (apt install g++-mingw-w64-x86-64-posix). Wheels of Linux are for the
Python that runs this, the others for every Python.

The wheel of Linux for this machine has CUDA kernels, too, if nvcc is here (on PATH or in CUDACXX;
FRN_ONNX_CUDA=on|off decides it), with CUDA's runtime inside: it loads without a driver. The driver
that its kernels ask for is that of nvcc's major version, which its own version ends in, such as
0.1.0+cu13. All others hold the CPU kernels alone.
"""

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from targets import TARGETS, Target

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
# The largest a wheel may become, in bytes.
LIMIT = 6_000_000
_HERE = (platform.system(), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("targets", nargs="*", choices=[[], *TARGETS], metavar="TARGET")
    names = parser.parse_args().targets or [this_machine()]
    source = sdist()
    print(source)
    for name in names:
        with_cuda = _with_cuda(name)
        kernels = "CPU and CUDA kernels" if with_cuda else "CPU kernels"
        print(f"{wheel(source, name, with_cuda)}: {kernels}")


def this_machine() -> str:
    """The name of the target that this machine is."""
    for name, target in TARGETS.items():
        if (target.system, target.processor) == _HERE:
            return name
    raise SystemExit(
        f"wheels/targets.py has no target for {_HERE}; name one of {', '.join(TARGETS)}"
    )


def sdist() -> Path:
    """Packs the source as it is here."""
    DIST.mkdir(exist_ok=True)
    code = f"from setuptools import build_meta; print(build_meta.build_sdist({str(DIST)!r}))"
    made = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    return DIST / made.stdout.splitlines()[-1]


def _with_cuda(name: str) -> bool:
    """Whether a wheel has CUDA kernels: nvcc compiles for the machine that it runs on."""
    target = TARGETS[name]
    asked = os.environ.get("FRN_ONNX_CUDA", "auto")
    if target.system != "Linux" or (target.system, target.processor) != _HERE:
        return False
    if asked == "auto":
        return "CUDACXX" in os.environ or shutil.which("nvcc") is not None
    return asked == "on"


def cuda_label() -> str:
    """What the version of a wheel with CUDA kernels ends in, such as "+cu13"."""
    nvcc = os.environ.get("CUDACXX", "nvcc")
    if shutil.which(nvcc) is None:
        raise SystemExit(
            f"{nvcc} was not found; put nvcc on PATH, name it in CUDACXX, or leave "
            "the CUDA kernels out: FRN_ONNX_CUDA=off"
        )
    said = subprocess.run([nvcc, "--version"], check=True, stdout=subprocess.PIPE, text=True).stdout
    release = re.search(r"release (\d+)\.", said)
    if release is None:
        raise SystemExit(f"{nvcc} --version says no release: {said.strip()}")
    return f"+cu{release[1]}"


def wheel(source: Path, name: str, with_cuda: bool) -> Path:
    """Builds a wheel from the source distribution, of which nothing else is used."""
    target = TARGETS[name]
    environment = {
        **os.environ,
        "FRN_ONNX_CUDA": "on" if with_cuda else "off",
        "FRN_ONNX_CMAKE_ARGS": shlex.join(_cmake_options(target)),
    }
    with tempfile.TemporaryDirectory(prefix="frn_onnx-wheel-") as folder:
        if with_cuda:
            # Read by setuptools as if it stood in the source.
            label = Path(folder, "label.cfg")
            label.write_text(f"[egg_info]\ntag_build = {cuda_label()}\n")
            environment["DIST_EXTRA_CONFIG"] = str(label)
        with tarfile.open(source) as packed:
            packed.extractall(folder, filter="data")
        (unpacked,) = (path for path in Path(folder).iterdir() if path.is_dir())
        command = [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", folder),
            f"--config-settings=--build-option=--plat-name={target.platform}",
            str(unpacked),
        ]
        subprocess.run(command, env=environment, check=True)
        (made,) = Path(folder).glob("*.whl")
        if (size := made.stat().st_size) > LIMIT:
            raise SystemExit(f"{made.name} has {size} bytes, expected at most {LIMIT}")
        return Path(os.replace(made, DIST / made.name) or DIST / made.name)


def _cmake_options(target: Target) -> list[str]:
    options = [
        f"-DCMAKE_SYSTEM_NAME={target.system}",
        f"-DCMAKE_SYSTEM_PROCESSOR={target.processor}",
        *(_mingw(target) if target.system == "Windows" else _zig(target)),
    ]
    if target.module is None:
        return [*options, "-DFRN_ONNX_NATIVE=OFF"]
    suffix = f".{sys.implementation.cache_tag}-{target.module}.so"
    return [*options, f"-DPYTHON_MODULE_EXTENSION={suffix}", "-DPYTHON_MODULE_DEBUG_POSTFIX="]


def _mingw(target: Target) -> list[str]:
    if shutil.which(target.compiler) is None:
        raise SystemExit(
            f"{target.compiler} was not found; apt install g++-mingw-w64-x86-64-posix brings it"
        )
    return [f"-DCMAKE_CXX_COMPILER={target.compiler}", "-DCMAKE_SHARED_LINKER_FLAGS=-s"]


def _zig(target: Target) -> list[str]:
    import ziglang

    return [
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'wheels' / 'zig.cmake'}",
        f"-DFRN_ONNX_ZIG={Path(ziglang.__file__).parent / 'zig'}",
        f"-DFRN_ONNX_TARGET={target.compiler}",
    ]


if __name__ == "__main__":
    main()
