// From sums of squares to what x is multiplied with.

#ifndef FRN_ONNX_CPU_SCALES_H_
#define FRN_ONNX_CPU_SCALES_H_

#include <cmath>
#include <cstdint>

#include "cpu/frn_call.h"

namespace frn {

// The sum of squares of one plane, each square taken in double.
template <class T>
double ExactSum(const FrnCall<T>& call, int64_t n, int64_t c) {
  double sum = 0;
  for (int64_t o = 0; o < call.shape.outer; ++o) {
    const T* x = call.x + call.Offset(n, o, c);
    for (int64_t i = 0; i < call.shape.inner; ++i) {
      const double value = ToDouble(x[i]);
      sum += value * value;
    }
  }
  return sum;
}

// scale[i] for channels c .. c + count of sample n, whose sums are given.
template <class T>
void ScalesOf(const FrnCall<T>& call, int64_t n, int64_t c, int64_t count, const double* sums,
              ComputeType<T>* scale) {
  const auto* gamma = call.params.gamma() + c;
  const auto* epsilons = call.params.epsilon() + c;
  const double inverse_size = 1.0 / static_cast<double>(call.shape.plane());
  if (call.kernels.scales(sums, count, inverse_size, gamma, epsilons, scale)) return;
  for (int64_t i = 0; i < count; ++i) {
    const double epsilon = static_cast<double>(epsilons[i]);
    double radicand = sums[i] * inverse_size + epsilon;
    if (radicand >= kTrustedMin && radicand <= kTrustedMax) continue;
    radicand = ExactSum(call, n, c + i) * inverse_size + epsilon;
    scale[i] = static_cast<ComputeType<T>>(static_cast<double>(gamma[i]) / std::sqrt(radicand));
  }
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_SCALES_H_
