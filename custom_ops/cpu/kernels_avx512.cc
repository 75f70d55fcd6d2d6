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

  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1); }

  static Reg Zero() { return _mm512_setzero_ps(); }
  static Reg Set(float e) { return _mm512_set1_ps(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm512_max_ps(t, a); }  // the second operand if one is NaN

  static Reg Load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg LoadPart(const float* p, int n) { return _mm512_maskz_loadu_ps(Mask(n), p); }
  static void Store(float* p, Reg r) { _mm512_storeu_ps(p, r); }
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
  // To nearest, ties to even; a NaN stays one (rounding up could carry it to infinity).
  static __m256i ToBF16(Reg r) {
    const __m512i bits = _mm512_castps_si512(r);
    const __m512i high = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(high, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __m512i quiet = _mm512_or_si512(high, _mm512_set1_epi32(0x40));
    const __mmask16 nan = _mm512_cmp_ps_mask(r, r, _CMP_UNORD_Q);
    return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, nan, quiet));
  }
  static void Store(BF16* p, Reg r) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), ToBF16(r));
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

  static __mmask8 Mask(int n) { return static_cast<__mmask8>((1u << n) - 1); }

  static Reg Zero() { return _mm512_setzero_pd(); }
  static Reg Set(double e) { return _mm512_set1_pd(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_pd(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm512_max_pd(t, a); }

  static Reg Load(const double* p) { return _mm512_loadu_pd(p); }
  static Reg LoadPart(const double* p, int n) { return _mm512_maskz_loadu_pd(Mask(n), p); }
  static void Store(double* p, Reg r) { _mm512_storeu_pd(p, r); }
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
