// From sums of squares to what x is multiplied with.
//
// As a rule that is one float per channel, and the vector kernel makes it (Kernels::scales). Where
// squares leave the range of floats, they are summed again, of x times a factor; where the scale
// itself does, it is two: x * factor * factor * scale. Both steps are then done by the kernels that
// take a factor, so that huge, tiny and dead planes cost a second sum at most.

#ifndef FRN_ONNX_CPU_SCALES_H_
#define FRN_ONNX_CPU_SCALES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "cpu/frn_call.h"

namespace frn {

// Whether no square of a T over- or underflows in the compute type, as far as there is a wider one.
template <class T>
constexpr bool kSquaresFit = std::is_same_v<T, F16> || std::is_same_v<T, double>;

// The factor that the squares of a channel ask for: 1 where their sum can be relied on. A sum that
// is NaN is the answer already. An epsilon below zero asks for none: ordinary squares times kTiny
// would overflow.
inline double FactorOfSum(double mean, double epsilon) {
  const double factor = std::max(mean, mean + epsilon) < kTrustedMin ? kTiny : 1;
  return mean > kTrustedMax ? kHuge : factor;
}

// 2^exponent, which a double can hold.
inline double PowerOfTwo(int64_t exponent) {
  const uint64_t bits = static_cast<uint64_t>(exponent + 1023) << 52;
  double power;
  std::memcpy(&power, &bits, sizeof(power));
  return power;
}

// The exponent of a number that is not 0 and no subnormal.
inline int64_t ExponentOf(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<int64_t>(bits >> 52 & 0x7ff) - 1023;
}

// Whether a scale is one that floats round as they should, or 0, infinite or NaN.
inline bool IsOneFloat(double scale) {
  const double magnitude = std::fabs(scale);
  const bool lost = magnitude > 0 && magnitude < kMinNormal;
  return !lost && !(magnitude > kMaxFloat && magnitude < std::numeric_limits<double>::infinity());
}

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

  bool again = false;
  for (int64_t i = 0; i < count; ++i) {
    const double wanted = kSquaresFit<T> ? 1 : FactorOfSum(sums[i] * inverse_size, epsilon[i]);
    factor[i] = static_cast<A>(wanted);
    again |= wanted != 1;
  }
  if (again) {
    sum_again(factor, spare);
    for (int64_t i = 0; i < count; ++i) sums[i] = factor[i] != 1 ? spare[i] : sums[i];
  }
  double* const wide = spare;  // the scales, which doubles hold
  for (int64_t i = 0; i < count; ++i) {
    const double sum_factor = factor[i];
    wide[i] = gamma[i] * sum_factor;
    sums[i] = sums[i] * inverse_size + epsilon[i] * sum_factor * sum_factor;  // the radicands
  }
  call.kernels.divide_by_roots(sums, count, wide);
  bool factored = false;
  for (int64_t i = 0; i < count; ++i) {
    factor[i] = 1;
    scale[i] = static_cast<A>(wide[i]);
    factored |= !IsOneFloat(wide[i]);
  }
  if (!factored) return false;
  // A third of its digits: however gamma and x differ, each product is in range then.
  for (int64_t i = 0; i < count; ++i) {
    if (IsOneFloat(wide[i])) continue;
    const int64_t third = ExponentOf(wide[i]) / 3;
    factor[i] = static_cast<A>(PowerOfTwo(third));
    scale[i] = static_cast<A>(wide[i] * PowerOfTwo(-2 * third));
  }
  return true;
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_SCALES_H_
