// From sums of squares to what x is multiplied with.
//
// As a rule that is one float per channel, and the vector kernel makes it (Kernels::scales). Where
// squares leave the range of floats, they are summed again, of x times a factor; where the scale
// itself does, it is two: x * factor * factor * scale. Both steps are then done by the kernels that
// take a factor, so that huge, tiny and dead planes cost a second sum at most.

#ifndef FRN_ONNX_CPU_SCALES_H_
#define FRN_ONNX_CPU_SCALES_H_

#include <cstdint>

#include "cpu/frn_call.h"

namespace frn {

// Sets scale[i] for the channels c + i of sample n, i < count, whose sums are given. Where some
// need a factor, sets factor[i] for all and returns true. sum_again(factor, spare) sets spare[i] to
// the sums of the squares of x * factor[i]; sums and spare are overwritten.
template <class T, class SumAgain>
bool ScalesOf(const FrnCall<T>& call, int64_t n, int64_t c, int64_t count, double* sums,
              double* spare, ComputeType<T>* factor, ComputeType<T>* scale, SumAgain&& sum_again) {
  using A = ComputeType<T>;
  const A* gamma = call.params.gamma(n) + c;
  const A* epsilon = call.params.epsilon(n) + c;
  const double inverse_size = 1.0 / static_cast<double>(call.shape.plane());
  if (call.kernels.scales(sums, count, inverse_size, gamma, epsilon, scale)) return false;

  if (call.kernels.sum_factors(sums, count, inverse_size, epsilon, factor)) {
    sum_again(factor, spare);
    for (int64_t i = 0; i < count; ++i) sums[i] = factor[i] != 1 ? spare[i] : sums[i];
  }
  return call.kernels.wide_scales(sums, count, inverse_size, gamma, epsilon, factor, scale);
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_SCALES_H_
