// Sums of squares of rows. Included by kernels_inl.h alone, which says how.

// Rows of kVectors * kLanes columns, up to kBlock of them: the sums stay in registers.
template <class V, int kVectors, class Ins, class T>
void SumNarrowBlock(Ins ins, const T* x, int64_t rows, int64_t stride, double* sums) {
  constexpr int64_t kW = V::kLanes;
  typename V::Reg sum[kVectors];
  for (int k = 0; k < kVectors; ++k) sum[k] = V::Zero();
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    for (int k = 0; k < kVectors; ++k) {
      const auto v = ins.At(k * kW)(V::Load(x + k * kW));
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
template <class V, int kRows, class Ins, class T>
void AddSquares(Ins ins, const T* x, int64_t full, int64_t stride, typename V::Elem* block) {
  for (int64_t c = 0; c < full; c += V::kLanes) {
    const auto in = ins.At(c);
    auto sum = V::Load(block + c);
    for (int r = 0; r < kRows; ++r) {
      const auto v = in(V::Load(x + r * stride + c));
      sum = V::Fma(v, v, sum);
    }
    V::Store(block + c, sum);
  }
}

// Rows of any width, up to kBlock of them: the sums stay in L1. Several rows at once, for fewer
// loads, but not from memory: that is then up to three times slower, as the prefetchers lose the
// thread.
template <class V, class Ins, class T>
void SumWideBlock(Ins ins, const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums,
                  bool large) {
  constexpr int64_t kW = V::kLanes;
  const int rest = static_cast<int>(cols % kW);
  const int64_t full = cols - rest;
  typename V::Elem block[kMaxColumns];
  for (int64_t c = 0; c < full; c += kW) V::Store(block + c, V::Zero());
  int64_t row = 0;
  if (!large) {
    for (; row + 2 <= rows; row += 2) AddSquares<V, 2>(ins, x + row * stride, full, stride, block);
  }
  for (; row < rows; ++row) AddSquares<V, 1>(ins, x + row * stride, full, stride, block);
  typename V::Sum wide;
  for (int64_t c = 0; c < full; c += kW) {
    wide.Clear();
    wide.Add(V::Load(block + c));
    wide.AddTo(sums + c);
  }
  if (rest == 0) return;
  const auto in = full == 0 ? ins.AtPart(rest) : ins.At(cols - kW);
  auto tail = V::Zero();
  for (int64_t r = 0; r < rows; ++r, x += stride) {
    const auto v = in(full == 0 ? V::LoadPart(x, rest) : V::LoadLast(x + cols, rest));
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

template <class V, class Ins, class T>
void SumRowBlock(Ins ins, const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums,
                 bool large) {
  constexpr int64_t kW = V::kLanes;
  if (cols == 4 * kW) {
    SumNarrowBlock<V, 4>(ins, x, rows, stride, sums);
  } else if (cols == 8 * kW) {
    SumNarrowBlock<V, 8>(ins, x, rows, stride, sums);
  } else if (V::kRegisters > 16 && cols == 16 * kW) {
    SumNarrowBlock<V, (V::kRegisters > 16 ? 16 : 1)>(ins, x, rows, stride, sums);
  } else {
    SumWideBlock<V>(ins, x, rows, cols, stride, sums, large);
  }
}

template <class V, class Ins, class T>
void SumRowsBy(Ins ins, const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums,
               bool large) {
  for (; rows > 0; rows -= kBlock, x += kBlock * stride) {
    SumRowBlock<V>(ins, x, rows < kBlock ? rows : kBlock, cols, stride, sums, large);
  }
}

template <class V, class T>
void SumRows(const T* x, int64_t rows, int64_t cols, int64_t stride, double* sums, bool large) {
  SumRowsBy<V>(Plain<V>{}, x, rows, cols, stride, sums, large);
}

template <class V, class T>
void SumRowsScaled(const T* x, int64_t rows, int64_t cols, int64_t stride,
                   const typename V::Elem* factor, double* sums) {
  SumRowsBy<V>(Scaled<V, 1>{factor}, x, rows, cols, stride, sums, false);
}
