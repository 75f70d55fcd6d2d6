// AVX2 + FMA + F16C kernels: 8 floats or 4 doubles per register.

#include "cpu/kernels.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)

#include <immintrin.h>

namespace frn {
namespace {

// From kMasks32 + 8 - n on: n lanes on, the rest off. From kMasks32 + 8 + n on: the last n lanes
// on.
constexpr int32_t kMasks32[24] = {-1, -1, -1, -1, -1, -1, -1, -1, 0,  0,  0,  0,
                                  0,  0,  0,  0,  -1, -1, -1, -1, -1, -1, -1, -1};
constexpr int64_t kMasks64[12] = {-1, -1, -1, -1, 0, 0, 0, 0, -1, -1, -1, -1};

struct FloatVec {
  using Elem = float;
  using Reg = __m256;
  static constexpr int kLanes = 8;
  static constexpr int kRegisters = 16;

  static __m256i Mask(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kMasks32 + 8 - n));
  }

  static Reg Zero() { return _mm256_setzero_ps(); }
  static Reg Set(float e) { return _mm256_set1_ps(e); }
  static Reg Fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg Add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg Mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg Max(Reg a, Reg t) { return _mm256_max_ps(t, a); }  // the second operand if one is NaN
  static float Total(Reg r) {
    const __m128 four = _mm_add_ps(_mm256_castps256_ps128(r), _mm256_extractf128_ps(r, 1));
    const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
  }
  static Reg InvSqrt(Reg a) { return _mm256_div_ps(Set(1), _mm256_sqrt_ps(a)); }
  static bool Trusted(Reg a) {
    const Reg above = _mm256_cmp_ps(a, Set(kTrustedMin), _CMP_GE_OQ);
    const Reg below = _mm256_cmp_ps(a, Set(kTrustedMax), _CMP_LE_OQ);
    return _mm256_movemask_ps(_mm256_and_ps(above, below)) == 0xff;
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
  static void StorePart(float* p, Reg r, int n) { _mm256_maskstore_ps(p, Mask(n), r); }

  // AVX2 has no masks for 16-bit elements: parts go through eight of them on the stack.
  static __m128i LoadBits(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
  static __m128i LoadBitsPart(const uint16_t* p, int n) {
    alignas(16) uint16_t buffer[8] = {};
    for (int i = 0; i < n; ++i) buffer[i] = p[i];
    return LoadBits(buffer);
  }
  static void StoreBits(void* p, __m128i bits) { _mm_storeu_si128(static_cast<__m128i*>(p), bits); }
  static void StoreBitsPart(uint16_t* p, __m128i bits, int n) {
    alignas(16) uint16_t buffer[8];
    StoreBits(buffer, bits);
    for (int i = 0; i < n; ++i) p[i] = buffer[i];
  }

  static __m128i ToF16(Reg r) {
    return _mm256_cvtps_ph(r, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  }
  static Reg Load(const F16* p) { return _mm256_cvtph_ps(LoadBits(p)); }
  static Reg LoadPart(const F16* p, int n) { return _mm256_cvtph_ps(LoadBitsPart(&p->bits, n)); }
  static void Store(F16* p, Reg r) { StoreBits(p, ToF16(r)); }
  static void Stream(F16* p, Reg r) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), ToF16(r)); }
  static void StorePart(F16* p, Reg r, int n) { StoreBitsPart(&p->bits, ToF16(r), n); }

  static Reg FromBF16(__m128i bits) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  }
  // To nearest, ties to even; no NaN that comes here has so long a payload that it would carry
  // (kernels.h).
  static __m128i ToBF16(Reg r) {
    const __m256i bits = _mm256_castps_si256(r);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
  }
  static Reg Load(const BF16* p) { return FromBF16(LoadBits(p)); }
  static Reg LoadPart(const BF16* p, int n) { return FromBF16(LoadBitsPart(&p->bits, n)); }
  static void Store(BF16* p, Reg r) { StoreBits(p, ToBF16(r)); }
  static void Stream(BF16* p, Reg r) { _mm_stream_si128(reinterpret_cast<__m128i*>(p), ToBF16(r)); }
  static void StorePart(BF16* p, Reg r, int n) { StoreBitsPart(&p->bits, ToBF16(r), n); }

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

struct DoubleVec {
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
  static double Total(Reg r) {
    const __m128d two = _mm_add_pd(_mm256_castpd256_pd128(r), _mm256_extractf128_pd(r, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
  }
  static Reg InvSqrt(Reg a) { return _mm256_div_pd(Set(1), _mm256_sqrt_pd(a)); }
  static bool Trusted(Reg) { return true; }
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
    double Total() const { return DoubleVec::Total(all); }
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
