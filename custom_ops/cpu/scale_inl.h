// What becomes of the sums, and FRN of planes of one element. Included by kernels_inl.h alone.

template <class V>
bool Scales(const double* sums, int64_t n, double inverse_size, const typename V::Elem* gamma,
            const typename V::Elem* epsilon, typename V::Elem* scale) {
  constexpr int64_t kW = V::kLanes;
  bool trusted = true;
  int64_t c = 0;
  for (; c + kW <= n; c += kW) {
    const auto radicand = V::Add(V::LoadSums(sums + c, inverse_size), V::Load(epsilon + c));
    const auto g = V::Load(gamma + c), s = V::Div(g, V::Sqrt(radicand));
    trusted = trusted && V::template AllTrusted<1>(&radicand) && V::Normal(s, g);
    V::Store(scale + c, s);
  }
  if (c == n) return trusted;
  double part[kW];
  for (int64_t i = 0; i < kW; ++i) part[i] = c + i < n ? sums[c + i] : 1 / inverse_size;
  const int rest = static_cast<int>(n - c);
  const auto radicand = V::Add(V::LoadSums(part, inverse_size), V::LoadPart(epsilon + c, rest));
  const auto g = V::LoadPart(gamma + c, rest), s = V::Div(g, V::Sqrt(radicand));
  V::StorePart(scale + c, s, rest);
  return trusted && V::template AllTrusted<1>(&radicand) && V::Normal(s, g);
}

// values[i] /= sqrt(radicand[i])
template <class V>
void DivideByRoots(const double* radicand, int64_t n, double* values) {
  int64_t i = 0;
  for (; i + V::kLanes <= n; i += V::kLanes) {
    V::Store(values + i, V::Div(V::Load(values + i), V::Sqrt(V::Load(radicand + i))));
  }
  if (i == n) return;
  const int rest = static_cast<int>(n - i);
  const auto root = V::Sqrt(V::LoadPart(radicand + i, rest));
  V::StorePart(values + i, V::Div(V::LoadPart(values + i, rest), root), rest);
}

// x / sqrt(x^2 + epsilon) where some lane's radicand is not trusted: each lane with the factor that
// its own asks for. 0 / 0 and inf / inf are NaN. Where epsilon is below zero, x^2 alone asks.
template <class V>
[[gnu::noinline]] typename V::Reg ScaledUnit(typename V::Reg x, typename V::Reg radicand,
                                             typename V::Reg epsilon) {
  const auto factor = V::FactorFor(V::Max(radicand, V::Mul(x, x)));
  const auto scaled = V::Mul(x, factor);
  const auto added = V::Mul(V::Mul(epsilon, factor), factor);
  return V::Div(scaled, V::Sqrt(V::Fma(scaled, scaled, added)));
}

// v[r] = v[r] / sqrt(v[r]^2 + epsilon)
template <class V, int kRows>
[[gnu::always_inline]] inline void Units(typename V::Reg* v, typename V::Reg epsilon) {
  typename V::Reg radicand[kRows];
  for (int r = 0; r < kRows; ++r) radicand[r] = V::Fma(v[r], v[r], epsilon);
  if (V::template AllTrusted<kRows>(radicand)) {
    for (int r = 0; r < kRows; ++r) v[r] = V::Mul(v[r], V::InvSqrt(radicand[r]));
  } else {
    for (int r = 0; r < kRows; ++r) v[r] = ScaledUnit<V>(v[r], radicand[r], epsilon);
  }
}

// kRows samples of `cols` channels, whose planes are one element.
template <class V, int kRows, class From, class T>
void SingleRows(From from, T* y, int64_t cols, const typename V::Elem* gamma,
                const typename V::Elem* beta, const typename V::Elem* tau,
                const typename V::Elem* epsilon) {
  constexpr int64_t kW = V::kLanes;
  const Columns<V, Plain<V>> columns = {{}, gamma, beta, tau};
  typename V::Reg v[kRows], w[kRows];
  int64_t c = 0;
  for (; c + 2 * kW <= cols; c += 2 * kW) {
    for (int r = 0; r < kRows; ++r) LoadTwo<V>(from.x + r * cols + c, &v[r], &w[r]);
    auto e0 = V::Load(epsilon + c), e1 = V::Load(epsilon + c + kW);
    SortColumns<V, T>(&e0, &e1);
    Units<V, kRows>(v, e0);
    Units<V, kRows>(w, e1);
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
    Units<V, kRows>(v, V::Load(epsilon + c));
    const auto map = columns.At(c);
    for (int r = 0; r < kRows; ++r) {
      V::Store(y + r * cols + c, map((from + (r * cols + c)).With(v[r])));
    }
  }
  if (c == cols) return;
  const int rest = static_cast<int>(cols - c);
  typename V::Elem padded[kW];  // epsilon of the lanes not used, which would make 0 / 0
  for (int64_t i = 0; i < kW; ++i) padded[i] = i < rest ? epsilon[c + i] : 1;
  for (int r = 0; r < kRows; ++r) v[r] = V::LoadPart(from.x + r * cols + c, rest);
  Units<V, kRows>(v, V::Load(padded));
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
