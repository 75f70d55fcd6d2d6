// AVX-512 (F, BW, DQ, VL) kernels: 16 floats or 8 doubles per register, masks for the tails.

#include "cpu/kernels.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)

#include <immintrin.h>

namespace frn {
namespace {

struct FloatVec {
  using Elem = float;
  using Reg = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32;

  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1); }

  static Reg Zero() { return _mm512_setzero_ps(); }
  static Reg Set(float e) { return _mm512_set1_ps(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm512_max_ps(t, a); }  // the second operand if one is NaN
  static float Total(Reg r) { return _mm512_reduce_add_ps(r); }

  // 14 bits of the instruction and a Newton step: 1.5 ulp, in a third of the time of 1 / sqrt.
  static Reg InvSqrt(Reg a) {
    const Reg r = _mm512_rsqrt14_ps(a);
    const Reg error = _mm512_fnmadd_ps(_mm512_mul_ps(a, r), r, Set(1));
    return _mm512_fmadd_ps(_mm512_mul_ps(r, Set(0.5f)), error, r);
  }
  static bool Trusted(Reg a) {
    const __mmask16 above = _mm512_cmp_ps_mask(a, Set(kTrustedMin), _CMP_GE_OQ);
    return _mm512_mask_cmp_ps_mask(above, a, Set(kTrustedMax), _CMP_LE_OQ) == 0xffff;
  }
  static Reg LoadSums(const double* p, double factor) {
    const __m512d f = _mm512_set1_pd(factor);
    const __m256 low = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_loadu_pd(p), f));
    const __m256 high = _mm512_cvtpd_ps(_mm512_mul_pd(_mm512_loadu_pd(p + 8), f));
    return _mm512_insertf32x8(_mm512_castps256_ps512(low), high, 1);
  }

  // The last n lanes, loaded from before `end`.
  static __mmask16 LastMask(int n) { return static_cast<__mmask16>(0xffffu << (kLanes - n)); }
  static Reg LoadLast(const float* end, int n) {
    return _mm512_maskz_loadu_ps(LastMask(n), end - kLanes);
  }
  static Reg LoadLast(const F16* end, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(LastMask(n), end - kLanes));
  }
  static Reg LoadLast(const BF16* end, int n) {
    return FromBF16(_mm256_maskz_loadu_epi16(LastMask(n), end - kLanes));
  }

  static Reg Load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg LoadPart(const float* p, int n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void Store(float* p, Reg r) { _mm512_storeu_ps(p, r); }
  static void Stream(float* p, Reg r) { _mm512_stream_ps(p, r); }
  static void Fence() { _mm_sfence(); }
  static void StorePart(float* p, Reg r, int n) { _mm512_mask_storeu_ps(p, Mask(n), r); }

  static Reg Load(const F16* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Reg LoadPart(const F16* p, int n) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(Mask(n), p));
  }
  static __m256i ToF16(Reg r) {
    return _mm512_cvtps_ph(r, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static void Store(F16* p, Reg r) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), ToF16(r)); }
  static void Stream(F16* p, Reg r) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), ToF16(r));
  }
  static void StorePart(F16* p, Reg r, int n) { _mm256_mask_storeu_epi16(p, Mask(n), ToF16(r)); }

  static Reg FromBF16(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }
  static Reg Load(const BF16* p) {
    return FromBF16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Reg LoadPart(const BF16* p, int n) {
    return FromBF16(_mm256_maskz_loadu_epi16(Mask(n), p));
  }
  // To nearest, ties to even; no NaN that comes here has so long a payload that it would carry
  // (kernels.h). The upper halves of the lanes are what is wanted: one permutation joins them.
  static __m256i ToBF16(Reg r) {
    const __m512i bits = _mm512_castps_si512(r);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    __m512i sum = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    sum = _mm512_mask_add_epi32(sum, odd, sum, _mm512_set1_epi32(1));
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(UpperHalves(), sum));
  }
  static __m512i UpperHalves() {
    return _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 31, 29, 27,
                            25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  }
  static void Store(BF16* p, Reg r) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), ToBF16(r));
  }
  static void Stream(BF16* p, Reg r) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), ToBF16(r));
  }
  static void StorePart(BF16* p, Reg r, int n) { _mm256_mask_storeu_epi16(p, Mask(n), ToBF16(r)); }

  struct Sum {
    __m512d low, high;

    void Clear() { low = high = _mm512_setzero_pd(); }
    void Add(Reg r) {
      low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(r)));
      high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(r, 1)));
    }
    double Total() const { return _mm512_reduce_add_pd(_mm512_add_pd(low, high)); }
    void AddTo(double* p) const {
      _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), low));
      _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), high));
    }
    void AddPartTo(double* p, int n) const {
      const __mmask8 first = static_cast<__mmask8>(Mask(n));
      const __mmask8 second = static_cast<__mmask8>(Mask(n) >> 8);
      _mm512_mask_storeu_pd(p, first, _mm512_add_pd(_mm512_maskz_loadu_pd(first, p), low));
      _mm512_mask_storeu_pd(p + 8, second,
                            _mm512_add_pd(_mm512_maskz_loadu_pd(second, p + 8), high));
    }
  };
};

struct DoubleVec {
  using Elem = double;
  using Reg = __m512d;
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 32;

  static __mmask8 Mask(int n) { return static_cast<__mmask8>((1u << n) - 1); }

  static Reg Zero() { return _mm512_setzero_pd(); }
  static Reg Set(double e) { return _mm512_set1_pd(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_pd(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm512_mul_pd(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm512_max_pd(t, a); }
  static double Total(Reg r) { return _mm512_reduce_add_pd(r); }
  static Reg InvSqrt(Reg a) { return _mm512_div_pd(Set(1), _mm512_sqrt_pd(a)); }
  static bool Trusted(Reg) { return true; }
  static Reg LoadSums(const double* p, double factor) { return Mul(Load(p), Set(factor)); }
  static Reg LoadLast(const double* end, int n) {
    return _mm512_maskz_loadu_pd(static_cast<__mmask8>(0xffu << (kLanes - n)), end - kLanes);
  }

  static Reg Load(const double* p) { return _mm512_loadu_pd(p); }
  static Reg LoadPart(const double* p, int n) { return _mm512_maskz_loadu_pd(Mask(n), p); }
  static void Store(double* p, Reg r) { _mm512_storeu_pd(p, r); }
  static void Stream(double* p, Reg r) { _mm512_stream_pd(p, r); }
  static void Fence() { _mm_sfence(); }
  static void StorePart(double* p, Reg r, int n) { _mm512_mask_storeu_pd(p, Mask(n), r); }

  struct Sum {
    __m512d all;

    void Clear() { all = _mm512_setzero_pd(); }
    void Add(Reg r) { all = _mm512_add_pd(all, r); }
    double Total() const { return _mm512_reduce_add_pd(all); }
    void AddTo(double* p) const { Store(p, _mm512_add_pd(Load(p), all)); }
    void AddPartTo(double* p, int n) const { StorePart(p, _mm512_add_pd(LoadPart(p, n), all), n); }
  };
};

#include "cpu/kernels_inl.h"

}  // namespace

const KernelTable* Avx512Kernels() { return &kTable; }

}  // namespace frn

#else  // not an AVX-512 build

namespace frn {
const KernelTable* Avx512Kernels() { return nullptr; }
}  // namespace frn

#endif
