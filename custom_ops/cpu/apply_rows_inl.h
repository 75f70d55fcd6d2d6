// The second pass over rows: y = max(x * scale + shift + residual, tau). Included by kernels_inl.h
// alone, which says how.

// What becomes of the columns of a row.
template <class V, class Ins>
struct Columns {
  using Elem = typename V::Elem;
  using Reg = typename V::Reg;
  using In = decltype(Ins{}.At(0));

  Ins ins;
  const Elem *scale, *shift, *tau;

  // Of the columns from c on, and of the first n < kLanes.
  Affine<V, In> At(int64_t c) const {
    return {ins.At(c), V::Load(scale + c), V::Load(shift + c), V::Load(tau + c)};
  }
  Affine<V, In> AtPart(int n) const {
    return {ins.AtPart(n), V::LoadPart(scale, n), V::LoadPart(shift, n), V::LoadPart(tau, n)};
  }

  // Of 2 * kLanes columns from c on, in the order in which LoadTwo loads T.
  template <class T>
  void AtTwo(int64_t c, Affine<V, In>* first, Affine<V, In>* second) const {
    *first = At(c);
    *second = At(c + V::kLanes);
    SortColumns<V, T>(&first->scale, &second->scale);
    SortColumns<V, T>(&first->shift, &second->shift);
    SortColumns<V, T>(&first->tau, &second->tau);
    In::template Sort<T>(&first->in, &second->in);
  }
};

// As Columns, for many rows: brings up to kMaxColumns columns into T's order once, not for each
// group of rows.
template <class V, class T, class Ins>
struct SortedColumns : Columns<V, Ins> {
  using Elem = typename V::Elem;
  using In = typename Columns<V, Ins>::In;

  Elem scales[kMaxColumns], shifts[kMaxColumns], taus[kMaxColumns], factors[kMaxColumns];

  SortedColumns(const Columns<V, Ins>& columns, int64_t cols) : Columns<V, Ins>(columns) {
    SortArray<V, T>(columns.scale, cols, scales);
    SortArray<V, T>(columns.shift, cols, shifts);
    SortArray<V, T>(columns.tau, cols, taus);
    columns.ins.template SortAll<T>(cols, factors);
  }

  template <class>
  void AtTwo(int64_t c, Affine<V, In>* first, Affine<V, In>* second) const {
    const Columns<V, Ins> columns = {this->ins.With(factors), scales, shifts, taus};
    *first = columns.At(c);
    *second = columns.At(c + V::kLanes);
  }
};

// Rows of kPairs * 2 * kLanes columns: scale, shift and tau stay in registers.
template <class V, int kPairs, bool kStream, class C, class From, class T>
void ApplyNarrowRows(const C& columns, From from, T* y, int64_t rows, int64_t stride,
                     int64_t ahead) {
  constexpr int64_t kW = V::kLanes;
  Affine<V, typename C::In> map[2 * kPairs];
  for (int k = 0; k < kPairs; ++k) {
    columns.template AtTwo<T>(2 * k * kW, &map[2 * k], &map[2 * k + 1]);
  }
  for (int64_t r = 0; r < rows; ++r, from = from + stride, y += stride) {
    if constexpr (kStream) Prefetch<V, 2 * kPairs>(from.x + ahead);
    for (int k = 0; k < kPairs; ++k) {
      typename From::Values v0, v1;
      LoadTwoFrom<V>(from + 2 * k * kW, &v0, &v1);
      PutTwo<V, kStream>(y + 2 * k * kW, map[2 * k](v0), map[2 * k + 1](v1));
    }
  }
}

// kRows rows of at least kLanes columns: scale, shift and tau are loaded once for all of them.
template <class V, int kRows, bool kStream, class C, class From, class T>
void ApplyWideRows(const C& columns, From from, T* y, int64_t cols, int64_t stride, int64_t ahead) {
  constexpr int64_t kW = V::kLanes;
  const int64_t end = cols - kW;
  const auto map_last = columns.At(end);
  typename V::Reg last[kRows];
  for (int r = 0; r < kRows; ++r) last[r] = map_last(LoadFrom<V>(from + (r * stride + end)));
  int64_t c = 0;
  if constexpr (kRows > 1) {  // for one row, sorting would cost more than it saves
    for (; c + kW <= end; c += 2 * kW) {
      Affine<V, typename C::In> first, second;
      columns.template AtTwo<T>(c, &first, &second);
      for (int r = 0; r < kRows; ++r) {
        typename From::Values v0, v1;
        LoadTwoFrom<V>(from + (r * stride + c), &v0, &v1);
        PutTwo<V, kStream>(y + r * stride + c, first(v0), second(v1));
      }
    }
  }
  for (; c <= end; c += kW) {
    const auto map = columns.At(c);
    for (int r = 0; r < kRows; ++r) {
      const int64_t i = r * stride + c;
      if constexpr (kStream) Prefetch<V, 1>(from.x + i + ahead);
      Put<V, kStream>(y + i, map(LoadFrom<V>(from + i)));
    }
  }
  if (cols % kW == 0) return;
  for (int r = 0; r < kRows; ++r) V::Store(y + r * stride + end, last[r]);
}

// Rows of fewer than kLanes columns.
template <class V, class C, class From, class T>
void ApplyShortRows(const C& columns, From from, T* y, int64_t rows, int64_t cols, int64_t stride) {
  const int n = static_cast<int>(cols);
  const auto map = columns.AtPart(n);
  for (int64_t r = 0; r < rows; ++r, from = from + stride, y += stride) {
    V::StorePart(y, map(LoadPartFrom<V>(from, n)), n);
  }
}

// As many groups of kRows rows as there are; moves from and y behind them.
template <class V, int kRows, bool kStream, class C, class From, class T>
void ApplyRowGroups(const C& columns, From* from, T** y, int64_t* rows, int64_t cols,
                    int64_t stride, int64_t ahead) {
  for (; *rows >= kRows; *rows -= kRows, *from = *from + kRows * stride, *y += kRows * stride) {
    ApplyWideRows<V, kRows, kStream>(columns, *from, *y, cols, stride, ahead);
  }
}

template <class V, bool kStream, class C, class From, class T>
void ApplyRowsBy(const C& columns, From from, T* y, int64_t rows, int64_t cols, int64_t stride,
                 int64_t ahead, bool large) {
  constexpr int64_t kW = V::kLanes;
  constexpr bool kMany = V::kRegisters > 16;
  if (cols < kW) {
    ApplyShortRows<V>(columns, from, y, rows, cols, stride);
  } else if (cols == 4 * kW) {
    ApplyNarrowRows<V, 2, kStream>(columns, from, y, rows, stride, ahead);
  } else if (kMany && cols == 8 * kW) {
    ApplyNarrowRows<V, kMany ? 4 : 1, kStream>(columns, from, y, rows, stride, ahead);
  } else {
    // Several rows at once, but not from memory (as in SumWideBlock), and not many that lie in the
    // same sets of the cache.
    const bool crowded = stride * static_cast<int64_t>(sizeof(T)) % kCrowdedBytes == 0;
    if (!large && !crowded) {
      ApplyRowGroups<V, 4, kStream>(columns, &from, &y, &rows, cols, stride, ahead);
    }
    if (!large) ApplyRowGroups<V, 2, kStream>(columns, &from, &y, &rows, cols, stride, ahead);
    ApplyRowGroups<V, 1, kStream>(columns, &from, &y, &rows, cols, stride, ahead);
  }
}

// As ApplyRowsBy, with columns brought into T's order where that is worth it.
template <class V, class Ins, class From, class T>
void ApplyRowsInOrder(const Columns<V, Ins>& columns, From from, T* y, int64_t rows, int64_t cols,
                      int64_t stride, int64_t ahead, bool large) {
  if constexpr (kSorts<V, T>) {
    if (!large && rows >= 8 && cols <= kMaxColumns) {
      const SortedColumns<V, T, Ins> sorted(columns, cols);
      ApplyRowsBy<V, false>(sorted, from, y, rows, cols, stride, ahead, false);
      return;
    }
  }
  ApplyRowsBy<V, false>(columns, from, y, rows, cols, stride, ahead, large);
}

template <class V, class T>
void ApplyRows(const T* x, const T* residual, T* y, int64_t rows, int64_t cols, int64_t stride,
               int64_t ahead, const typename V::Elem* scale, const typename V::Elem* shift,
               const typename V::Elem* tau, bool large) {
  const Columns<V, Plain<V>> columns = {{}, scale, shift, tau};
  const bool apart = x != y && residual != y;
  const bool aligned = IsElementAligned(y) && Past(y, V::kLanes) == 0;
  WithOperands<V>(x, residual, [&](auto from) {
    if (large && apart && stride % V::kLanes == 0 && aligned) {
      ApplyRowsBy<V, true>(columns, from, y, rows, cols, stride, ahead, true);
    } else {
      ApplyRowsInOrder<V>(columns, from, y, rows, cols, stride, ahead, large);
    }
  });
}

template <class V, class T>
void ApplyRowsScaled(const T* x, const T* residual, T* y, int64_t rows, int64_t cols,
                     int64_t stride, const typename V::Elem* factor, const typename V::Elem* scale,
                     const typename V::Elem* shift, const typename V::Elem* tau) {
  const Columns<V, Scaled<V, 2>> columns = {{factor}, scale, shift, tau};
  WithOperands<V>(x, residual, [&](auto from) {
    ApplyRowsInOrder<V>(columns, from, y, rows, cols, stride, 0, false);
  });
}
