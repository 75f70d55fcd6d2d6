// The vector body of the CPU kernels, written once. Each kernels_<isa>.cc defines the vector types
// FloatVec and DoubleVec in an anonymous namespace and then includes this file there, so that
// every function below has internal linkage: a function with external linkage compiled under
// several -m flags is kept once by the linker, perhaps with instructions this machine does not
// have. For the same reason nothing of the standard library is used here.
//
// A vector type has
//   Elem, Reg, kLanes, kRegisters        float or double; how many vector registers the CPU has
//   Zero() Set(e) Load(p) Store(p, r)    p: Elem*, F16*, BF16*; unaligned
//   LoadPart(p, n) StorePart(p, r, n)    the first n < kLanes elements; the rest reads as 0
//   LoadLast(end, n)                     the n < kLanes elements before end in the last lanes, 0 in
//                                        the others; kLanes elements before end may be read
//   kSortsBF16                           whether two vectors of BF16 are cheaper in another order
//                                        than that of memory. If so:
//   LoadTwo(p, &a, &b) StoreTwo(p, a, b) 2 * kLanes elements of BF16 in that order
//   SortTwo(&a, &b)                      brings two vectors of columns into it
//   Stream(p, r) StreamTwo(p, a, b)      as the stores, past the caches where there is an
//                                        instruction for it, p aligned to kLanes elements
//   Fence()                              what such stores need before other threads may read
//   Fma(a, b, c) Add(a, b) Mul(a, b) Div(a, b) Sqrt(a)
//   Max(a, t)                            NaN in a stays NaN
//   InvSqrt(a)                           of normal numbers, within 2 ulp; of others as
//                                        InvSqrtOfAny, or NaN
//   InvSqrtOfAny(a)                      as InvSqrt; of 0 it is infinite, of infinity 0, NaN of
//                                        what has no root
//   AllWithin<k>(a, min, max)            no lane of a[0] to a[k - 1] is outside, and NaN is not;
//   min
//                                        is not negative; true for double
//   Normal(s, g)                         no lane of s is subnormal, 0 or infinite, unless g's is 0;
//                                        true for double
//   Abs(a) Less(a, b, x, y)              x where a < b, else y
//   Permute(a, lanes)                    lane i is a's lane lanes[i], an int32_t; of more lanes
//                                        than two
//   Totals(r)                            of kLanes registers: lane i is the sum of r[i]'s lanes,
//                                        added as Elem
//   AddFours(r)                          of 4 registers of more than 4 floats: lane i of each
//                                        quarter is the sum of r[i]'s lanes in that quarter
//   Transpose(r)                         of kLanes registers: lane k of r[i] becomes lane i of
//                                        r[k]; FloatVec alone
//   LoadSums(p, factor)                  kLanes doubles, times factor, as Elem
//   Sum                                  kLanes doubles: Clear(), Add(Reg), AddTo(double*),
//                                        AddPartTo(double*, n), Total()
//
// How squares are summed. Planes: four accumulators of kLanes elements take kBlock squares per lane
// each (of less than four vectors, one takes all), are added to one another, and then to a vector
// of doubles; of planes of at most kBlock * kLanes elements the lanes are added in float as well.
// Rows: kBlock rows are added per column, then to the column's double; a few rows by four
// accumulators. So an element goes through at most kBlock + 2 + log2(kLanes) additions in float,
// whose error is at most that number times 2^-24, and everything longer is added in double. A float
// block holds 4 * kBlock squares per lane: no overflow up to |x| = 1.6e18, and what overflows is
// found (Kernels::scales) and summed again, scaled.
//
// Tails. Where there are kLanes elements at all, the last ones are done as a full vector that ends
// with the data. It overlaps the one before, so when normalising it is loaded before anything is
// stored: y may be x.

constexpr int kBlock = 32;
static_assert(kFewRows <= 4 * kBlock);
constexpr int kLineBytes = 64;
constexpr int kCrowdedBytes = 2048;  // rows at multiples of it share few sets of an L1 cache

// kStream: past the caches; p is aligned to a vector.
template <class V, bool kStream, class T>
void Put(T* p, typename V::Reg r) {
  if constexpr (kStream) {
    V::Stream(p, r);
  } else {
    V::Store(p, r);
  }
}

// Two vectors of x or y at once, in an order of T's own, and two of columns in the same.
template <class V, class T>
constexpr bool kSorts = false;
template <class V>
constexpr bool kSorts<V, BF16> = V::kSortsBF16;

template <class V, class T>
void LoadTwo(const T* p, typename V::Reg* a, typename V::Reg* b) {
  if constexpr (kSorts<V, T>) {
    V::LoadTwo(p, a, b);
  } else {
    *a = V::Load(p);
    *b = V::Load(p + V::kLanes);
  }
}
template <class V, bool kStream, class T>
void PutTwo(T* p, typename V::Reg a, typename V::Reg b) {
  if constexpr (!kSorts<V, T>) {
    Put<V, kStream>(p, a);
    Put<V, kStream>(p + V::kLanes, b);
  } else if constexpr (kStream) {
    V::StreamTwo(p, a, b);
  } else {
    V::StoreTwo(p, a, b);
  }
}
template <class V, class T>
void SortColumns(typename V::Reg* a, typename V::Reg* b) {
  if constexpr (kSorts<V, T>) V::SortTwo(a, b);
}
// As many pairs of vectors of columns as there are.
template <class V, class T>
void SortArray(const typename V::Elem* columns, int64_t count, typename V::Elem* out) {
  constexpr int64_t kW = V::kLanes;
  for (int64_t c = 0; c + 2 * kW <= count; c += 2 * kW) {
    auto a = V::Load(columns + c), b = V::Load(columns + c + kW);
    SortColumns<V, T>(&a, &b);
    V::Store(out + c, a);
    V::Store(out + c + kW, b);
  }
}

template <class V>
typename V::Reg Permute(typename V::Reg a, const int32_t* lanes) {
  if constexpr (V::kLanes > 2) {
    return V::Permute(a, lanes);
  } else {
    return a;  // a plane of less than two elements is one
  }
}

// How x comes into a kernel: as it is, or times a factor of each plane or column.
template <class V>
struct Plain {
  Plain Of(int64_t) const { return {}; }    // of one plane
  Plain From(int64_t) const { return {}; }  // of all planes from this one on
  Plain At(int64_t) const { return {}; }    // of kLanes columns
  Plain AtPart(int) const { return {}; }    // of the first columns, fewer than kLanes
  Plain Permuted(int, const int32_t*) const { return {}; }  // of AtPart's, or all, the given ones
  Plain With(const typename V::Elem*) const { return {}; }  // other factors
  template <class T>
  void SortAll(int64_t, typename V::Elem*) const {}  // as SortArray, of all factors
  typename V::Reg operator()(typename V::Reg x) const { return x; }
  template <class T>
  static void Sort(Plain*, Plain*) {}
};

// x * factor, kTimes times.
template <class V, int kTimes>
struct Factor {
  typename V::Reg factor;

  typename V::Reg operator()(typename V::Reg x) const {
    for (int i = 0; i < kTimes; ++i) x = V::Mul(x, factor);
    return x;
  }
  template <class T>
  static void Sort(Factor* a, Factor* b) {
    SortColumns<V, T>(&a->factor, &b->factor);
  }
};

template <class V, int kTimes>
struct Scaled {
  const typename V::Elem* factor;

  Factor<V, kTimes> Of(int64_t p) const { return {V::Set(factor[p])}; }
  Scaled From(int64_t p) const { return {factor + p}; }
  Factor<V, kTimes> At(int64_t c) const { return {V::Load(factor + c)}; }
  Factor<V, kTimes> AtPart(int n) const { return {V::LoadPart(factor, n)}; }
  Factor<V, kTimes> Permuted(int n, const int32_t* lanes) const {
    return {Permute<V>(n < V::kLanes ? V::LoadPart(factor, n) : V::Load(factor), lanes)};
  }
  Scaled With(const typename V::Elem* other) const { return {other}; }
  template <class T>
  void SortAll(int64_t count, typename V::Elem* out) const {
    SortArray<V, T>(factor, count, out);
  }
};

template <class T>
bool IsElementAligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % sizeof(T) == 0;
}

// How many elements p, which is aligned to one, is past a multiple of `count` of them.
template <class T>
int64_t Past(const T* p, int64_t count) {
  return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) / sizeof(T)) % count;
}

// The cache lines of kVectors vectors from p on, which need not be memory of ours.
template <class V, int kVectors, class T>
void Prefetch(const T* p) {
  constexpr int kBytes = kVectors * V::kLanes * static_cast<int>(sizeof(T));
  for (int at = 0; at < kBytes; at += kLineBytes) {
    __builtin_prefetch(reinterpret_cast<const char*>(p) + at);
  }
}

// The first n < kLanes elements, and 1 in the lanes that are not used.
template <class V>
typename V::Reg FillUp(const typename V::Elem* p, int n) {
  typename V::Elem padded[V::kLanes];
  for (int i = 0; i < V::kLanes; ++i) padded[i] = i < n ? p[i] : 1;
  return V::Load(padded);
}

// 0, 1, 2, ...
template <class V>
typename V::Reg LaneNumbers() {
  typename V::Elem numbers[V::kLanes];
  for (int i = 0; i < V::kLanes; ++i) numbers[i] = static_cast<typename V::Elem>(i);
  return V::Load(numbers);
}

// The channels of a vector, from `at` on: all lanes, or the first `rest` where that is not 0.
template <class V>
struct Lanes {
  using Elem = typename V::Elem;

  int64_t at;
  int rest;

  int64_t count() const { return rest == 0 ? V::kLanes : rest; }
  typename V::Reg Load(const Elem* p) const {
    return rest == 0 ? V::Load(p + at) : V::LoadPart(p + at, rest);
  }
  typename V::Reg LoadFilled(const Elem* p) const {
    return rest == 0 ? V::Load(p + at) : FillUp<V>(p + at, rest);
  }
  void Store(Elem* p, typename V::Reg r) const {
    if (rest == 0) {
      V::Store(p + at, r);
    } else {
      V::StorePart(p + at, r, rest);
    }
  }
};

// clang-format off: each uses those before it
#include "cpu/affine_inl.h"
#include "cpu/scale_inl.h"
#include "cpu/at_once_inl.h"
#include "cpu/apply_planes_inl.h"
#include "cpu/apply_rows_inl.h"
#include "cpu/sum_planes_inl.h"
#include "cpu/sum_rows_inl.h"
#include "cpu/single_inl.h"
#include "cpu/small_planes_inl.h"
#include "cpu/small_rows_inl.h"
#include "cpu/transpose_inl.h"
#include "cpu/units_inl.h"
// clang-format on

template <class V, class T>
void Widen(const T* x, int64_t n, typename V::Elem* out) {
  constexpr int64_t kW = V::kLanes;
  for (; n >= kW; n -= kW, x += kW, out += kW) V::Store(out, V::Load(x));
  const int rest = static_cast<int>(n);
  if (rest > 0) V::StorePart(out, V::LoadPart(x, rest), rest);
}

template <class V, class T>
constexpr Kernels<T> MakeKernels() {
  return {4 * V::kLanes,
          SumPlanes<V, T>,
          ApplyPlanes<V, T>,
          SumRows<V, T>,
          ApplyRows<V, T>,
          SumPlanesScaled<V, T>,
          ApplyPlanesScaled<V, T>,
          SumRowsScaled<V, T>,
          ApplyRowsScaled<V, T>,
          Scales<V, T>,
          SumFactors<V, T>,
          WideScales<V, T>,
          ApplySingle<V, T>,
          ApplyFewRows<V, T>,
          ApplySmallPlanes<V, T>,
          Widen<V, T>,
          V::Fence};
}

// The vector type that computes in A.
template <class A>
struct VectorFor;
template <>
struct VectorFor<float> {
  using type = FloatVec;
};
template <>
struct VectorFor<double> {
  using type = DoubleVec;
};

template <class... T>
constexpr KernelTable MakeTable(TypeList<T...>) {
  return {{MakeKernels<typename VectorFor<ComputeType<T>>::type, T>()...},
          SumPixels<FloatVec>,
          ApplyPixels<FloatVec>,
          Transpose<FloatVec>};
}

constexpr KernelTable kTable = MakeTable(ElementTypes{});
