"""Builds the native library and the Python module with CMake; the rest is pyproject.toml."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise SystemExit(f"{name} was not found; install the build needs: pip install cmake ninja")
    return path


class CMakeBuild(build_ext):
    """One CMake run makes both products: libfrn_onnx_ops, and _native where Python has headers.

    FRN_ONNX_CUDA=auto|on|off and FRN_ONNX_CMAKE_ARGS="-D..." in the environment are passed on.
    """

    def build_extension(self, ext: Extension) -> None:
        import pybind11  # a build requirement, not there when only metadata is asked for

        output = Path(self.get_ext_fullpath(ext.name)).parent.resolve()
        build = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        cmake = _tool("cmake")
        configure = [
            cmake,
            # --fresh: options of an earlier build do not linger in its cache.
            *("--fresh", "-S", str(ROOT / "custom_ops"), "-B", str(build), "-G", "Ninja"),
            f"-DCMAKE_MAKE_PROGRAM={_tool('ninja')}",
            "-DCMAKE_BUILD_TYPE=Release",
            f"-DFRN_ONNX_OUTPUT_DIR={output}",
            # The label of a wheel with CUDA kernels is no part of frn_onnx.__version__.
            f"-DFRN_ONNX_VERSION={self.distribution.get_version().partition('+')[0]}",
            f"-DFRN_ONNX_CUDA={os.environ.get('FRN_ONNX_CUDA', 'auto')}",
            f"-DPython_EXECUTABLE={sys.executable}",
            f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
            *shlex.split(os.environ.get("FRN_ONNX_CMAKE_ARGS", "")),
        ]
        output.mkdir(parents=True, exist_ok=True)
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", str(build)], check=True)

    def copy_extensions_to_source(self) -> None:
        """An editable install builds elsewhere and moves only what setuptools knows of."""
        super().copy_extensions_to_source()
        package = "frn_onnx"
        for library in Path(self.build_lib, package).glob("*frn_onnx_ops.*"):
            self.copy_file(str(library), str(ROOT / package / library.name))


class Wheel(bdist_wheel):
    """Without the compiled module there is nothing in a wheel that one Python alone can use."""

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, platform = super().get_tag()
        if list(Path(self.bdist_dir, "frn_onnx").glob("_native.*.so")):
            return python, abi, platform
        return "py3", "none", platform


setup(
    # models/ lies at the top, and ships inside the package for the demo.
    packages=[*find_packages(include=["frn_onnx", "frn_onnx.*"]), "frn_onnx.models"],
    # Optional: the module is not there where Python's headers are not. Errors end the build.
    ext_modules=[Extension("frn_onnx._native", sources=[], optional=True)],
    cmdclass={"build_ext": CMakeBuild, "bdist_wheel": Wheel},
)
