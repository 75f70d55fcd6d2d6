// FRN on the CPU: one call over plain arrays, whoever the threads belong to.

#ifndef FRN_ONNX_CPU_FRN_CPU_H_
#define FRN_ONNX_CPU_FRN_CPU_H_

#include "cpu/executor.h"
#include "cpu/kernels.h"
#include "cpu/parameters.h"
#include "frn_shape.h"

namespace frn {

// y = max(gamma * x / sqrt(mean(x^2) + epsilon) + beta, tau); y may be x. The work is cut in the
// same way whatever the number of threads, so the result is the same bits.
template <class T>
void ComputeFrn(const Kernels<T>& kernels, const FrnShape& shape, const T* x, T* y,
                const FrnParams<ComputeType<T>>& params, Executor& executor);

}  // namespace frn

#endif  // FRN_ONNX_CPU_FRN_CPU_H_
