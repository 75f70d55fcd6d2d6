// AVX-512 intrinsics in plain C++, for tests of kernels_avx512.cc on machines that have none: SIMDe
// (https://github.com/simd-everywhere/simde, Debian's libsimde-dev), and below what its 0.7 lacks.
// Nothing here says how fast the kernels are.

#ifndef FRN_ONNX_TESTS_EMULATED_AVX512_H_
#define FRN_ONNX_TESTS_EMULATED_AVX512_H_

#define SIMDE_NO_NATIVE
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cmath>
#include <cstdint>
#include <cstring>

namespace emulated {

// A vector as kCount elements, and back.
template <class E, int kCount>
struct Lanes {
  E e[kCount] = {};

  Lanes() = default;
  template <class V>
  explicit Lanes(const V& v) {
    static_assert(sizeof(V) == sizeof(e));
    std::memcpy(e, &v, sizeof(e));
  }
  template <class V>
  V To() const {
    V v;
    static_assert(sizeof(V) == sizeof(e));
    std::memcpy(&v, e, sizeof(e));
    return v;
  }
};

template <class V, class E, int kCount>
V MaskedLoad(uint32_t mask, const void* p) {
  Lanes<E, kCount> lanes;
  for (int i = 0; i < kCount; ++i) {
    if (mask >> i & 1) std::memcpy(&lanes.e[i], static_cast<const E*>(p) + i, sizeof(E));
  }
  return lanes.template To<V>();
}
template <class E, int kCount, class V>
void MaskedStore(void* p, uint32_t mask, const V& v) {
  const Lanes<E, kCount> lanes(v);
  for (int i = 0; i < kCount; ++i) {
    if (mask >> i & 1) std::memcpy(static_cast<E*>(p) + i, &lanes.e[i], sizeof(E));
  }
}
template <class To, class ToE, class FromE, int kCount, class V, class F>
To Map(const V& v, F&& f) {
  const Lanes<FromE, kCount> from(v);
  Lanes<ToE, kCount> to;
  for (int i = 0; i < kCount; ++i) to.e[i] = f(from.e[i]);
  return to.template To<To>();
}

inline float FromHalf(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 0x3ff;
  float magnitude = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                                  : std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
  if (exponent == 31) magnitude = mantissa == 0 ? HUGE_VALF : NAN;
  return std::copysign(magnitude, bits & 0x8000 ? -1.0f : 1.0f);
}
inline uint16_t ToHalf(float value) {  // to nearest, ties to even
  const int sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fabs(value);
  int bits = 0x7e00;
  if (magnitude < 0x1p-14f) {
    bits = static_cast<int>(std::nearbyint(magnitude * 0x1p24f));
  } else if (magnitude >= 65520.0f) {
    bits = 0x7c00;
  } else if (magnitude < 65520.0f) {  // no NaN
    int exponent;
    const float fraction = std::frexp(magnitude, &exponent);
    bits = ((exponent + 13) << 10) + static_cast<int>(std::nearbyint(fraction * 2048)) - 0;
  }
  return static_cast<uint16_t>(sign | bits);
}
// Off by as much as the instruction may be.
inline float InvSqrt14(float a) {
  return static_cast<float>(1 / std::sqrt(double{a})) * (1 + 0x1p-15f);
}

}  // namespace emulated

#ifndef _MM_FROUND_NO_EXC
#define _MM_FROUND_NO_EXC 8
#endif
using __mmask8 = uint8_t;
using __mmask16 = uint16_t;

inline __m256i _mm256_maskz_loadu_epi16(uint32_t mask, const void* p) {
  return emulated::MaskedLoad<__m256i, uint16_t, 16>(mask, p);
}
inline void _mm256_mask_storeu_epi16(void* p, uint32_t mask, __m256i v) {
  emulated::MaskedStore<uint16_t, 16>(p, mask, v);
}
inline __m512 _mm512_maskz_loadu_ps(uint32_t mask, const void* p) {
  return emulated::MaskedLoad<__m512, float, 16>(mask, p);
}
inline void _mm512_mask_storeu_ps(void* p, uint32_t mask, __m512 v) {
  emulated::MaskedStore<float, 16>(p, mask, v);
}
inline __m512d _mm512_maskz_loadu_pd(uint32_t mask, const void* p) {
  return emulated::MaskedLoad<__m512d, double, 8>(mask, p);
}
inline void _mm512_mask_storeu_pd(void* p, uint32_t mask, __m512d v) {
  emulated::MaskedStore<double, 8>(p, mask, v);
}
inline void _mm512_stream_ps(void* p, __m512 v) { std::memcpy(p, &v, sizeof(v)); }
inline void _mm512_stream_pd(void* p, __m512d v) { std::memcpy(p, &v, sizeof(v)); }
inline __m512i _mm512_cvtepu16_epi32(__m256i v) {
  return emulated::Map<__m512i, uint32_t, uint16_t, 16>(v, [](uint16_t e) { return e; });
}
inline __m512i _mm512_cvtepi32_epi64(__m256i v) {
  return emulated::Map<__m512i, int64_t, int32_t, 8>(v, [](int32_t e) { return e; });
}
inline __m512 _mm512_cvtph_ps(__m256i v) {
  return emulated::Map<__m512, float, uint16_t, 16>(v, emulated::FromHalf);
}
inline __m256i _mm512_cvtps_ph(__m512 v, int) {
  return emulated::Map<__m256i, uint16_t, float, 16>(v, emulated::ToHalf);
}
inline __m512d _mm512_cvtps_pd(__m256 v) {
  return emulated::Map<__m512d, double, float, 8>(v, [](float e) { return double{e}; });
}
inline __m256 _mm512_cvtpd_ps(__m512d v) {
  return emulated::Map<__m256, float, double, 8>(v, [](double e) { return static_cast<float>(e); });
}
inline __m512 _mm512_rsqrt14_ps(__m512 v) {
  return emulated::Map<__m512, float, float, 16>(v, emulated::InvSqrt14);
}
inline __m256 _mm512_extractf32x8_ps(__m512 v, int half) {
  __m256 part;
  std::memcpy(&part, reinterpret_cast<const char*>(&v) + half * sizeof(part), sizeof(part));
  return part;
}
inline double _mm512_reduce_add_pd(__m512d v) {
  const emulated::Lanes<double, 8> l(v);
  return ((l.e[0] + l.e[4]) + (l.e[2] + l.e[6])) + ((l.e[1] + l.e[5]) + (l.e[3] + l.e[7]));
}
inline __mmask16 _mm512_cmplt_epi32_mask(__m512i a, __m512i b) {
  return _mm512_cmpgt_epi32_mask(b, a);
}
#define _mm512_shuffle_f32x4(a, b, control) \
  _mm512_castsi512_ps(_mm512_shuffle_i32x4(_mm512_castps_si512(a), _mm512_castps_si512(b), control))
#define _mm512_shuffle_f64x2(a, b, control) \
  _mm512_castsi512_pd(_mm512_shuffle_i32x4(_mm512_castpd_si512(a), _mm512_castpd_si512(b), control))
#define _mm512_mask_cmp_ps_mask(mask, a, b, op) \
  static_cast<__mmask16>((mask) & _mm512_cmp_ps_mask(a, b, op))

#endif  // FRN_ONNX_TESTS_EMULATED_AVX512_H_
