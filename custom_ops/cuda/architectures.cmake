# Sets FRN_ONNX_CUDA_ARCHITECTURES, where it was not given, from the compiler's version and the
# machine: what the library holds kernels for. And FRN_ONNX_CUDA_PACKING, how they are packed.
#
# Machine code of one architecture runs on later ones of its generation (8.0's on 8.6 and 8.9, 10.0's
# on 10.3, 12.0's on 12.1), but not on those inside Jetson boards: 8.7 (Orin) needs its own. Newer
# generations start from the PTX of 9.0, the oldest that knows clusters.
if(NOT FRN_ONNX_CUDA_ARCHITECTURES)
  set(FRN_ONNX_CUDA_ARCHITECTURES 75-real 80-real 90)
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 13)
    list(PREPEND FRN_ONNX_CUDA_ARCHITECTURES 70-real)
  endif()
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    list(INSERT FRN_ONNX_CUDA_ARCHITECTURES -1 87-real)
  endif()
  if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 12.8)
    list(APPEND FRN_ONNX_CUDA_ARCHITECTURES 100-real 120-real)
  endif()
endif()

# Less than half the size; the driver unpacks it when it loads the kernels. nvcc can do it from 12.8
# on, and drivers from 12.4 on: with CUDA 12 it would take from those before what they can run.
set(FRN_ONNX_CUDA_PACKING "")
if(CMAKE_CUDA_COMPILER_VERSION VERSION_GREATER_EQUAL 13)
  set(FRN_ONNX_CUDA_PACKING --compress-mode=size)
endif()
