// FRN on the CPU: one call over plain arrays, whoever the threads belong to.

#ifndef FRN_ONNX_CPU_FRN_CPU_H_
#define FRN_ONNX_CPU_FRN_CPU_H_

#include <cstdint>

#include "cpu/kernels.h"
#include "frn_shape.h"

namespace frn {

// Runs task(self, i) for each i in [0, count), on any threads in any order; returns when all are
// done. Tasks throw nothing.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual void Run(int64_t count, void (*task)(void* self, int64_t i), void* self) = 0;
};

// One value per channel each; nullptr as said. A is the compute type of the element type.
template <class A>
struct FrnParams {
  const A* gamma = nullptr;
  const A* beta = nullptr;
  const A* tau = nullptr;      // nullptr: no threshold
  const A* epsilon = nullptr;  // nullptr: epsilon_scalar for every channel
  A epsilon_scalar = 0;
};

// y = max(gamma * x / sqrt(mean(x^2) + epsilon) + beta, tau); y may be x. The work is cut in the
// same way whatever the number of threads, so the result is the same bits.
template <class T>
void ComputeFrn(const Kernels<T>& kernels, const FrnShape& shape, const T* x, T* y,
                const FrnParams<ComputeType<T>>& params, Executor& executor);

}  // namespace frn

#endif  // FRN_ONNX_CPU_FRN_CPU_H_
