// The four element types for tests: arithmetic of their own, so that a slip in the library's
// conversions is no slip here.

#ifndef FRN_ONNX_TESTS_ELEMENTS_H_
#define FRN_ONNX_TESTS_ELEMENTS_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "ort_abi.h"

namespace frn_test {

using ElementType = ONNXTensorElementDataType;

constexpr ElementType kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr ElementType kDouble = ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
constexpr ElementType kHalf = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
constexpr ElementType kBrain = ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
constexpr ElementType kElements[] = {kFloat, kDouble, kHalf, kBrain};

// A floating-point format: bits of the significand with the leading one, of the exponent.
struct Format {
  int significand;
  int exponent;

  double unit() const { return std::ldexp(1.0, -significand); }  // half of what follows 1
  int max_exponent() const { return (1 << (exponent - 1)) - 1; }
  double largest() const { return std::ldexp(2 - 2 * unit(), max_exponent()); }
  double smallest() const { return std::ldexp(1.0, 2 - max_exponent() - significand); }
};

inline Format FormatOf(ElementType type) {
  return type == kFloat    ? Format{24, 8}
         : type == kDouble ? Format{53, 11}
         : type == kHalf   ? Format{11, 5}
                           : Format{8, 8};
}

inline int64_t SizeOf(ElementType type) { return type == kDouble ? 8 : type == kFloat ? 4 : 2; }

// Element i behind `data`, which need not be aligned.
inline double Load(ElementType type, const void* data, int64_t i) {
  const char* at = static_cast<const char*>(data) + i * SizeOf(type);
  if (type == kDouble) {
    double value;
    std::memcpy(&value, at, sizeof(value));
    return value;
  }
  uint32_t bits = 0;
  if (type == kFloat) {
    std::memcpy(&bits, at, 4);
  } else {
    uint16_t half;
    std::memcpy(&half, at, 2);
    if (type == kHalf) {
      const int exponent = half >> 10 & 31, rest = half & 0x3ff;
      const double magnitude = exponent == 31  ? (rest == 0 ? HUGE_VAL : NAN)
                               : exponent == 0 ? std::ldexp(rest, -24)
                                               : std::ldexp(rest + 0x400, exponent - 25);
      return half & 0x8000 ? -magnitude : magnitude;
    }
    bits = static_cast<uint32_t>(half) << 16;
  }
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// Cut off, not rounded: any value will do as input. Beyond the largest it is infinite.
inline void Store(ElementType type, void* data, int64_t i, double value) {
  char* at = static_cast<char*>(data) + i * SizeOf(type);
  if (type == kDouble) {
    std::memcpy(at, &value, sizeof(value));
    return;
  }
  const float narrow = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &narrow, sizeof(bits));
  if (type == kFloat) {
    std::memcpy(at, &bits, sizeof(bits));
    return;
  }
  uint16_t half = static_cast<uint16_t>(bits >> 16);
  if (type == kBrain) {
    if (std::isnan(value)) half |= 0x40;
  } else {
    const double magnitude = std::fabs(value);
    half = std::signbit(value) ? 0x8000 : 0;
    if (std::isnan(value)) {
      half |= 0x7e00;
    } else if (magnitude >= 65536) {
      half |= 0x7c00;
    } else if (magnitude < 0x1p-14) {
      half |= static_cast<uint16_t>(std::ldexp(magnitude, 24));
    } else {
      int exponent;
      const double fraction = std::frexp(magnitude, &exponent);  // in [0.5, 1)
      half |=
          static_cast<uint16_t>((exponent + 14) << 10 | (static_cast<int>(fraction * 2048) - 1024));
    }
  }
  std::memcpy(at, &half, sizeof(half));
}

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_ELEMENTS_H_
