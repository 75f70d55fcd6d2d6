"""The machines that wheels are made for, a fact a field."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """One operating system on one processor.

    Args:
        compiler: zig's name for the machine, with the oldest glibc or macOS that the wheel runs
            with, or MinGW's GCC for it.
        system, processor: CMake's names for it.
        platform: the wheel's last tag.
        library: the file that ONNX Runtime loads.
        module: the middle of the compiled module's file name, or None: left out, since nothing
            here could run it. The wheel is then one for every Python.
    """

    compiler: str
    system: str
    processor: str
    platform: str
    library: str = "libfrn_onnx_ops.so"
    module: str | None = None


TARGETS = {
    "linux-x86_64": Target(
        *("x86_64-linux-gnu.2.28", "Linux", "x86_64", "manylinux_2_28_x86_64"),
        module="x86_64-linux-gnu",
    ),
    "linux-aarch64": Target(
        *("aarch64-linux-gnu.2.28", "Linux", "aarch64", "manylinux_2_28_aarch64"),
        module="aarch64-linux-gnu",
    ),
    "windows-x64": Target(
        *("x86_64-w64-mingw32-g++-posix", "Windows", "AMD64", "win_amd64"),
        library="frn_onnx_ops.dll",
    ),
    "macos-arm64": Target(
        *("aarch64-macos.11.0", "Darwin", "arm64", "macosx_11_0_arm64"),
        library="libfrn_onnx_ops.dylib",
    ),
    # aligned_alloc, which libc++ calls, came with macOS 10.15.
    "macos-x86_64": Target(
        *("x86_64-macos.10.15", "Darwin", "x86_64", "macosx_10_15_x86_64"),
        library="libfrn_onnx_ops.dylib",
    ),
}
