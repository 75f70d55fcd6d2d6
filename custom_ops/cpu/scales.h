// From sums of squares to what x is multiplied with.
//
// As a rule that is one float per channel, and the vector kernel makes it (Kernels::scales). Where
// squares, or the scale itself, leave the range of floats, it is two: x * factor * scale. Both
// steps, the sum and the normalisation, are then done by the kernels that take a factor, so that
// huge, tiny and dead planes cost a second sum at most.

#ifndef FRN_ONNX_CPU_SCALES_H_
#define FRN_ONNX_CPU_SCALES_H_

#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cpu/frn_call.h"

namespace frn {

// Whether no square of a T over- or underflows in the compute type, as far as there is a wider one.
template <class T>
constexpr bool kSquaresFit = std::is_same_v<T, F16> || std::is_same_v<T, double>;

// The factor that the squares of a channel ask for: 1 where their sum can be relied on. A sum that
// is NaN is the answer already.
template <class T>
ComputeType<T> FactorOfSum(double mean, double epsilon) {
  if (kSquaresFit<T>) return 1;
  if (mean + epsilon < kTrustedMin) return kTiny;
  return mean > kTrustedMax ? kHuge : 1;
}

// What x is multiplied with: factor first.
template <class A>
struct FactorAndScale {
  A factor;
  A scale;
};

// gamma / sqrt(radicand), the radicand given times the square of sum_factor.
template <class A>
FactorAndScale<A> FactorAndScaleOf(double gamma, double radicand, double sum_factor) {
  const double scale = gamma / std::sqrt(radicand) * sum_factor, magnitude = std::fabs(scale);
  double factor = 1;
  if (magnitude > 0 && magnitude < kMinNormal) factor = kHuge;
  if (magnitude > kMaxFloat && magnitude < std::numeric_limits<double>::infinity()) factor = kTiny;
  return {static_cast<A>(factor), static_cast<A>(scale / factor)};
}

// Sets scale[i] for the channels c + i of one sample, i < count, whose sums are given. Where some
// need a factor, sets factor[i] for all and returns true. sum_again(factor, spare) sets spare[i] to
// the sums of the squares of x * factor[i]; sums[i] becomes what was taken.
template <class T, class SumAgain>
bool ScalesOf(const FrnCall<T>& call, int64_t c, int64_t count, double* sums, double* spare,
              ComputeType<T>* factor, ComputeType<T>* scale, SumAgain&& sum_again) {
  using A = ComputeType<T>;
  const A* gamma = call.params.gamma() + c;
  const A* epsilon = call.params.epsilon() + c;
  const double inverse_size = 1.0 / static_cast<double>(call.shape.plane());
  if (call.kernels.scales(sums, count, inverse_size, gamma, epsilon, scale)) return false;

  bool again = false;
  for (int64_t i = 0; i < count; ++i) {
    factor[i] = FactorOfSum<T>(sums[i] * inverse_size, epsilon[i]);
    again |= factor[i] != 1;
  }
  if (again) {
    sum_again(factor, spare);
    for (int64_t i = 0; i < count; ++i) {
      if (factor[i] != 1) sums[i] = spare[i];
    }
  }
  bool factored = false;
  for (int64_t i = 0; i < count; ++i) {
    const double sum_factor = factor[i];
    const double radicand = sums[i] * inverse_size + epsilon[i] * sum_factor * sum_factor;
    if (factor[i] == 1 && !(radicand > 0)) continue;  // NaN or 0: the kernel's scale is right
    const auto exact = FactorAndScaleOf<A>(gamma[i], radicand, sum_factor);
    factor[i] = exact.factor;
    scale[i] = exact.scale;
    factored |= exact.factor != 1;
  }
  return factored;
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_SCALES_H_
