// FRN on the CPU: one call over plain arrays, whoever the threads belong to.

#ifndef FRN_ONNX_CPU_FRN_CPU_H_
#define FRN_ONNX_CPU_FRN_CPU_H_

#include "cpu/executor.h"
#include "cpu/kernels.h"
#include "cpu/parameters.h"
#include "frn_shape.h"

namespace frn {

// The parameters of any call with `channels` channels on these kernels: to be made once where they
// stay the same.
template <class T>
Parameters<ComputeType<T>> PrepareParameters(const Kernels<T>& kernels,
                                             const FrnParams<ComputeType<T>>& params,
                                             int64_t channels);

// y = max(gamma * x / sqrt(mean(x^2) + epsilon) + beta + residual, tau), where a residual of
// nullptr is none. y may be x or residual, and residual x. None needs alignment. How squares are
// added is decided by the shape alone, so the result has the same bits for every number of threads.
template <class T>
void ComputeFrn(const Kernels<T>& kernels, const FrnShape& shape, const T* x, const T* residual,
                T* y, const Parameters<ComputeType<T>>& params, Executor& executor);

// As above, with parameters that are prepared for this call alone.
template <class T>
void ComputeFrn(const Kernels<T>& kernels, const FrnShape& shape, const T* x, const T* residual,
                T* y, const FrnParams<ComputeType<T>>& params, Executor& executor) {
  ComputeFrn<T>(kernels, shape, x, residual, y, PrepareParameters(kernels, params, shape.channels),
                executor);
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_FRN_CPU_H_
