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
//   Fma(a, b, c) Add(a, b) Mul(a, b)
//   Max(a, t)                            NaN in a stays NaN
//   InvSqrt(a)                           a within [kTrustedMin, kTrustedMax]
//   Trusted(a)                           every lane is within those, none is NaN; true for double
//   Total(r)                             the sum of the lanes, added as Elem
//   LoadSums(p, factor)                  kLanes doubles, times factor, as Elem
//   Stream(p, r) Fence()                 as Store, past the caches where there is an instruction
//   for
//                                        it, p aligned to kLanes elements; and what such stores
//                                        need before other threads may read
//   Sum                                  kLanes doubles: Clear(), Add(Reg), AddTo(double*),
//                                        AddPartTo(double*, n), Total()
//
// How squares are summed. Planes: four accumulators of kLanes elements take kBlock squares per lane
// each, are added to one another, and then to a vector of doubles. Rows: kBlock rows are added per
// column, then to the column's double. So an element goes through at most kBlock + 2 additions in
// float, whose error is at most (kBlock + 2) * 2^-24, and everything longer is added in double.
// A float block holds 4 * kBlock squares per lane: no overflow up to |x| = 1.6e18, and what
// overflows is found (Kernels::scales) and summed again in double.
//
// Tails. Where there are kLanes elements at all, the last ones are done as a full vector that ends
// with the data. It overlaps the one before, so when normalising it is loaded before anything is
// stored: y may be x.

constexpr int kBlock = 32;
constexpr int kShort = 16;  // vectors of a plane whose lanes are added in float too

#include "cpu/apply_inl.h"
#include "cpu/sum_inl.h"

template <class V, class T>
void Widen(const T* x, int64_t n, typename V::Elem* out) {
  constexpr int64_t kW = V::kLanes;
  for (; n >= kW; n -= kW, x += kW, out += kW) V::Store(out, V::Load(x));
  const int rest = static_cast<int>(n);
  if (rest > 0) V::StorePart(out, V::LoadPart(x, rest), rest);
}

template <class V, class T>
constexpr Kernels<T> MakeKernels() {
  return {4 * V::kLanes, SumPlanes<V, T>,   ApplyPlanes<V, T>, SumRows<V, T>, ApplyRows<V, T>,
          Scales<V>,     ApplySingle<V, T>, Widen<V, T>,       V::Fence};
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
  return {MakeKernels<typename VectorFor<ComputeType<T>>::type, T>()...};
}

constexpr KernelTable kTable = MakeTable(ElementTypes{});
