// FRN of planes of a few elements, of which rows are adjacent: all of it, vector by vector of
// columns. Included by kernels_inl.h alone, which says how.

// kLanes columns of samples, or fewer.
template <class V, class T, bool kPart>
struct FewRows {
  using Reg = typename V::Reg;
  using Elem = typename V::Elem;

  int64_t rows, stride;
  int part;  // columns
  Reg inverse, gamma, beta, tau, epsilon;

  Reg Load(const T* x) const {
    if constexpr (kPart) return V::LoadPart(x, part);
    return V::Load(x);
  }

  Reg Mean(const T* x, Reg factor) const {
    auto sum = V::Zero();
    for (int64_t r = 0; r < rows; ++r) {
      const auto v = V::Mul(Load(x + r * stride), factor);
      sum = V::Fma(v, v, sum);
    }
    return V::Mul(sum, inverse);
  }

  template <class In, class From>
  void Apply(In in, Reg scale, From from, T* y) const {
    const Affine<V, In> map = {in, scale, beta, tau};
    for (int64_t r = 0; r < rows; ++r, from = from + stride, y += stride) {
      if constexpr (kPart) {
        V::StorePart(y, map(LoadPartFrom<V>(from, part)), part);
      } else {
        V::Store(y, map(LoadFrom<V>(from)));
      }
    }
  }

  // One sample whose scale is not to be relied on.
  template <class From>
  [[gnu::noinline]] void ApplyScaled(Reg mean, Reg scale, From from, T* y) const {
    auto factor = SumFactor<V, T>(mean, epsilon);
    if (!AllOf<V>(factor, 1)) mean = Mean(from.x, factor);
    Rescale<V, T>(mean, gamma, epsilon, &factor, &scale);
    Apply(Factor<V, 2>{factor}, scale, from, y);
  }

  template <class From>
  void Samples(From from, T* y, int64_t samples) const {
    for (int64_t n = 0; n < samples; ++n, from = from + rows * stride, y += rows * stride) {
      const auto mean = Mean(from.x, V::Set(1)), radicand = V::Add(mean, epsilon);
      const auto scale = V::Div(gamma, V::Sqrt(radicand));
      if (Reliable<V, T>(radicand, scale, gamma)) {
        Apply(Plain<V>{}, scale, from, y);
      } else {
        ApplyScaled(mean, scale, from, y);
      }
    }
  }
};

template <class V, class T>
void ApplyFewRows(const T* x, const T* residual, T* y, int64_t samples, int64_t rows, int64_t cols,
                  const typename V::Elem* gamma, const typename V::Elem* beta,
                  const typename V::Elem* tau, const typename V::Elem* epsilon) {
  using Elem = typename V::Elem;
  constexpr int64_t kW = V::kLanes;
  const auto inverse = V::Set(static_cast<Elem>(1) / static_cast<Elem>(rows));
  WithOperands<V>(x, residual, [&](auto from) {
    int64_t c = 0;
    for (; c + kW <= cols; c += kW) {
      const FewRows<V, T, false> few = {rows,
                                        cols,
                                        0,
                                        inverse,
                                        V::Load(gamma + c),
                                        V::Load(beta + c),
                                        V::Load(tau + c),
                                        V::Load(epsilon + c)};
      few.Samples(from + c, y + c, samples);
    }
    if (c == cols) return;
    const int rest = static_cast<int>(cols - c);
    const FewRows<V, T, true> few = {rows,
                                     cols,
                                     rest,
                                     inverse,
                                     V::LoadPart(gamma + c, rest),
                                     V::LoadPart(beta + c, rest),
                                     V::LoadPart(tau + c, rest),
                                     FillUp<V>(epsilon + c, rest)};
    few.Samples(from + c, y + c, samples);
  });
}
