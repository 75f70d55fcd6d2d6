// AVX-512 (F, BW, DQ, VL) kernels: 16 floats or 8 doubles per register, masks for the tails.

#include "cpu/kernels.h"

#if defined(FRN_ONNX_EMULATE_AVX512)  // a build for tests
#include "tests/emulated_avx512.h"
#define FRN_ONNX_AVX512
#elif defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && \
    defined(__AVX512VL__)
#include <immintrin.h>
#define FRN_ONNX_AVX512
#endif

#ifdef FRN_ONNX_AVX512

namespace frn {
namespace {

#include "cpu/parts_inl.h"

struct FloatVec {
  using Elem = float;
  using Reg = __m512;
  static constexpr int kLanes = 16;
  static constexpr int kRegisters = 32;
  static constexpr bool kSortsBF16 = true;

  static __mmask16 Mask(int n) { return static_cast<__mmask16>((1u << n) - 1); }

  static Reg Zero() { return _mm512_setzero_ps(); }
  static Reg Set(float e) { return _mm512_set1_ps(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm512_max_ps(t, a); }  // the second operand if one is NaN
  static Reg Div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg Sqrt(Reg a) { return _mm512_sqrt_ps(a); }

  // In each quarter a's pairs of lanes, added, and b's.
  static Reg AddPairs(Reg a, Reg b) {
    return Add(_mm512_shuffle_ps(a, b, 0x88), _mm512_shuffle_ps(a, b, 0xdd));
  }
  // As lanes: a's pairs of quarters, added, and b's.
  static Reg AddQuarters(Reg a, Reg b) {
    return Add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
  }
  static Reg AddFours(const Reg* r) { return AddPairs(AddPairs(r[0], r[1]), AddPairs(r[2], r[3])); }
  static Reg Totals(const Reg* r) {
    Reg four[4];
    for (int i = 0; i < 4; ++i) four[i] = AddFours(r + 4 * i);
    return AddQuarters(AddQuarters(four[0], four[1]), AddQuarters(four[2], four[3]));
  }

  static void Transpose(Reg* r) {
    Reg pairs[16], fours[16];  // of rows, in each quarter
    for (int i = 0; i < 16; i += 2) {
      pairs[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      pairs[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      for (int k = 0; k < 2; ++k) {
        fours[i + 2 * k] = _mm512_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0x44);
        fours[i + 2 * k + 1] = _mm512_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0xee);
      }
    }
    for (int i = 0; i < 4; ++i) {  // and the quarters
      const Reg even01 = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0x88);
      const Reg odd01 = _mm512_shuffle_f32x4(fours[i], fours[i + 4], 0xdd);
      const Reg even23 = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0x88);
      const Reg odd23 = _mm512_shuffle_f32x4(fours[i + 8], fours[i + 12], 0xdd);
      r[i] = _mm512_shuffle_f32x4(even01, even23, 0x88);
      r[i + 4] = _mm512_shuffle_f32x4(odd01, odd23, 0x88);
      r[i + 8] = _mm512_shuffle_f32x4(even01, even23, 0xdd);
      r[i + 12] = _mm512_shuffle_f32x4(odd01, odd23, 0xdd);
    }
  }

  static Reg Permute(Reg a, const int32_t* lanes) {
    return _mm512_permutexvar_ps(_mm512_loadu_si512(lanes), a);
  }

  // 14 bits of the instruction and a Newton step: 1.5 ulp, in a third of the time of 1 / sqrt. The
  // makers of CPUs may differ in those 14 bits, and so, rarely, in the last one here.
  static Reg InvSqrt(Reg a) {
    const Reg r = _mm512_rsqrt14_ps(a);
    const Reg error = _mm512_fnmadd_ps(_mm512_mul_ps(a, r), r, Set(1));
    return _mm512_fmadd_ps(_mm512_mul_ps(r, Set(0.5f)), error, r);
  }
  static Reg InvSqrtOfAny(Reg a) {  // without the step, which makes NaN of 0 and of infinity
    const Reg r = InvSqrt(a);
    return _mm512_mask_mov_ps(r, _mm512_cmp_ps_mask(r, r, _CMP_UNORD_Q), _mm512_rsqrt14_ps(a));
  }
  template <int kCount>
  static bool AllWithin(const Reg* a, Reg min, Reg max) {
    int out = 0;
    for (int i = 0; i < kCount; ++i) {
      out |= _mm512_cmp_ps_mask(a[i], min, _CMP_LT_OQ) | _mm512_cmp_ps_mask(a[i], max, _CMP_GT_OQ);
    }
    return out == 0;
  }
  static Reg Abs(Reg a) { return _mm512_abs_ps(a); }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) {
    return _mm512_mask_mov_ps(y, _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), x);
  }
  static bool Normal(Reg s, Reg g) {
    const Reg magnitude = _mm512_abs_ps(s);
    const __mmask16 small = _mm512_cmp_ps_mask(magnitude, Set(kMinNormal), _CMP_LT_OQ);
    const __mmask16 lost = _mm512_mask_cmp_ps_mask(small, g, Zero(), _CMP_NEQ_OQ);
    return (lost | _mm512_cmp_ps_mask(magnitude, Set(kMaxFloat), _CMP_GT_OQ)) == 0;
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
  // The upper halves of the lanes are to nearest, ties to even; no NaN that comes here has so long
  // a payload that it would carry (kernels.h).
  static __m512i Rounded(Reg r) {
    const __m512i bits = _mm512_castps_si512(r);
    const __mmask16 odd = _mm512_test_epi32_mask(bits, _mm512_set1_epi32(0x10000));
    const __m512i sum = _mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff));
    return _mm512_mask_add_epi32(sum, odd, sum, _mm512_set1_epi32(1));
  }
  static __m256i ToBF16(Reg r) {  // one permutation joins the upper halves
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(UpperHalves(), Rounded(r)));
  }
  static __m512i UpperHalves() {
    return _mm512_set_epi16(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1, 31, 29, 27,
                            25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  }
  // Two at once are the even elements and the odd ones: a shift or a mask makes floats of them.
  static void LoadTwo(const BF16* p, Reg* even, Reg* odd) {
    const __m512i bits = _mm512_loadu_si512(p);
    *even = _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16));
    *odd = _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(-0x10000)));
  }
  static __m512i TwoToBF16(Reg even, Reg odd) {
    return _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(Rounded(even), 16), Rounded(odd));
  }
  static void StoreTwo(BF16* p, Reg even, Reg odd) { _mm512_storeu_si512(p, TwoToBF16(even, odd)); }
  static void StreamTwo(BF16* p, Reg even, Reg odd) {
    const __m512i bits = TwoToBF16(even, odd);
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(bits));
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p) + 1, _mm512_extracti64x4_epi64(bits, 1));
  }
  static void SortTwo(Reg* a, Reg* b) {
    const __m512i even =
        _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const Reg first = _mm512_permutex2var_ps(*a, even, *b);
    *b = _mm512_permutex2var_ps(*a, _mm512_add_epi32(even, _mm512_set1_epi32(1)), *b);
    *a = first;
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

struct DoubleVec : AlwaysReliable {
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
  static Reg Div(Reg a, Reg b) { return _mm512_div_pd(a, b); }
  static Reg Sqrt(Reg a) { return _mm512_sqrt_pd(a); }
  static Reg AddPairs(Reg a, Reg b) {
    return Add(_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
  }
  static Reg AddQuarters(Reg a, Reg b) {
    return Add(_mm512_shuffle_f64x2(a, b, 0x88), _mm512_shuffle_f64x2(a, b, 0xdd));
  }
  static Reg Totals(const Reg* r) {
    return AddQuarters(AddQuarters(AddPairs(r[0], r[1]), AddPairs(r[2], r[3])),
                       AddQuarters(AddPairs(r[4], r[5]), AddPairs(r[6], r[7])));
  }
  static Reg Permute(Reg a, const int32_t* lanes) {
    const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes));
    return _mm512_permutexvar_pd(_mm512_cvtepi32_epi64(low), a);
  }
  static Reg InvSqrt(Reg a) { return _mm512_div_pd(Set(1), _mm512_sqrt_pd(a)); }
  static Reg InvSqrtOfAny(Reg a) { return InvSqrt(a); }
  static Reg Abs(Reg a) { return _mm512_abs_pd(a); }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) {
    return _mm512_mask_mov_pd(y, _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ), x);
  }
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
