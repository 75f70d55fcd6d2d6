// What one call consists of, before and after it: its shape put in, what is asked of its
// pointers, and how errors name it.

#ifndef FRN_ONNX_CUDA_CALL_H_
#define FRN_ONNX_CUDA_CALL_H_

#include <string>

#include "cuda/kernel_params.h"
#include "cuda/plan.h"

namespace frn::cuda {

void SetShape(const FrnShape& shape, KernelParams* params);

// The planner's problem. Throws FrnError if x, y or residual is not aligned to its own elements.
Problem ProblemOf(const KernelParams& params, ElementType type);

// "(batch, outer, channels, inner) = (8, 1, 64, 3136) of float16"
std::string Describe(const FrnShape& shape, ElementType type);
// "kernel nhwc (256 blocks in clusters of 8, 512 threads, 58624 bytes of shared memory)"
std::string Describe(const Plan& plan);

// For a tensor that has no plan.
FrnError TooLarge(const FrnShape& shape, ElementType type);

}  // namespace frn::cuda

#endif  // FRN_ONNX_CUDA_CALL_H_
