// What becomes of the sums. Included by kernels_inl.h alone.
//
// Where squares leave the range of floats they are summed again, of x times a factor; where the
// scale itself does, it is two: x * factor * factor * scale. All of that is done by vectors, and
// the kernels that take a factor do the rest, so that huge, tiny and dead planes cost a second sum
// at most.

// f(lanes, means) for the means of n sums; 1 in lanes that are not used.
template <class V, class F>
[[gnu::always_inline]] inline void ForMeans(const double* sums, int64_t n, double inverse_size,
                                            F&& f) {
  constexpr int64_t kW = V::kLanes;
  int64_t c = 0;
  for (; c + kW <= n; c += kW) f(Lanes<V>{c, 0}, V::LoadSums(sums + c, inverse_size));
  if (c == n) return;
  double part[kW];
  for (int64_t i = 0; i < kW; ++i) part[i] = c + i < n ? sums[c + i] : 1 / inverse_size;
  f(Lanes<V>{c, static_cast<int>(n - c)}, V::LoadSums(part, inverse_size));
}

// Whether s = g / sqrt(radicand) is to be relied on. A sum that is NaN is the answer already, as is
// 0 where no square can have been lost.
template <class V, class T>
bool Reliable(typename V::Reg radicand, typename V::Reg s, typename V::Reg g) {
  const auto one = V::Set(1), min = V::Set(kTrustedMin), max = V::Set(kTrustedMax);
  if (V::template AllWithin<1>(&radicand, min, max)) return V::Normal(s, g);
  if constexpr (kSquaresFit<T>) {
    const auto finite = V::Less(radicand, V::Set(__builtin_inff()), s, one);
    return V::Normal(V::Less(V::Zero(), radicand, finite, one), g);
  } else {
    return false;
  }
}

template <class V, class T>
bool Scales(const double* sums, int64_t n, double inverse_size, const typename V::Elem* gamma,
            const typename V::Elem* epsilon, typename V::Elem* scale) {
  bool reliable = true;
  ForMeans<V>(sums, n, inverse_size, [&](Lanes<V> lanes, typename V::Reg mean) {
    const auto radicand = V::Add(mean, lanes.Load(epsilon));
    const auto g = lanes.Load(gamma), s = V::Div(g, V::Sqrt(radicand));
    reliable = reliable && Reliable<V, T>(radicand, s, g);
    lanes.Store(scale, s);
  });
  return reliable;
}

// Of lanes that are neither: other.
template <class V>
typename V::Reg WhereBeyond(typename V::Reg a, typename V::Reg min, typename V::Reg below,
                            typename V::Reg max, typename V::Reg above, typename V::Reg other) {
  return V::Less(a, min, below, V::Less(max, a, above, other));
}

// The loops of RescaleInDouble are written so that the compiler makes vectors of them: without
// branches, and each with one width of integers.

inline uint64_t BitsOf(double value) {
  uint64_t bits;
  __builtin_memcpy(&bits, &value, sizeof(bits));
  return bits;
}
inline double DoubleOf(uint64_t bits) {
  double value;
  __builtin_memcpy(&value, &bits, sizeof(value));
  return value;
}

// Where a scale is above floats, or below normal ones, kNear or its inverse is taken out of it and
// applied to x, twice. Where it is at kFar and beyond, so is the square of that. However gamma and
// x differ, x times all that is in range where y is.
constexpr double kNear = 0x1p43;
constexpr double kFar = 0x1p212;

// A radicand is m * 4^h, m at least 1 and below 4: the root of m is taken in float, all else in
// double. From the mean of the squares of x * f; sets factor and scale where `lost` is not 0.
template <class V>
[[gnu::noinline]] void RescaleInDouble(typename V::Reg mean, typename V::Reg g,
                                       typename V::Reg epsilon, typename V::Reg f,
                                       typename V::Reg lost, typename V::Reg* factor,
                                       typename V::Reg* scale) {
  using Elem = typename V::Elem;
  constexpr int kW = V::kLanes;
  alignas(64) Elem means[kW], gammas[kW], epsilons[kW], factors[kW], scales[kW], root[kW];
  alignas(64) double power[kW];
  V::Store(means, mean);
  V::Store(gammas, g);
  V::Store(epsilons, epsilon);
  V::Store(factors, f);
  for (int i = 0; i < kW; ++i) {
    const double given = factors[i];
    const double radicand = means[i] + static_cast<double>(epsilons[i]) * given * given;
    // 0, infinity and what has no root are taken as they are.
    const double positive = radicand > 0x1p-1000 ? radicand : 1;
    const uint64_t half = ((BitsOf(positive < 0x1p1000 ? positive : 1) >> 52) + 1) >> 1;
    root[i] = static_cast<Elem>(radicand * DoubleOf((2047 - 2 * half) << 52));
    power[i] = given * DoubleOf((1535 - half) << 52);
  }
  V::Store(root, V::Div(V::Set(1), V::Sqrt(V::Load(root))));
  for (int i = 0; i < kW; ++i) {
    const double wide = static_cast<double>(gammas[i]) * root[i] * power[i];
    const double magnitude = __builtin_fabs(wide);
    const bool low = (magnitude < kMinNormal) & (magnitude > 0);
    const bool high = (magnitude > kMaxFloat) & (magnitude < __builtin_inf());
    const double near = (high ? kNear : 1) * (low ? 1 / kNear : 1);
    const double far = ((high & (magnitude > kFar)) ? kNear : 1) *
                       ((low & (magnitude < 1 / kFar)) ? 1 / kNear : 1);
    const double in = near * far;
    const double out = DoubleOf((uint64_t{2046} << 52) - BitsOf(in));  // 1 / in
    factors[i] = static_cast<Elem>(in);
    scales[i] = static_cast<Elem>(wide * out * out);
  }
  *factor = V::Less(V::Zero(), lost, V::Load(factors), *factor);
  *scale = V::Less(V::Zero(), lost, V::Load(scales), *scale);
}

// The factor that squares of this mean ask for. An epsilon below zero asks for none: ordinary
// squares times kTiny would overflow.
template <class V, class T>
typename V::Reg SumFactor(typename V::Reg mean, typename V::Reg epsilon) {
  if constexpr (kSquaresFit<T>) return V::Set(1);
  return WhereBeyond<V>(V::Max(mean, V::Add(mean, epsilon)), V::Set(kTrustedMin), V::Set(kTiny),
                        V::Set(kTrustedMax), V::Set(kHuge), V::Set(1));
}

template <class V>
bool AllOf(typename V::Reg a, typename V::Elem value) {
  return V::template AllWithin<1>(&a, V::Set(value), V::Set(value));
}

// 1 in the lanes where a scale is no normal number and its gamma is not 0, else 0.
template <class V>
typename V::Reg Lost(typename V::Reg scale, typename V::Reg g) {
  const auto one = V::Set(1), zero = V::Zero();
  return WhereBeyond<V>(V::Abs(scale), V::Set(kMinNormal), V::Less(zero, V::Abs(g), one, zero),
                        V::Set(kMaxFloat), one, zero);
}

// Whether the mean of the squares of x * factor, kTiny or kHuge, shows that this is the factor that
// they ask for in all lanes. NaN may be either.
template <class V>
bool IsFactor(typename V::Reg mean, typename V::Reg epsilon, typename V::Elem factor) {
  constexpr typename V::Elem kTinyMost = 0x1.fffffep91, kHugeLeast = 0x1.000002p-14;
  static_assert(kTrustedMin * kTiny * kTiny == 0x1p92 && kTrustedMax * kHuge * kHuge == 0x1p-14);
  if (factor == static_cast<typename V::Elem>(kHuge)) {
    return V::template AllWithin<1>(&mean, V::Set(kHugeLeast), V::Set(__builtin_inff()));
  }
  const auto added = V::Max(epsilon, V::Zero()), tiny = V::Set(kTiny);
  const auto radicand = V::Fma(V::Mul(added, tiny), tiny, mean);
  return V::template AllWithin<1>(&radicand, V::Zero(), V::Set(kTinyMost));
}

// From the mean of the squares of x * *factor: sets *scale, and *factor anew, as
// Kernels::wide_scales does. Of lanes without a factor it is the scale that Scales makes.
template <class V, class T>
void Rescale(typename V::Reg mean, typename V::Reg g, typename V::Reg epsilon,
             typename V::Reg* factor, typename V::Reg* scale) {
  const auto one = V::Set(1), f = *factor;
  const auto radicand = V::Fma(V::Mul(epsilon, f), f, mean);
  const auto scaled = V::Div(g, V::Sqrt(radicand));
  // 1 where the root is 0, infinite or NaN, for then the scale rightly is so, too.
  const auto settled =
      V::Less(V::Zero(), radicand, V::Less(radicand, V::Set(__builtin_inff()), scaled, one), one);
  // Between these, scaled * f is a normal number. It is not tried: subnormal ones take long.
  const auto size = V::Abs(settled);
  const auto min =
      WhereBeyond<V>(f, one, V::Set(kMinNormal / kHuge), one, V::Zero(), V::Set(kMinNormal));
  const auto max = V::Less(one, f, V::Set(kMaxFloat / kTiny), V::Set(kMaxFloat));
  if (V::template AllWithin<1>(&size, min, max)) {
    *factor = one;
    *scale = V::Mul(scaled, f);
    return;
  }
  const auto half = V::Sqrt(f);
  *factor = WhereBeyond<V>(size, min, half, max, half, one);
  *scale = V::Mul(scaled, WhereBeyond<V>(size, min, one, max, one, f));
  const auto lost = Lost<V>(settled, g);
  if (!AllOf<V>(lost, 0)) RescaleInDouble<V>(mean, g, epsilon, f, lost, factor, scale);
}

template <class V, class T>
bool SumFactors(const double* sums, int64_t n, double inverse_size, const typename V::Elem* epsilon,
                typename V::Elem* factor) {
  bool none = true;
  ForMeans<V>(sums, n, inverse_size, [&](Lanes<V> lanes, typename V::Reg mean) {
    const auto wanted = SumFactor<V, T>(mean, lanes.Load(epsilon));
    none = none && AllOf<V>(wanted, 1);
    lanes.Store(factor, wanted);
  });
  return !none;
}

template <class V, class T>
bool WideScales(const double* sums, int64_t n, double inverse_size, const typename V::Elem* gamma,
                const typename V::Elem* epsilon, typename V::Elem* factor,
                typename V::Elem* scale) {
  bool factored = false;
  ForMeans<V>(sums, n, inverse_size, [&](Lanes<V> lanes, typename V::Reg mean) {
    auto f = lanes.LoadFilled(factor);
    typename V::Reg s;
    Rescale<V, T>(mean, lanes.Load(gamma), lanes.LoadFilled(epsilon), &f, &s);
    factored = factored || !AllOf<V>(f, 1);
    lanes.Store(factor, f);
    lanes.Store(scale, s);
  });
  return factored;
}
