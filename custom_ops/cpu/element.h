// The element types of X: float, F16, BF16 and double. This is the one list of them.
//
// kernels_<isa>.cc include this file under several -m flags, so that its functions have internal
// linkage (kernels_inl.h says why) and nothing of the standard library's is used.

#ifndef FRN_ONNX_CPU_ELEMENT_H_
#define FRN_ONNX_CPU_ELEMENT_H_

#include <cstdint>

namespace frn {

struct F16 {  // IEEE binary16
  uint16_t bits;
};

struct BF16 {  // the upper half of a float
  uint16_t bits;
};

// DO(type) for each of them: for explicit instantiations, and for the tables below.
#define FRN_FOR_EACH_ELEMENT(DO) DO(float) DO(F16) DO(BF16) DO(double)

// A list of types, to be deduced from.
template <class... T>
struct TypeList {};
using ElementTypes = TypeList<float, F16, BF16, double>;

// What is known of an element type without its loops: ONNX's number (TensorProto.DataType) and
// NumPy's name of it, and the type that sums are started in and that parameters have.
template <class T>
struct Element;
template <>
struct Element<float> {
  using Compute = float;
  static constexpr int kOnnxType = 1;
  static constexpr const char* kName = "float32";
};
template <>
struct Element<double> {
  using Compute = double;
  static constexpr int kOnnxType = 11;
  static constexpr const char* kName = "float64";
};
template <>
struct Element<F16> {
  using Compute = float;
  static constexpr int kOnnxType = 10;
  static constexpr const char* kName = "float16";
};
template <>
struct Element<BF16> {
  using Compute = float;
  static constexpr int kOnnxType = 16;
  static constexpr const char* kName = "bfloat16";
};
template <class T>
using ComputeType = typename Element<T>::Compute;

static inline double ToDouble(float value) { return value; }
static inline double ToDouble(double value) { return value; }
static inline double ToDouble(BF16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof(wide));
  return wide;
}
static inline double ToDouble(F16 value) {
  const uint64_t exponent = value.bits >> 10 & 31, mantissa = value.bits & 0x3ff;
  const uint64_t sign = static_cast<uint64_t>(value.bits & 0x8000) << 48;
  if (exponent == 0) {
    const double subnormal = static_cast<double>(mantissa) * 0x1p-24;
    return sign != 0 ? -subnormal : subnormal;
  }
  // The exponent's bias goes from 15 to 1023; infinity and NaN have the largest in both.
  const uint64_t wide_exponent = exponent == 31 ? 0x7ff : exponent + (1023 - 15);
  const uint64_t bits = sign | wide_exponent << 52 | mantissa << 42;
  double wide;
  __builtin_memcpy(&wide, &bits, sizeof(wide));
  return wide;
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_ELEMENT_H_
