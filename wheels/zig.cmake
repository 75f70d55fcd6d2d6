# CMake's toolchain file of the wheels for Linux and macOS: Clang as PyPI's ziglang brings it, with
# a libc of its own choice and libc++ linked in.
#
#   cmake -DCMAKE_TOOLCHAIN_FILE=wheels/zig.cmake -DFRN_ONNX_ZIG=.../ziglang/zig \
#     -DFRN_ONNX_TARGET=x86_64-linux-gnu.2.28 -DCMAKE_SYSTEM_NAME=Linux ...

set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES FRN_ONNX_TARGET FRN_ONNX_ZIG)
# zig builds libc++ when it first links, once for each way to optimise: there is one, also for what
# CMake tries.
set(options -target ${FRN_ONNX_TARGET} -O3)
set(CMAKE_C_COMPILER "${FRN_ONNX_ZIG}" cc ${options})
set(CMAKE_CXX_COMPILER "${FRN_ONNX_ZIG}" c++ ${options})
set(CMAKE_INTERPROCEDURAL_OPTIMIZATION OFF)
# Debug information is five times the size of the library.
set(CMAKE_SHARED_LINKER_FLAGS_INIT -s)
set(CMAKE_MODULE_LINKER_FLAGS_INIT -s)
