// The vector body of the CPU kernels, written once. Each kernels_<isa>.cc defines the vector types
// FloatVec and DoubleVec in an anonymous namespace and then includes this file there, so that
// every function below has internal linkage: a function with external linkage compiled under
// several -m flags is kept once by the linker, perhaps with instructions this machine does not
// have. For the same reason nothing of the standard library is used here.
//
// A vector type has
//   Elem, Reg, kLanes                    float or double
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

// The squares of n < 4 * kLanes elements, still spread over the lanes.
template <class V, class T>
typename V::Reg SquaresOfFew(const T* x, int64_t n) {
  constexpr int64_t kW = V::kLanes;
  const int rest = static_cast<int>(n % kW);
  auto sum = V::Zero();
  if (rest > 0) {
    sum = n < kW ? V::LoadPart(x, rest) : V::LoadLast(x + n, rest);
    sum = V::Mul(sum, sum);
  }
  for (int64_t i = 0; i + kW <= n; i += kW) {
    const auto v = V::Load(x + i);
    sum = V::Fma(v, v, sum);
  }
  return sum;
}

// As above for n up to 4 * kBlock * kLanes elements: at most kBlock per lane and accumulator, still
// spread over the lanes.
template <class V, class T>
typename V::Reg SquaresOfBlock(const T* x, int64_t n) {
  constexpr int64_t kW = V::kLanes;
  const T* end = x + n;
  const int rest = static_cast<int>(n % kW);
  auto a = V::Zero(), b = V::Zero(), c = V::Zero(), d = V::Zero();
  if (rest > 0) {
    const auto v = n < kW ? V::LoadPart(x, rest) : V::LoadLast(end, rest);
    a = V::Fma(v, v, a);
  }
  for (; end - x >= 4 * kW; x += 4 * kW) {
    const auto x0 = V::Load(x), x1 = V::Load(x + kW), x2 = V::Load(x + 2 * kW),
               x3 = V::Load(x + 3 * kW);
    a = V::Fma(x0, x0, a);
    b = V::Fma(x1, x1, b);
    c = V::Fma(x2, x2, c);
    d = V::Fma(x3, x3, d);
  }
  for (; end - x >= kW; x += kW) {
    const auto v = V::Load(x);
    a = V::Fma(v, v, a);
  }
  return V::Add(V::Add(a, b), V::Add(c, d));
}

template <class V, class T>
double SumSquares(const T* x, int64_t n) {
  constexpr int64_t kLength = 4 * kBlock * V::kLanes;
  typename V::Sum total;
  total.Clear();
  for (; n > kLength; n -= kLength, x += kLength) total.Add(SquaresOfBlock<V>(x, kLength));
  total.Add(SquaresOfBlock<V>(x, n));
  return total.Total();
}

template <class V, class T>
void SumPlanes(const T* x, int64_t planes, int64_t n, double* sums) {
  if (n < 4 * V::kLanes) {  // the next plane keeps the units busy, so one accumulator will do
    for (int64_t p = 0; p < planes; ++p, x += n) sums[p] += V::Total(SquaresOfFew<V>(x, n));
  } else if (n <= kShort * V::kLanes) {
    for (int64_t p = 0; p < planes; ++p) sums[p] += V::Total(SquaresOfBlock<V>(x + p * n, n));
  } else {
    for (int64_t p = 0; p < planes; ++p) sums[p] += SumSquares<V>(x + p * n, n);
  }
}

// kStream: past the caches; p is aligned to a vector.
template <class V, bool kStream, class T>
void Put(T* p, typename V::Reg r) {
  if constexpr (kStream) {
    V::Stream(p, r);
  } else {
    V::Store(p, r);
  }
}

template <class V, class T>
bool IsAligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % (V::kLanes * sizeof(T)) == 0;
}

// A plane of n >= kLanes elements.
template <class V, bool kStream, class T>
void ApplyPlane(const T* x, T* y, int64_t n, typename V::Reg s, typename V::Reg b,
                typename V::Reg t) {
  constexpr int64_t kW = V::kLanes;
  const auto last = V::Max(V::Fma(V::Load(x + n - kW), s, b), t);
  int64_t i = 0;
  if constexpr (kStream) {
    V::Store(y, V::Max(V::Fma(V::Load(x), s, b), t));
    while (!IsAligned<V>(y + i)) ++i;
  }
  for (; i + 4 * kW <= n; i += 4 * kW) {
    const auto x0 = V::Load(x + i), x1 = V::Load(x + i + kW), x2 = V::Load(x + i + 2 * kW),
               x3 = V::Load(x + i + 3 * kW);
    Put<V, kStream>(y + i, V::Max(V::Fma(x0, s, b), t));
    Put<V, kStream>(y + i + kW, V::Max(V::Fma(x1, s, b), t));
    Put<V, kStream>(y + i + 2 * kW, V::Max(V::Fma(x2, s, b), t));
    Put<V, kStream>(y + i + 3 * kW, V::Max(V::Fma(x3, s, b), t));
  }
  for (; i + kW <= n; i += kW) {
    Put<V, kStream>(y + i, V::Max(V::Fma(V::Load(x + i), s, b), t));
  }
  if (i < n) V::Store(y + n - kW, last);
}

template <class V, class T>
void ApplyPlanes(const T* x, T* y, int64_t planes, int64_t n, const typename V::Elem* scale,
                 const typename V::Elem* shift, const typename V::Elem* tau, bool large) {
  const bool stream = large && x != y;
  for (int64_t p = 0; p < planes; ++p, x += n, y += n) {
    const auto s = V::Set(scale[p]), b = V::Set(shift[p]), t = V::Set(tau[p]);
    if (n < V::kLanes) {
      const int count = static_cast<int>(n);
      V::StorePart(y, V::Max(V::Fma(V::LoadPart(x, count), s, b), t), count);
    } else if (stream) {
      ApplyPlane<V, true>(x, y, n, s, b, t);
    } else {
      ApplyPlane<V, false>(x, y, n, s, b, t);
    }
  }
}

// Rows of 4 * kLanes columns, up to kBlock of them: the sums stay in registers.
template <class V, class T>
void SumNarrowBlock(const T* x, int64_t rows, int64_t stride, double* sums) {
  constexpr int64_t kW = V::kLanes;
  typename V::Reg sum[4] = {V::Zero(), V::Zero(), V::Zero(), V::Zero()};
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    for (int k = 0; k < 4; ++k) {
      const auto v = V::Load(x + k * kW);
      sum[k] = V::Fma(v, v, sum[k]);
    }
  }
  for (int k = 0; k < 4; ++k) {
    typename V::Sum wide;
    wide.Clear();
    wide.Add(sum[k]);
    wide.AddTo(sums + k * kW);
  }
}

// block[c] += x[r * stride + c]^2 for c < full and kRows rows.
template <class V, int kRows, class T>
void AddSquares(const T* x, int64_t full, int64_t stride, typename V::Elem* block) {
  for (int64_t c = 0; c < full; c += V::kLanes) {
    auto sum = V::Load(block + c);
    for (int r = 0; r < kRows; ++r) {
      const auto v = V::Load(x + r * stride + c);
      sum = V::Fma(v, v, sum);
    }
    V::Store(block + c, sum);
  }
}

// Rows of any width, up to kBlock of them: the sums stay in L1. Two rows at once, for fewer loads,
// but not from memory: that is then up to three times slower, as the prefetchers lose the thread.
template <class V, class T>
void SumWideBlock(const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums,
                  bool large) {
  constexpr int64_t kW = V::kLanes;
  const int rest = static_cast<int>(cols % kW);
  const int64_t full = cols - rest;
  typename V::Elem block[kMaxColumns];
  for (int64_t c = 0; c < full; c += kW) V::Store(block + c, V::Zero());
  int64_t row = 0;
  if (!large) {
    for (; row + 2 <= rows; row += 2) AddSquares<V, 2>(x + row * stride, full, stride, block);
  }
  for (; row < rows; ++row) AddSquares<V, 1>(x + row * stride, full, stride, block);
  typename V::Sum wide;
  for (int64_t c = 0; c < full; c += kW) {
    wide.Clear();
    wide.Add(V::Load(block + c));
    wide.AddTo(sums + c);
  }
  if (rest == 0) return;
  auto tail = V::Zero();
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    const auto v = full == 0 ? V::LoadPart(x, rest) : V::LoadLast(x + cols, rest);
    tail = V::Fma(v, v, tail);
  }
  wide.Clear();
  wide.Add(tail);
  if (full == 0) {
    wide.AddPartTo(sums, rest);
  } else {
    wide.AddTo(sums + cols - kW);
  }
}

template <class V, class T>
void SumRows(const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums, bool large) {
  for (; rows > 0; rows -= kBlock, x += kBlock * stride) {
    const int64_t block = rows < kBlock ? rows : kBlock;
    if (cols == 4 * V::kLanes) {
      SumNarrowBlock<V>(x, block, stride, sums);
    } else {
      SumWideBlock<V>(x, block, cols, stride, sums, large);
    }
  }
}

// Rows of 4 * kLanes columns: scale, shift and tau stay in registers.
template <class V, bool kStream, class T>
void ApplyNarrowRows(const T* x, T* y, int64_t rows, int64_t stride, const typename V::Elem* scale,
                     const typename V::Elem* shift, const typename V::Elem* tau) {
  constexpr int64_t kW = V::kLanes;
  typename V::Reg s[4], b[4], t[4];
  for (int k = 0; k < 4; ++k) {
    s[k] = V::Load(scale + k * kW);
    b[k] = V::Load(shift + k * kW);
    t[k] = V::Load(tau + k * kW);
  }
  for (int64_t r = 0; r < rows; ++r, x += stride, y += stride) {
    for (int k = 0; k < 4; ++k) {
      Put<V, kStream>(y + k * kW, V::Max(V::Fma(V::Load(x + k * kW), s[k], b[k]), t[k]));
    }
  }
}

// kRows rows of at least kLanes columns: scale, shift and tau are loaded once for all of them.
template <class V, int kRows, bool kStream, class T>
void ApplyWideRows(const T* x, T* y, int64_t cols, int64_t stride, const typename V::Elem* scale,
                   const typename V::Elem* shift, const typename V::Elem* tau) {
  constexpr int64_t kW = V::kLanes;
  const int64_t end = cols - kW;
  typename V::Reg last[kRows];
  const auto se = V::Load(scale + end), be = V::Load(shift + end), te = V::Load(tau + end);
  for (int r = 0; r < kRows; ++r) {
    last[r] = V::Max(V::Fma(V::Load(x + r * stride + end), se, be), te);
  }
  for (int64_t c = 0; c <= end; c += kW) {
    const auto s = V::Load(scale + c), b = V::Load(shift + c), t = V::Load(tau + c);
    for (int r = 0; r < kRows; ++r) {
      const int64_t i = r * stride + c;
      Put<V, kStream>(y + i, V::Max(V::Fma(V::Load(x + i), s, b), t));
    }
  }
  if (cols % kW == 0) return;
  for (int r = 0; r < kRows; ++r) V::Store(y + r * stride + end, last[r]);
}

// Rows of fewer than kLanes columns.
template <class V, class T>
void ApplyShortRows(const T* x, T* y, int64_t rows, int64_t cols, int64_t stride,
                    const typename V::Elem* scale, const typename V::Elem* shift,
                    const typename V::Elem* tau) {
  const int n = static_cast<int>(cols);
  const auto s = V::LoadPart(scale, n), b = V::LoadPart(shift, n), t = V::LoadPart(tau, n);
  for (int64_t r = 0; r < rows; ++r, x += stride, y += stride) {
    V::StorePart(y, V::Max(V::Fma(V::LoadPart(x, n), s, b), t), n);
  }
}

template <class V, bool kStream, class T>
void ApplyLongRows(const T* x, T* y, int64_t rows, int64_t cols, int64_t stride,
                   const typename V::Elem* scale, const typename V::Elem* shift,
                   const typename V::Elem* tau, bool large) {
  if (cols == 4 * V::kLanes) {
    ApplyNarrowRows<V, kStream>(x, y, rows, stride, scale, shift, tau);
    return;
  }
  if (!large) {  // as in SumWideBlock
    for (; rows >= 2; rows -= 2, x += 2 * stride, y += 2 * stride) {
      ApplyWideRows<V, 2, kStream>(x, y, cols, stride, scale, shift, tau);
    }
  }
  for (; rows > 0; --rows, x += stride, y += stride) {
    ApplyWideRows<V, 1, kStream>(x, y, cols, stride, scale, shift, tau);
  }
}

template <class V, class T>
void ApplyRows(const T* x, T* y, int64_t rows, int64_t cols, int64_t stride,
               const typename V::Elem* scale, const typename V::Elem* shift,
               const typename V::Elem* tau, bool large) {
  if (cols < V::kLanes) {
    ApplyShortRows<V>(x, y, rows, cols, stride, scale, shift, tau);
  } else if (large && x != y && stride % V::kLanes == 0 && IsAligned<V>(y)) {
    ApplyLongRows<V, true>(x, y, rows, cols, stride, scale, shift, tau, large);
  } else {
    ApplyLongRows<V, false>(x, y, rows, cols, stride, scale, shift, tau, large);
  }
}

// x / sqrt(x^2 + epsilon) in double, for the lanes whose square is no good float.
template <class V>
typename V::Reg ExactUnit(typename V::Reg x, typename V::Reg epsilon) {
  typename V::Elem value[V::kLanes], added[V::kLanes];
  V::Store(value, x);
  V::Store(added, epsilon);
  for (int i = 0; i < V::kLanes; ++i) {
    const double wide = value[i];
    value[i] = static_cast<typename V::Elem>(wide / __builtin_sqrt(wide * wide + added[i]));
  }
  return V::Load(value);
}

template <class V>
typename V::Reg Single(typename V::Reg x, typename V::Reg gamma, typename V::Reg beta,
                       typename V::Reg tau, typename V::Reg epsilon) {
  const auto radicand = V::Fma(x, x, epsilon);
  const auto unit =
      V::Trusted(radicand) ? V::Mul(x, V::InvSqrt(radicand)) : ExactUnit<V>(x, epsilon);
  return V::Max(V::Fma(unit, gamma, beta), tau);
}

template <class V, int kRows, class T>
void SingleRowBlock(const T* x, T* y, int64_t cols, const typename V::Elem* gamma,
                    const typename V::Elem* beta, const typename V::Elem* tau,
                    const typename V::Elem* epsilon) {
  constexpr int64_t kW = V::kLanes;
  int64_t c = 0;
  for (; c + kW <= cols; c += kW) {
    const auto g = V::Load(gamma + c), b = V::Load(beta + c), t = V::Load(tau + c),
               e = V::Load(epsilon + c);
    for (int64_t i = c; i < kRows * cols; i += cols) {
      V::Store(y + i, Single<V>(V::Load(x + i), g, b, t, e));
    }
  }
  if (c == cols) return;
  const int rest = static_cast<int>(cols - c);
  typename V::Elem padded[kW];  // epsilon of the lanes not used, which would make 0 / 0
  for (int64_t i = 0; i < kW; ++i) padded[i] = i < rest ? epsilon[c + i] : 1;
  const auto g = V::LoadPart(gamma + c, rest), b = V::LoadPart(beta + c, rest),
             t = V::LoadPart(tau + c, rest), e = V::Load(padded);
  for (int64_t i = c; i < kRows * cols; i += cols) {
    V::StorePart(y + i, Single<V>(V::LoadPart(x + i, rest), g, b, t, e), rest);
  }
}

template <class V, class T>
void ApplySingle(const T* x, T* y, int64_t rows, int64_t cols, const typename V::Elem* gamma,
                 const typename V::Elem* beta, const typename V::Elem* tau,
                 const typename V::Elem* epsilon) {
  for (; rows >= 4; rows -= 4, x += 4 * cols, y += 4 * cols) {
    SingleRowBlock<V, 4>(x, y, cols, gamma, beta, tau, epsilon);
  }
  for (; rows > 0; --rows, x += cols, y += cols) {
    SingleRowBlock<V, 1>(x, y, cols, gamma, beta, tau, epsilon);
  }
}

template <class V>
bool Scales(const double* sums, int64_t n, double inverse_size, const typename V::Elem* gamma,
            const typename V::Elem* epsilon, typename V::Elem* scale) {
  constexpr int64_t kW = V::kLanes;
  bool trusted = true;
  int64_t c = 0;
  for (; c + kW <= n; c += kW) {
    const auto radicand = V::Add(V::LoadSums(sums + c, inverse_size), V::Load(epsilon + c));
    trusted = trusted && V::Trusted(radicand);
    V::Store(scale + c, V::Mul(V::Load(gamma + c), V::InvSqrt(radicand)));
  }
  if (c == n) return trusted;
  double part[kW];
  for (int64_t i = 0; i < kW; ++i) part[i] = c + i < n ? sums[c + i] : 1;
  const int rest = static_cast<int>(n - c);
  const auto radicand = V::Add(V::LoadSums(part, inverse_size), V::LoadPart(epsilon + c, rest));
  V::StorePart(scale + c, V::Mul(V::LoadPart(gamma + c, rest), V::InvSqrt(radicand)), rest);
  return trusted && V::Trusted(radicand);
}

template <class V, class T>
constexpr Kernels<T> MakeKernels() {
  return {4 * V::kLanes,   SumPlanes<V, T>, ApplyPlanes<V, T>, SumRows<V, T>,
          ApplyRows<V, T>, Scales<V>,       ApplySingle<V, T>, V::Fence};
}

constexpr KernelTable kTable = {MakeKernels<FloatVec, float>(), MakeKernels<DoubleVec, double>(),
                                MakeKernels<FloatVec, F16>(), MakeKernels<FloatVec, BF16>()};
