// The vector body of the CPU kernels, written once. Each kernels_<isa>.cc defines the vector types
// FloatVec and DoubleVec in an anonymous namespace and then includes this file there, so that
// every function below has internal linkage: a function with external linkage compiled under
// several -m flags is kept once by the linker, perhaps with instructions this machine does not
// have. For the same reason nothing of the standard library is used here.
//
// A vector type has
//   Elem, Reg, kLanes                   float or double
//   Zero() Set(e) Load(p) Store(p, r)   p: Elem*, F16*, BF16*; unaligned
//   LoadPart(p, n) StorePart(p, r, n)   the first n < kLanes elements; the rest reads as 0
//   Fma(a, b, c) Add(a, b)
//   Max(a, t)                           NaN in a stays NaN
//   Sum                                 kLanes doubles: Clear(), Add(Reg), AddTo(double*),
//                                       AddPartTo(double*, n), Total()
//
// How squares are summed. Planes: four accumulators of kLanes elements take kBlock squares per lane
// each, are added to one another, and then to a vector of doubles. Rows: eight rows are added per
// column, then to the column's double. So an element goes through at most kBlock + 2 additions in
// float, whose error is at most (kBlock + 2) * 2^-24, and everything longer is added in double.
// A float block holds 4 * kBlock squares per lane: no overflow up to |x| = 1.6e18, and what
// overflows is found (Kernels::scales) and summed again in double.

constexpr int kBlock = 32;

template <class V, class T>
typename V::Reg LoadTail(const T* x, int64_t n) {
  return V::LoadPart(x, static_cast<int>(n));
}

// Adds the squares of n adjacent elements to `total`.
template <class V, class T>
double SumSquares(const T* x, int64_t n) {
  constexpr int64_t kW = V::kLanes;
  typename V::Sum total;
  total.Clear();
  while (n >= 4 * kW) {
    int64_t steps = n / (4 * kW);
    if (steps > kBlock) steps = kBlock;
    auto a = V::Zero(), b = V::Zero(), c = V::Zero(), d = V::Zero();
    for (int64_t i = 0; i < steps; ++i, x += 4 * kW) {
      const auto x0 = V::Load(x), x1 = V::Load(x + kW), x2 = V::Load(x + 2 * kW),
                 x3 = V::Load(x + 3 * kW);
      a = V::Fma(x0, x0, a);
      b = V::Fma(x1, x1, b);
      c = V::Fma(x2, x2, c);
      d = V::Fma(x3, x3, d);
    }
    total.Add(V::Add(V::Add(a, b), V::Add(c, d)));
    n -= steps * 4 * kW;
  }
  auto rest = V::Zero();
  for (; n >= kW; n -= kW, x += kW) {
    const auto v = V::Load(x);
    rest = V::Fma(v, v, rest);
  }
  if (n > 0) {
    const auto v = V::LoadPart(x, static_cast<int>(n));
    rest = V::Fma(v, v, rest);
  }
  total.Add(rest);
  return total.Total();
}

template <class V, class T>
void SumPlanes(const T* x, int64_t planes, int64_t n, double* sums) {
  for (int64_t p = 0; p < planes; ++p) sums[p] += SumSquares<V>(x + p * n, n);
}

template <class V, class T>
void ApplyPlanes(const T* x, T* y, int64_t planes, int64_t n, const typename V::Elem* scale,
                 const typename V::Elem* shift, const typename V::Elem* tau) {
  constexpr int64_t kW = V::kLanes;
  for (int64_t p = 0; p < planes; ++p, x += n, y += n) {
    const auto s = V::Set(scale[p]), b = V::Set(shift[p]), t = V::Set(tau[p]);
    int64_t i = 0;
    for (; i + 4 * kW <= n; i += 4 * kW) {
      const auto x0 = V::Load(x + i), x1 = V::Load(x + i + kW), x2 = V::Load(x + i + 2 * kW),
                 x3 = V::Load(x + i + 3 * kW);
      V::Store(y + i, V::Max(V::Fma(x0, s, b), t));
      V::Store(y + i + kW, V::Max(V::Fma(x1, s, b), t));
      V::Store(y + i + 2 * kW, V::Max(V::Fma(x2, s, b), t));
      V::Store(y + i + 3 * kW, V::Max(V::Fma(x3, s, b), t));
    }
    for (; i + kW <= n; i += kW) V::Store(y + i, V::Max(V::Fma(V::Load(x + i), s, b), t));
    if (i < n) {
      const int rest = static_cast<int>(n - i);
      V::StorePart(y + i, V::Max(V::Fma(V::LoadPart(x + i, rest), s, b), t), rest);
    }
  }
}

// kRows rows at once: one load and store of a column's double per kRows elements.
template <class V, int kRows, class T>
void SumRowBlock(const T* x, int64_t cols, int64_t stride, double* sums) {
  constexpr int64_t kW = V::kLanes;
  int64_t c = 0;
  for (; c + kW <= cols; c += kW) {
    auto even = V::Zero(), odd = V::Zero();
    for (int r = 0; r < kRows; ++r) {
      const auto v = V::Load(x + r * stride + c);
      if (r % 2 == 0) {
        even = V::Fma(v, v, even);
      } else {
        odd = V::Fma(v, v, odd);
      }
    }
    typename V::Sum sum;
    sum.Clear();
    sum.Add(kRows > 1 ? V::Add(even, odd) : even);
    sum.AddTo(sums + c);
  }
  if (c < cols) {
    const int rest = static_cast<int>(cols - c);
    auto all = V::Zero();
    for (int r = 0; r < kRows; ++r) {
      const auto v = V::LoadPart(x + r * stride + c, rest);
      all = V::Fma(v, v, all);
    }
    typename V::Sum sum;
    sum.Clear();
    sum.Add(all);
    sum.AddPartTo(sums + c, rest);
  }
}

template <class V, class T>
void SumRows(const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums) {
  for (; rows >= 8; rows -= 8, x += 8 * stride) SumRowBlock<V, 8>(x, cols, stride, sums);
  if (rows >= 4) {
    SumRowBlock<V, 4>(x, cols, stride, sums);
    rows -= 4;
    x += 4 * stride;
  }
  for (; rows > 0; --rows, x += stride) SumRowBlock<V, 1>(x, cols, stride, sums);
}

// kRows rows at once: one load of scale, shift and tau per kRows elements.
template <class V, int kRows, class T>
void ApplyRowBlock(const T* x, T* y, int64_t cols, int64_t stride, const typename V::Elem* scale,
                   const typename V::Elem* shift, const typename V::Elem* tau) {
  constexpr int64_t kW = V::kLanes;
  int64_t c = 0;
  for (; c + kW <= cols; c += kW) {
    const auto s = V::Load(scale + c), b = V::Load(shift + c), t = V::Load(tau + c);
    for (int r = 0; r < kRows; ++r) {
      const int64_t i = r * stride + c;
      V::Store(y + i, V::Max(V::Fma(V::Load(x + i), s, b), t));
    }
  }
  if (c < cols) {
    const int rest = static_cast<int>(cols - c);
    const auto s = V::LoadPart(scale + c, rest), b = V::LoadPart(shift + c, rest),
               t = V::LoadPart(tau + c, rest);
    for (int r = 0; r < kRows; ++r) {
      const int64_t i = r * stride + c;
      V::StorePart(y + i, V::Max(V::Fma(V::LoadPart(x + i, rest), s, b), t), rest);
    }
  }
}

template <class V, class T>
void ApplyRows(const T* x, T* y, int64_t rows, int64_t cols, int64_t stride,
               const typename V::Elem* scale, const typename V::Elem* shift,
               const typename V::Elem* tau) {
  for (; rows >= 4; rows -= 4, x += 4 * stride, y += 4 * stride) {
    ApplyRowBlock<V, 4>(x, y, cols, stride, scale, shift, tau);
  }
  for (; rows > 0; --rows, x += stride, y += stride) {
    ApplyRowBlock<V, 1>(x, y, cols, stride, scale, shift, tau);
  }
}

// A plain loop: with -fno-math-errno the compiler makes vector code of it.
bool ScalesOf(const double* __restrict sums, int64_t n, double inverse_size,
              const float* __restrict gamma, const float* __restrict epsilon,
              float* __restrict scale) {
  int64_t outside = 0;
  for (int64_t c = 0; c < n; ++c) {
    const double radicand = sums[c] * inverse_size + static_cast<double>(epsilon[c]);
    outside += !(radicand >= kTrustedMin && radicand <= kTrustedMax);
    scale[c] = gamma[c] / __builtin_sqrtf(static_cast<float>(radicand));
  }
  return outside == 0;
}

bool ScalesOf(const double* __restrict sums, int64_t n, double inverse_size,
              const double* __restrict gamma, const double* __restrict epsilon,
              double* __restrict scale) {
  for (int64_t c = 0; c < n; ++c) {
    scale[c] = gamma[c] / __builtin_sqrt(sums[c] * inverse_size + epsilon[c]);
  }
  return true;  // sums are in double, as the reference's are: no better ones to be had
}

template <class V, class T>
constexpr Kernels<T> MakeKernels() {
  return {SumPlanes<V, T>, ApplyPlanes<V, T>, SumRows<V, T>, ApplyRows<V, T>, ScalesOf};
}

constexpr KernelTable kTable = {MakeKernels<FloatVec, float>(), MakeKernels<DoubleVec, double>(),
                                MakeKernels<FloatVec, F16>(), MakeKernels<FloatVec, BF16>()};
