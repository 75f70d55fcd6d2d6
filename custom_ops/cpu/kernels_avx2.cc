// AVX2 + FMA + F16C kernels: 8 floats or 4 doubles per register.

#include "cpu/kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

namespace frn {
namespace {

// From kMasks32 + 8 - n on: n lanes on, the rest off. From kMasks32 + 8 + n on: the last n on.
constexpr int32_t kMasks32[24] = {-1, -1, -1, -1, -1, -1, -1, -1, 0,  0,  0,  0,
                                  0,  0,  0,  0,  -1, -1, -1, -1, -1, -1, -1, -1};
constexpr int64_t kMasks64[12] = {-1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1};

#include "cpu/parts_inl.h"

struct FloatVec {
  using Elem = float;
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;
  static constexpr bool kSortsBF16 = true;

  static __m256i Mask(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks32 + 8 - n));
  }

  static Reg Zero() { return _mm256_setzero_ps(); }
  static Reg Set(float e) { return _mm256_set1_ps(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm256_max_ps(t, a); }  // the second operand if one is NaN
  static Reg Div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg Sqrt(Reg a) { return _mm256_sqrt_ps(a); }

  // Two vectors into one: its pairs of lanes hold a's pairs, added, and b's, added.
  static Reg AddPairs(Reg a, Reg b) {
    return _mm256_add_ps(_mm256_shuffle_ps(a, b, 0x88), _mm256_shuffle_ps(a, b, 0xdd));
  }
  static Reg AddFours(const Reg* r) { return AddPairs(AddPairs(r[0], r[1]), AddPairs(r[2], r[3])); }
  static Reg Totals(const Reg* r) {
    Reg four[2];
    for (int i = 0; i < 2; ++i) four[i] = AddFours(r + 4 * i);
    return _mm256_add_ps(_mm256_permute2f128_ps(four[0], four[1], 0x20),
                         _mm256_permute2f128_ps(four[0], four[1], 0x31));
  }

  static void Transpose(Reg* r) {
    Reg pairs[8], fours[8];  // of rows, in each half
    for (int i = 0; i < 8; i += 2) {
      pairs[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      pairs[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      for (int k = 0; k < 2; ++k) {
        fours[i + 2 * k] = _mm256_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0x44);
        fours[i + 2 * k + 1] = _mm256_shuffle_ps(pairs[i + k], pairs[i + k + 2], 0xee);
      }
    }
    for (int i = 0; i < 4; ++i) {
      r[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
      r[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
  }

  static Reg Permute(Reg a, const int32_t* lanes) {
    return _mm256_permutevar8x32_ps(a, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes)));
  }

  // 12 bits of the instruction and a step of third order: 1.5 ulp, in two thirds of the time of
  // 1 / sqrt. The makers of CPUs differ in those 12 bits, and so, rarely, in the last one here.
  static Reg InvSqrt(Reg a) {
    const Reg r = _mm256_rsqrt_ps(a);
    const Reg error = _mm256_fnmadd_ps(Mul(a, r), r, Set(1));
    return Fma(Mul(r, error), Fma(error, Set(0.375f), Set(0.5f)), r);
  }
  static Reg InvSqrtOfAny(Reg a) {  // the step makes NaN of 0 and of infinity
    const Reg r = InvSqrt(a);
    return _mm256_blendv_ps(r, _mm256_rsqrt_ps(a), _mm256_cmp_ps(r, r, _CMP_UNORD_Q));
  }
  // The second operand if one is NaN.
  template <int kCount>
  static bool AllWithin(const Reg* a, Reg min, Reg max) {
    Reg least = min, most = max;
    for (int i = 0; i < kCount; ++i) {
      least = _mm256_min_ps(a[i], least);
      most = _mm256_max_ps(a[i], most);
    }
    const Reg outside = _mm256_or_ps(_mm256_xor_ps(least, min), _mm256_xor_ps(most, max));
    return _mm256_testz_si256(_mm256_castps_si256(outside), _mm256_castps_si256(outside)) != 0;
  }
  static Reg Abs(Reg a) { return _mm256_andnot_ps(Set(-0.0f), a); }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) {
    return _mm256_blendv_ps(y, x, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static bool Normal(Reg s, Reg g) {
    const Reg magnitude = Abs(s);
    const Reg small = _mm256_cmp_ps(magnitude, Set(kMinNormal), _CMP_LT_OQ);
    const Reg lost = _mm256_and_ps(small, _mm256_cmp_ps(g, Zero(), _CMP_NEQ_OQ));
    const Reg infinite = _mm256_cmp_ps(magnitude, Set(kMaxFloat), _CMP_GT_OQ);
    return _mm256_movemask_ps(_mm256_or_ps(lost, infinite)) == 0;
  }
  static Reg LoadSums(const double* p, double factor) {
    const __m256d f = _mm256_set1_pd(factor);
    return _mm256_set_m128(_mm256_cvtpd_ps(_mm256_mul_pd(_mm256_loadu_pd(p + 4), f)),
                           _mm256_cvtpd_ps(_mm256_mul_pd(_mm256_loadu_pd(p), f)));
  }

  template <class T>
  static Reg LoadLast(const T* end, int n) {
    const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks32 + 8 + n));
    return _mm256_and_ps(Load(end - kLanes), _mm256_castsi256_ps(mask));
  }

  static Reg Load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg LoadPart(const float* p, int n) { return _mm256_maskload_ps(p, Mask(n)); }
  static void Store(float* p, Reg r) { _mm256_storeu_ps(p, r); }
  static void Stream(float* p, Reg r) { _mm256_stream_ps(p, r); }
  static void Fence() { _mm_sfence(); }
  static void StorePart(float* p, Reg r, int n) {  // not masked: on some CPUs that takes long
    float buffer[kLanes];
    Store(buffer, r);
    CopyPart<kLanes * sizeof(float) / 2>(buffer, p, n * sizeof(float));
  }

  // AVX2 has no masks for 16-bit elements.
  static __m128i LoadBits(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static __m128i LoadBitsPart(const void* p, int n) {
    const char* const at = static_cast<const char*>(p);
    const int bytes = 2 * n;
    if (bytes < 4) return _mm_cvtsi32_si128(LoadBytes<uint16_t>(at));
    if (bytes < 8) {
      const uint64_t last = LoadBytes<uint32_t>(at + bytes - 4);
      return _mm_cvtsi64_si128(LoadBytes<uint32_t>(at) | last << 8 * (bytes - 4));
    }
    const uint64_t last = LoadBytes<uint64_t>(at + bytes - 8) >> 1 >> (127 - 8 * bytes);
    return _mm_set_epi64x(last, LoadBytes<uint64_t>(at));
  }
  static void StoreBits(void* p, __m128i bits) { _mm_storeu_si128(static_cast<__m128i*>(p), bits); }
  template <class T>
  static void StoreBitsPart(T* p, __m128i bits, int n) {
    T buffer[kLanes];
    StoreBits(buffer, bits);
    CopyPart<kLanes * sizeof(T) / 2>(buffer, p, n * sizeof(T));
  }

  static __m128i ToF16(Reg r) {
    return _mm256_cvtps_ph(r, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Reg Load(const F16* p) { return _mm256_cvtph_ps(LoadBits(p)); }
  static Reg LoadPart(const F16* p, int n) { return _mm256_cvtph_ps(LoadBitsPart(p, n)); }
  static void Store(F16* p, Reg r) { StoreBits(p, ToF16(r)); }
  static void Stream(F16* p, Reg r) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), ToF16(r)); }
  static void StorePart(F16* p, Reg r, int n) { StoreBitsPart(p, ToF16(r), n); }

  static Reg FromBF16(__m128i bits) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  // The upper halves of the lanes are to nearest, ties to even; no NaN that comes here has so long
  // a payload that it would carry (kernels.h).
  static __m256i Rounded(Reg r) {
    const __m256i bits = _mm256_castps_si256(r);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  }
  static __m128i ToBF16(Reg r) {
    const __m256i upper = _mm256_srli_epi32(Rounded(r), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(upper), _mm256_extracti128_si256(upper, 1));
  }
  // Two at once are the even elements and the odd ones: a shift or a mask makes floats of them.
  static void LoadTwo(const BF16* p, Reg* even, Reg* odd) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    *even = _mm256_castsi256_ps(_mm256_slli_epi32(bits, 16));
    *odd = _mm256_castsi256_ps(_mm256_and_si256(bits, _mm256_set1_epi32(-0x10000)));
  }
  static void SortTwo(Reg* a, Reg* b) {
    const Reg even = _mm256_shuffle_ps(*a, *b, 0x88), odd = _mm256_shuffle_ps(*a, *b, 0xdd);
    *a = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xd8));
    *b = _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xd8));
  }
  static __m256i TwoToBF16(Reg even, Reg odd) {
    return _mm256_blend_epi16(_mm256_srli_epi32(Rounded(even), 16), Rounded(odd), 0xaa);
  }
  static void StoreTwo(BF16* p, Reg even, Reg odd) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), TwoToBF16(even, odd));
  }
  static void StreamTwo(BF16* p, Reg even, Reg odd) {
    const __m256i bits = TwoToBF16(even, odd);
    _mm_stream_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(bits));
    _mm_stream_si128(reinterpret_cast<__m128i*>(p) + 1, _mm256_extracti128_si256(bits, 1));
  }
  static Reg Load(const BF16* p) { return FromBF16(LoadBits(p)); }
  static Reg LoadPart(const BF16* p, int n) { return FromBF16(LoadBitsPart(p, n)); }
  static void Store(BF16* p, Reg r) { StoreBits(p, ToBF16(r)); }
  static void Stream(BF16* p, Reg r) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), ToBF16(r)); }
  static void StorePart(BF16* p, Reg r, int n) { StoreBitsPart(p, ToBF16(r), n); }

  struct Sum {
    __m256d low, high;

    void Clear() { low = high = _mm256_setzero_pd(); }
    void Add(Reg r) {
      low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(r)));
      high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(r, 1)));
    }
    double Total() const {
      const __m256d four = _mm256_add_pd(low, high);
      const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
      return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
    }
    void AddTo(double* p) const {
      _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), low));
      _mm256_storeu_pd(p + 4, _mm256_add_pd(_mm256_loadu_pd(p + 4), high));
    }
    void AddPartTo(double* p, int n) const {
      alignas(32) double lanes[8];
      _mm256_store_pd(lanes, low);
      _mm256_store_pd(lanes + 4, high);
      for (int i = 0; i < n; ++i) p[i] += lanes[i];
    }
  };
};

struct DoubleVec : AlwaysReliable {
  using Elem = double;
  using Reg = __m256d;
  static constexpr int kLanes = 4;
  static constexpr int kRegisters = 16;

  static __m256i Mask(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks64 + 4 - n));
  }

  static Reg Zero() { return _mm256_setzero_pd(); }
  static Reg Set(double e) { return _mm256_set1_pd(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_pd(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm256_add_pd(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm256_mul_pd(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm256_max_pd(t, a); }
  static Reg Div(Reg a, Reg b) { return _mm256_div_pd(a, b); }
  static Reg Sqrt(Reg a) { return _mm256_sqrt_pd(a); }
  static Reg Totals(const Reg* r) {
    const Reg a = _mm256_hadd_pd(r[0], r[1]), b = _mm256_hadd_pd(r[2], r[3]);
    return _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
  }
  static Reg Permute(Reg a, const int32_t* lanes) {  // as pairs of 32 bits: 2 * lane, and the next
    const __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i*>(lanes));
    const __m256i even = _mm256_slli_epi64(_mm256_cvtepi32_epi64(low), 1);
    const __m256i odd = _mm256_slli_epi64(_mm256_add_epi64(even, _mm256_set1_epi64x(1)), 32);
    return _mm256_castps_pd(
        _mm256_permutevar8x32_ps(_mm256_castpd_ps(a), _mm256_or_si256(even, odd)));
  }
  static Reg InvSqrt(Reg a) { return _mm256_div_pd(Set(1), _mm256_sqrt_pd(a)); }
  static Reg InvSqrtOfAny(Reg a) { return InvSqrt(a); }
  static Reg Abs(Reg a) { return _mm256_andnot_pd(Set(-0.0), a); }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) {
    return _mm256_blendv_pd(y, x, _mm256_cmp_pd(a, b, _CMP_LT_OQ));
  }
  static Reg LoadSums(const double* p, double factor) { return Mul(Load(p), Set(factor)); }
  static Reg LoadLast(const double* end, int n) {
    const __m256i mask = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks64 + 4 + n));
    return _mm256_and_pd(Load(end - kLanes), _mm256_castsi256_pd(mask));
  }

  static Reg Load(const double* p) { return _mm256_loadu_pd(p); }
  static Reg LoadPart(const double* p, int n) { return _mm256_maskload_pd(p, Mask(n)); }
  static void Store(double* p, Reg r) { _mm256_storeu_pd(p, r); }
  static void Stream(double* p, Reg r) { _mm256_stream_pd(p, r); }
  static void Fence() { _mm_sfence(); }
  static void StorePart(double* p, Reg r, int n) { _mm256_maskstore_pd(p, Mask(n), r); }

  struct Sum {
    __m256d all;

    void Clear() { all = _mm256_setzero_pd(); }
    void Add(Reg r) { all = _mm256_add_pd(all, r); }
    double Total() const {
      const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd(all, 1));
      return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
    }
    void AddTo(double* p) const { Store(p, _mm256_add_pd(Load(p), all)); }
    void AddPartTo(double* p, int n) const { StorePart(p, _mm256_add_pd(LoadPart(p, n), all), n); }
  };
};

#include "cpu/kernels_inl.h"

}  // namespace

const KernelTable* Avx2Kernels() { return &kTable; }

}  // namespace frn

#else  // not an AVX2 build

namespace frn {
const KernelTable* Avx2Kernels() { return nullptr; }
}  // namespace frn

#endif
