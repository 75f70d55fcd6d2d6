// FRN of planes of one element. Included by kernels_inl.h alone, which says how.

// x / sqrt(x^2 + epsilon), where that takes a factor if |x| or epsilon are beyond these.
constexpr double kUnitMin = 0x1p-50, kUnitMax = 0x1p63, kUnitMaxEpsilon = 0x1p125;
constexpr double kUnitLittle = 0x1p20;  // an epsilon below is nothing beside |x| at kUnitMax

// v[r] = v[r] / sqrt(v[r]^2 + epsilon) for any numbers, each lane with the factor that its own asks
// for. 0 / 0 and inf / inf are NaN. No step before the last makes subnormal numbers of others: they
// take long. A quotient that is one itself has lost bits before gamma, however large, is applied.
template <class V, class T, int kRows>
[[gnu::always_inline]] inline void ScaledUnits(typename V::Reg* v, typename V::Reg epsilon) {
  const auto one = V::Set(1), huge = V::Set(kHuge), max = V::Set(kUnitMax);
  if constexpr (kSquaresFit<T>) {  // epsilon alone asks
    const auto factor = V::Less(epsilon, V::Set(kTrustedMin), V::Set(0x1p40), one);
    const auto added = V::Mul(V::Mul(epsilon, factor), factor);
    for (int r = 0; r < kRows; ++r) {
      const auto scaled = V::Mul(v[r], factor);
      v[r] = V::Mul(scaled, V::InvSqrtOfAny(V::Fma(scaled, scaled, added)));
    }
    return;
  }
  const auto zero = V::Zero(), tiny = V::Set(kTiny);
  const auto counts = V::Less(V::Abs(epsilon), V::Set(kUnitLittle), zero, epsilon);
  // Beside an epsilon that is not tiny, no x is.
  const auto min = V::Less(epsilon, V::Set(kTrustedMin), V::Set(kUnitMin), zero);
  const auto unless_zero = V::Less(zero, V::Abs(epsilon), epsilon, one);
  if (V::template AllWithin<1>(&unless_zero, V::Set(kTrustedMin), V::Set(kUnitLittle / 2))) {
    for (int r = 0; r < kRows; ++r) {
      const auto size = V::Abs(v[r]);
      const auto scaled = V::Mul(v[r], WhereBeyond<V>(size, min, tiny, max, huge, one));
      const auto added = V::Less(max, size, counts, epsilon);
      v[r] = V::Mul(scaled, V::InvSqrt(V::Fma(scaled, scaled, added)));
    }
    return;
  }
  const auto below = V::Less(epsilon, V::Set(kTrustedMin), tiny, one);
  const auto usual = V::Less(V::Set(kUnitMaxEpsilon), epsilon, huge, one);
  const auto tiny_added = V::Mul(V::Mul(epsilon, below), below);
  const auto huge_added = V::Mul(V::Mul(counts, huge), huge);
  const auto usual_added = V::Mul(V::Mul(epsilon, usual), usual);
  for (int r = 0; r < kRows; ++r) {
    const auto size = V::Abs(v[r]);
    const auto raised = V::Mul(v[r], V::Less(size, min, below, one));
    // Beside an epsilon that is huge, x may be tiny: it is lowered when it is divided.
    const auto lower = WhereBeyond<V>(size, min, one, max, huge, usual);
    const auto scaled = V::Mul(raised, lower);
    const auto added = WhereBeyond<V>(size, min, tiny_added, max, huge_added, usual_added);
    const auto inverse = V::InvSqrtOfAny(V::Fma(scaled, scaled, added));
    v[r] = V::Mul(V::Mul(raised, inverse), lower);
  }
}

// v[r] = v[r] / sqrt(v[r]^2 + epsilon). *usual: whether that is likely to be done without factors;
// set to false where it was not.
template <class V, class T, int kRows>
[[gnu::always_inline]] inline void Units(typename V::Reg* v, typename V::Reg epsilon, bool* usual) {
  if (*usual) {
    typename V::Reg radicand[kRows];
    for (int r = 0; r < kRows; ++r) radicand[r] = V::Fma(v[r], v[r], epsilon);
    *usual = V::template AllWithin<kRows>(radicand, V::Set(kTrustedMin), V::Set(kTrustedMax));
    if (*usual) {
      for (int r = 0; r < kRows; ++r) v[r] = V::Mul(v[r], V::InvSqrt(radicand[r]));
      return;
    }
  }
  ScaledUnits<V, T, kRows>(v, epsilon);
}

// kRows samples of `cols` channels, whose planes are one element.
template <class V, int kRows, class From, class T>
void SingleRows(From from, T* y, int64_t cols, const typename V::Elem* gamma,
                const typename V::Elem* beta, const typename V::Elem* tau,
                const typename V::Elem* epsilon) {
  constexpr int64_t kW = V::kLanes;
  const Columns<V, Plain<V>> columns = {{}, gamma, beta, tau};
  typename V::Reg v[kRows], w[kRows];
  bool usual = true;
  int64_t c = 0;
  for (; c + 2 * kW <= cols; c += 2 * kW) {
    for (int r = 0; r < kRows; ++r) LoadTwo<V>(from.x + r * cols + c, &v[r], &w[r]);
    auto e0 = V::Load(epsilon + c), e1 = V::Load(epsilon + c + kW);
    SortColumns<V, T>(&e0, &e1);
    Units<V, T, kRows>(v, e0, &usual);
    Units<V, T, kRows>(w, e1, &usual);
    Affine<V, Plain<V>> first, second;
    columns.template AtTwo<T>(c, &first, &second);
    for (int r = 0; r < kRows; ++r) {
      typename From::Values v0, v1;
      (from + (r * cols + c)).WithTwo(v[r], w[r], &v0, &v1);
      PutTwo<V, false>(y + r * cols + c, first(v0), second(v1));
    }
  }
  for (; c + kW <= cols; c += kW) {
    for (int r = 0; r < kRows; ++r) v[r] = V::Load(from.x + r * cols + c);
    Units<V, T, kRows>(v, V::Load(epsilon + c), &usual);
    const auto map = columns.At(c);
    for (int r = 0; r < kRows; ++r) {
      V::Store(y + r * cols + c, map((from + (r * cols + c)).With(v[r])));
    }
  }
  if (c == cols) return;
  const int rest = static_cast<int>(cols - c);
  for (int r = 0; r < kRows; ++r) v[r] = V::LoadPart(from.x + r * cols + c, rest);
  Units<V, T, kRows>(v, FillUp<V>(epsilon + c, rest), &usual);
  const auto map = Columns<V, Plain<V>>{{}, gamma + c, beta + c, tau + c}.AtPart(rest);
  for (int r = 0; r < kRows; ++r) {
    V::StorePart(y + r * cols + c, map((from + (r * cols + c)).WithPart(v[r], rest)), rest);
  }
}

template <class V, class T>
void ApplySingle(const T* x, const T* residual, T* y, int64_t rows, int64_t cols,
                 const typename V::Elem* gamma, const typename V::Elem* beta,
                 const typename V::Elem* tau, const typename V::Elem* epsilon) {
  WithOperands<V>(x, residual, [=](auto from) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      SingleRows<V, 4>(from + r * cols, y + r * cols, cols, gamma, beta, tau, epsilon);
    }
    for (; r < rows; ++r) {
      SingleRows<V, 1>(from + r * cols, y + r * cols, cols, gamma, beta, tau, epsilon);
    }
  });
}
