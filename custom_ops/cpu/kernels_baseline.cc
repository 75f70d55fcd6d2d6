// Kernels for any CPU: vectors of 16 bytes in the GCC and Clang vector extension, which is SSE2 on
// x86-64 and NEON on Arm. No F16C needed: half conversions are integer arithmetic.

#include "cpu/kernels.h"

namespace frn {
namespace {

#include "cpu/parts_inl.h"

using Float4 = float __attribute__((vector_size(16)));
using Double2 = double __attribute__((vector_size(16)));
using Int4 = int32_t __attribute__((vector_size(16)));
using Half4 = uint16_t __attribute__((vector_size(8)));

struct FloatVec {
  using Elem = float;
  using Reg = Float4;
  static constexpr int kLanes = 4;
  static constexpr int kRegisters = 16;
  static constexpr bool kSortsBF16 = true;

  static Reg Zero() { return Reg{}; }
  static Reg Set(float e) { return Reg{e, e, e, e}; }
  static Reg Fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static Reg Add(Reg a, Reg b) { return a + b; }
  static Reg Mul(Reg a, Reg b) { return a * b; }
  static Reg Max(Reg a, Reg t) { return a < t ? t : a; }  // false for NaN: a
  static Reg Div(Reg a, Reg b) { return a / b; }
  static Reg Sqrt(Reg a) {
    for (int i = 0; i < kLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
    return a;
  }
  static Reg Permute(Reg a, const int32_t* lanes) {
    return Reg{a[lanes[0]], a[lanes[1]], a[lanes[2]], a[lanes[3]]};
  }
  static Reg InvSqrt(Reg a) { return 1.0f / Sqrt(a); }
  static Reg InvSqrtOfAny(Reg a) { return InvSqrt(a); }
  static Reg Totals(const Reg* r) {
    const Reg ab =
        Reg{r[0][0], r[0][2], r[1][0], r[1][2]} + Reg{r[0][1], r[0][3], r[1][1], r[1][3]};
    const Reg cd =
        Reg{r[2][0], r[2][2], r[3][0], r[3][2]} + Reg{r[2][1], r[2][3], r[3][1], r[3][3]};
    return Reg{ab[0], ab[2], cd[0], cd[2]} + Reg{ab[1], ab[3], cd[1], cd[3]};
  }
  static void Transpose(Reg* r) {
    const Reg a = r[0], b = r[1], c = r[2], d = r[3];
    for (int i = 0; i < kLanes; ++i) r[i] = Reg{a[i], b[i], c[i], d[i]};
  }
  static bool None(Int4 lanes) { return (lanes[0] | lanes[1] | lanes[2] | lanes[3]) == 0; }
  template <int kCount>
  static bool AllWithin(const Reg* a, Reg min, Reg max) {
    Int4 outside = {};
    for (int i = 0; i < kCount; ++i) outside |= (a[i] < min) | (a[i] > max);
    return None(outside);
  }
  static Reg Abs(Reg a) { return FromBits(Bits(a) & 0x7fffffff); }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) { return a < b ? x : y; }
  static bool Normal(Reg s, Reg g) {
    const Reg magnitude = Abs(s);
    return None(((magnitude < kMinNormal) & (g != 0.0f)) | (magnitude > kMaxFloat));
  }
  static Reg LoadSums(const double* p, double factor) {
    Reg r;
    for (int i = 0; i < kLanes; ++i) r[i] = static_cast<float>(p[i] * factor);
    return r;
  }

  template <class T>
  static Reg LoadLast(const T* end, int n) {
    const Int4 lane = {0, 1, 2, 3};
    return FromBits(Bits(Load(end - kLanes)) & (lane >= kLanes - n));
  }

  static Reg Load(const float* p) { return LoadBytes<Reg>(p); }
  static void Store(float* p, Reg r) { __builtin_memcpy(p, &r, sizeof(r)); }

  static Int4 Bits(Reg r) { return reinterpret_cast<Int4>(r); }
  static Reg FromBits(Int4 bits) { return reinterpret_cast<Reg>(bits); }

  static void StoreHalves(void* p, Int4 values) {
    const Half4 halves = __builtin_convertvector(values, Half4);
    __builtin_memcpy(p, &halves, sizeof(halves));
  }

  static Reg Load(const F16* p) {
    const Int4 half = __builtin_convertvector(LoadBytes<Half4>(p), Int4);
    const Int4 magnitude = half & 0x7fff;
    const Int4 sign = (half & 0x8000) << 16;
    // The exponent's bias goes from 15 to 127; infinity and NaN have the largest exponent in both.
    const Int4 special = magnitude >= 0x7c00 ? Int4{} + (112 << 23) : Int4{};
    const Int4 normal = (magnitude << 13) + (112 << 23) + special;
    // A subnormal half is its integer times 2^-24: no subnormal float that a CPU may flush.
    const Int4 subnormal = Bits(__builtin_convertvector(magnitude, Reg) * 0x1p-24f);
    return FromBits(sign | (magnitude < 0x400 ? subnormal : normal));
  }
  static void Store(F16* p, Reg r) {
    const Int4 bits = Bits(r);
    const Int4 magnitude = bits & 0x7fffffff;
    // To nearest, ties to even: add half of the last kept place, less one where that place is 0.
    const Int4 odd = (magnitude >> 13) & 1;
    const Int4 normal = (magnitude + 0xfff + odd - (112 << 23)) >> 13;
    // Below 2^-14 the sum with 0.5, whose last place is 2^-24, rounds in the same way.
    const Int4 subnormal = Bits(FromBits(magnitude) + 0.5f) - 0x3f000000;
    Int4 half = magnitude < 0x38800000 ? subnormal : normal;
    half = magnitude >= 0x477ff000 ? Int4{} + 0x7c00 : half;  // from 65520 on: infinity
    half = magnitude > 0x7f800000 ? Int4{} + 0x7e00 : half;   // NaN
    half |= (bits >> 16) & 0x8000;
    StoreHalves(p, half);
  }

  static Reg Load(const BF16* p) {
    return FromBits(__builtin_convertvector(LoadBytes<Half4>(p), Int4) << 16);
  }
  // The upper halves of the lanes are to nearest, ties to even; no NaN that comes here has so long
  // a payload that it would carry (kernels.h).
  static Int4 Rounded(Reg r) { return Bits(r) + 0x7fff + ((Bits(r) >> 16) & 1); }
  static void Store(BF16* p, Reg r) { StoreHalves(p, Rounded(r) >> 16); }

  // Two at once are the even elements and the odd ones: a shift or a mask makes floats of them.
  static void LoadTwo(const BF16* p, Reg* even, Reg* odd) {
    const Int4 bits = LoadBytes<Int4>(p);
    *even = FromBits(bits << 16);
    *odd = FromBits(bits & -0x10000);
  }
  static void StoreTwo(BF16* p, Reg even, Reg odd) {
    const Int4 bits = ((Rounded(even) >> 16) & 0xffff) | (Rounded(odd) & -0x10000);
    __builtin_memcpy(p, &bits, sizeof(bits));
  }
  static void SortTwo(Reg* a, Reg* b) {
    const Reg even = {(*a)[0], (*a)[2], (*b)[0], (*b)[2]};
    *b = Reg{(*a)[1], (*a)[3], (*b)[1], (*b)[3]};
    *a = even;
  }

  template <class T>
  static void Stream(T* p, Reg r) {
    Store(p, r);
  }
  static void StreamTwo(BF16* p, Reg even, Reg odd) { StoreTwo(p, even, odd); }
  static void Fence() {}

  template <class T>
  static Reg LoadPart(const T* p, int n) {
    return LoadElements<FloatVec>(p, n);
  }
  template <class T>
  static void StorePart(T* p, Reg r, int n) {
    StoreElements<FloatVec>(p, r, n);
  }

  struct Sum {
    double lanes[kLanes];

    void Clear() {
      for (double& lane : lanes) lane = 0;
    }
    void Add(Reg r) {
      for (int i = 0; i < kLanes; ++i) lanes[i] += static_cast<double>(r[i]);
    }
    double Total() const { return (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]); }
    void AddTo(double* p) const { AddPartTo(p, kLanes); }
    void AddPartTo(double* p, int n) const {
      for (int i = 0; i < n; ++i) p[i] += lanes[i];
    }
  };
};

struct DoubleVec : AlwaysReliable {
  using Elem = double;
  using Reg = Double2;
  static constexpr int kLanes = 2;
  static constexpr int kRegisters = 16;

  static Reg Zero() { return Reg{}; }
  static Reg Set(double e) { return Reg{e, e}; }
  static Reg Fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static Reg Add(Reg a, Reg b) { return a + b; }
  static Reg Mul(Reg a, Reg b) { return a * b; }
  static Reg Max(Reg a, Reg t) { return a < t ? t : a; }
  static Reg Div(Reg a, Reg b) { return a / b; }
  static Reg Sqrt(Reg a) { return Reg{__builtin_sqrt(a[0]), __builtin_sqrt(a[1])}; }
  static Reg InvSqrt(Reg a) { return 1.0 / Sqrt(a); }
  static Reg InvSqrtOfAny(Reg a) { return InvSqrt(a); }
  static Reg Totals(const Reg* r) { return Reg{r[0][0], r[1][0]} + Reg{r[0][1], r[1][1]}; }
  static Reg Abs(Reg a) { return a < 0 ? -a : a; }
  static Reg Less(Reg a, Reg b, Reg x, Reg y) { return a < b ? x : y; }
  static Reg LoadSums(const double* p, double factor) { return Load(p) * factor; }
  static Reg LoadLast(const double* end, int) { return Reg{0, LoadBytes<double>(end - 1)}; }

  static Reg Load(const double* p) { return LoadBytes<Reg>(p); }
  static void Stream(double* p, Reg r) { Store(p, r); }
  static void Fence() {}
  static Reg LoadPart(const double* p, int) { return Reg{LoadBytes<double>(p), 0}; }
  static void Store(double* p, Reg r) { __builtin_memcpy(p, &r, sizeof(r)); }
  static void StorePart(double* p, Reg r, int) { __builtin_memcpy(p, &r, sizeof(*p)); }

  struct Sum {
    Reg all;

    void Clear() { all = Reg{}; }
    void Add(Reg r) { all += r; }
    double Total() const { return all[0] + all[1]; }
    void AddTo(double* p) const { Store(p, Load(p) + all); }
    void AddPartTo(double* p, int) const { p[0] += all[0]; }
  };
};

#include "cpu/kernels_inl.h"

}  // namespace

const KernelTable* BaselineKernels() { return &kTable; }

}  // namespace frn
