// What cuda/device.h says for nvcc, said for the emulator: included in its place.

#ifndef FRN_ONNX_TESTS_SIMT_DEVICE_H_
#define FRN_ONNX_TESTS_SIMT_DEVICE_H_

#include <cmath>
#include <cstdint>
#include <cstring>

#include "cuda/kernel_params.h"
#include "tests/simt/simt.h"

#define __global__ static
#define __device__
#define __launch_bounds__(...)

struct uint4 {
  uint32_t x, y, z, w;
};

namespace frn::cuda {

using simt::ArriveCluster;
using simt::SharedMemory;
using simt::ShuffleXor;
using simt::SyncBlock;
using simt::WaitCluster;
using std::fmaf;

// The emulator's memory is in order whatever an arrival says.
inline void ArriveClusterRelaxed() { ArriveCluster(); }
inline float* ClusterPeer(float* local, int rank) {
  return static_cast<float*>(simt::ClusterPeer(local, rank));
}

template <class V>
inline constexpr bool kCopiesAsync = sizeof(V) >= 4;
template <class V>
void CopyAsync(V* shared, const V* global) {
  simt::CopyAsync(shared, global, sizeof(V));
}
using simt::CommitCopies;
template <int kPending>
void WaitCopies() {
  simt::WaitCopies(kPending);
}

template <class V>
V Load(const V* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(V) != 0) simt::Fail("misaligned load");
  V value;
  std::memcpy(&value, p, sizeof(V));
  return value;
}
template <class V>
V LoadLast(const V* p) {
  return Load(p);
}
template <class V>
void Store(V* p, V value) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(V) != 0) simt::Fail("misaligned store");
  std::memcpy(p, &value, sizeof(V));
}

inline int Log2(int power) { return __builtin_ctz(static_cast<unsigned>(power)); }
inline uint32_t NotBefore(uint32_t value) { return value; }
inline uint32_t MulHigh(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(uint64_t{a} * b >> 32);
}
inline float AtLeast(float v, float floor) { return v < floor ? floor : v; }
inline void AddSquare(float v, bool first, float& sum, float& other) {
  float& grows = first ? sum : other;
  grows = fmaf(v, v, grows);
}
inline float MapEither(float v, bool other, float scale, float shift, float& floor,
                       float other_scale, float other_shift, float other_floor) {
  floor = other ? other_floor : floor;
  return other ? fmaf(v, other_scale, other_shift) : fmaf(v, scale, shift);
}
inline float rsqrtf(float v) { return 1.0f / std::sqrt(v); }
inline float __uint_as_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}
inline uint32_t __float_as_uint(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

// IEEE binary16, rounding to nearest even.
inline float ToFloat(F16 v) {
  const int exponent = v.bits >> 10 & 31;
  const int fraction = v.bits & 0x3ff;
  const uint32_t sign = static_cast<uint32_t>(v.bits & 0x8000) << 16;
  if (exponent == 31) return __uint_as_float(sign | 0x7f800000 | fraction << 13);
  if (exponent != 0) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
  return __uint_as_float(sign | __float_as_uint(static_cast<float>(fraction) * 0x1p-24f));
}
inline F16 ToF16(float v) {
  const uint32_t bits = __float_as_uint(v);
  const uint16_t sign = bits >> 16 & 0x8000;
  const float magnitude = std::fabs(v);
  if (std::isnan(v)) return {0x7fff};
  if (magnitude >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00)};
  if (magnitude < 0x1p-14f) {  // subnormal: a multiple of 2^-24, in the current rounding mode
    return {
        static_cast<uint16_t>(sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24f)))};
  }
  const uint32_t scaled = (bits & 0x7fffffff) - (112u << 23);
  return {static_cast<uint16_t>(sign | (scaled + 0xfff + (scaled >> 13 & 1)) >> 13)};
}
inline BF16 ToBF16(float v) {
  const uint32_t bits = __float_as_uint(v);
  if (std::isnan(v)) return {0x7fff};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline uint32_t ToWord(float first, float second, F16) {
  return ToF16(first).bits | static_cast<uint32_t>(ToF16(second).bits) << 16;
}
inline uint32_t ToWord(float first, float second, BF16) {
  return ToBF16(first).bits | static_cast<uint32_t>(ToBF16(second).bits) << 16;
}

}  // namespace frn::cuda

#endif  // FRN_ONNX_TESTS_SIMT_DEVICE_H_
