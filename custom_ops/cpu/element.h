// The four element types outside the vector loops. Not to be included by kernels_<isa>.cc: these
// are inline functions with external linkage.

#ifndef FRN_ONNX_CPU_ELEMENT_H_
#define FRN_ONNX_CPU_ELEMENT_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/kernels.h"

namespace frn {

inline const Kernels<float>& KernelsOf(const KernelTable& table, float) { return table.f32; }
inline const Kernels<double>& KernelsOf(const KernelTable& table, double) { return table.f64; }
inline const Kernels<F16>& KernelsOf(const KernelTable& table, F16) { return table.f16; }
inline const Kernels<BF16>& KernelsOf(const KernelTable& table, BF16) { return table.bf16; }

inline double ToDouble(float value) { return value; }
inline double ToDouble(double value) { return value; }
inline double ToDouble(BF16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return wide;
}
inline double ToDouble(F16 value) {
  const int exponent = value.bits >> 10 & 31, mantissa = value.bits & 0x3ff;
  double magnitude;
  if (exponent == 31) {
    magnitude = mantissa == 0 ? HUGE_VAL : NAN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(mantissa, -24);
  } else {
    magnitude = std::ldexp(mantissa + 0x400, exponent - 25);
  }
  return value.bits & 0x8000 ? -magnitude : magnitude;
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_ELEMENT_H_
