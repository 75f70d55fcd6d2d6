// Sums of squares, and what becomes of them. Included by kernels_inl.h alone, which says how.

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

// Rows of kVectors * kLanes columns, up to kBlock of them: the sums stay in registers.
template <class V, int kVectors, class T>
void SumNarrowBlock(const T* x, int64_t rows, int64_t stride, double* sums) {
  constexpr int64_t kW = V::kLanes;
  typename V::Reg sum[kVectors];
  for (int k = 0; k < kVectors; ++k) sum[k] = V::Zero();
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    for (int k = 0; k < kVectors; ++k) {
      const auto v = V::Load(x + k * kW);
      sum[k] = V::Fma(v, v, sum[k]);
    }
  }
  for (int k = 0; k < kVectors; ++k) {
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
void SumRowBlock(const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums, bool large) {
  constexpr int64_t kW = V::kLanes;
  if (cols == 4 * kW) {
    SumNarrowBlock<V, 4>(x, rows, stride, sums);
  } else if (cols == 8 * kW) {
    SumNarrowBlock<V, 8>(x, rows, stride, sums);
  } else if (V::kRegisters > 16 && cols == 16 * kW) {
    SumNarrowBlock<V, (V::kRegisters > 16 ? 16 : 1)>(x, rows, stride, sums);
  } else {
    SumWideBlock<V>(x, rows, cols, stride, sums, large);
  }
}

template <class V, class T>
void SumRows(const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums, bool large) {
  for (; rows > 0; rows -= kBlock, x += kBlock * stride) {
    SumRowBlock<V>(x, rows < kBlock ? rows : kBlock, cols, stride, sums, large);
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
