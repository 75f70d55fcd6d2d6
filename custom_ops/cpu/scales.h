// From sums of squares to what x is multiplied with.
//
// As a rule that is one float per channel, and the vector kernel makes it (Kernels::scales). Where
// squares leave the range of floats, they are summed again, of x times a factor; where the scale
// itself does, it is two: x * factor * factor * scale. Both steps are then done by the kernels that
// take a factor, so that huge, tiny and dead planes cost a second sum at most.

#ifndef FRN_ONNX_CPU_SCALES_H_
#define FRN_ONNX_CPU_SCALES_H_

#include <algorithm>
#include <atomic>
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
    const bool same = std::all_of(factor, factor + count, [&](A f) { return f == factor[0]; });
    call.guess.store(same ? factor[0] : 1, std::memory_order_relaxed);
    sum_again(factor, spare);
    for (int64_t i = 0; i < count; ++i) sums[i] = factor[i] != 1 ? spare[i] : sums[i];
  }
  return call.kernels.wide_scales(sums, count, inverse_size, gamma, epsilon, factor, scale);
}

// As ScalesOf, and sums: sum(factor, sums) sets sums[i] to the sums of the squares of x *
// factor[i], of x where factor is nullptr. The factor that all channels asked for last is tried
// first, as whatever made them huge, tiny or dead is likely to go on; it is right or not used, so
// that no result depends on it.
template <class T, class Sum>
bool SumAndScale(const FrnCall<T>& call, int64_t n, int64_t c, int64_t count, double* sums,
                 double* spare, ComputeType<T>* factor, ComputeType<T>* scale, Sum&& sum) {
  using A = ComputeType<T>;
  const A guess = call.guess.load(std::memory_order_relaxed);
  if (guess != 1) {
    const A* epsilon = call.params.epsilon(n) + c;
    const double inverse_size = 1.0 / static_cast<double>(call.shape.plane());
    std::fill_n(factor, count, guess);
    sum(factor, sums);
    for (int64_t i = 0; i < count; ++i) spare[i] = sums[i] / guess / guess;
    call.kernels.sum_factors(spare, count, inverse_size, epsilon, factor);
    if (std::all_of(factor, factor + count, [&](A f) { return f == guess; })) {
      return call.kernels.wide_scales(sums, count, inverse_size, call.params.gamma(n) + c, epsilon,
                                      factor, scale);
    }
    call.guess.store(1, std::memory_order_relaxed);
  }
  sum(nullptr, sums);
  return ScalesOf(call, n, c, count, sums, spare, factor, scale, sum);
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_SCALES_H_
