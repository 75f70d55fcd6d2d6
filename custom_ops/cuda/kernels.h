// Which kernel a plan stands for.

#ifndef FRN_ONNX_CUDA_KERNELS_H_
#define FRN_ONNX_CUDA_KERNELS_H_

#include "cuda/kernel_params.h"
#include "cuda/planner.h"

namespace frn::cuda {

using KernelFunction = void (*)(KernelParams, Cut);

KernelFunction KernelOf(Kernel kernel, ElementType type, bool residual);

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_KERNELS_H_
