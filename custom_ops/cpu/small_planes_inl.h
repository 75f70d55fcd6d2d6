// FRN of planes of a few elements that are one behind the other: all of it, kLanes planes at once.
// Included by kernels_inl.h alone, which says how.

// `count` planes of n elements, of which the first kLanes are taken.
template <class From, class T>
struct SomePlanes {
  From from;
  T* y;
  int64_t count, n;

  SomePlanes At(int64_t p) const { return {from + p * n, y + p * n, count - p, n}; }
};

// How that is done: their sums of squares, one in each lane, and the rest. n < kLanes,
template <class V>
struct ShortWay {
  ShortPlaneTable<V> table;

  template <class Planes>
  typename V::Reg Totals(const Planes& planes) const {
    return TotalsOfShortPlanes<V>(Plain<V>{}, planes.from.x, planes.count, planes.n);
  }
  template <class Planes, class Ins>
  void Apply(const Planes& planes, Ins ins, typename V::Reg scale, typename V::Reg shift,
             typename V::Reg tau) const {
    const int64_t count = planes.count < V::kLanes ? planes.count : V::kLanes;
    table.Apply(ins, planes.from, planes.y, static_cast<int>(count), scale, shift, tau);
  }
};

// and n >= kLanes. kStream: they are whole lines of memory, written past the caches.
template <class V, bool kStream>
struct WholeWay {
  using Reg = typename V::Reg;
  static constexpr int64_t kW = V::kLanes;

  template <class Planes>
  Reg Totals(const Planes& planes) const {
    return TotalsOfWholePlanes<V>(Plain<V>{}, planes.from.x, planes.count, planes.n);
  }
  template <class Planes, class Ins>
  void Apply(const Planes& planes, Ins ins, Reg scale, Reg shift, Reg tau) const {
    typename V::Elem scales[kW], shifts[kW], taus[kW];
    V::Store(scales, scale);
    V::Store(shifts, shift);
    V::Store(taus, tau);
    for (int64_t p = 0; p < kW && p < planes.count; ++p) {
      const Affine<V, decltype(ins.Of(p))> map = {ins.Of(p), V::Set(scales[p]), V::Set(shifts[p]),
                                                  V::Set(taus[p])};
      ApplyFew(map, planes.At(p));
    }
  }

  // Of one plane, as ApplyRun, which takes up to twice as long for so few vectors.
  template <class Map, class Planes>
  void ApplyFew(const Map& map, const Planes& plane) const {
    const int64_t n = plane.n;
    if (n % kW == 0) {
      ApplyVectors(map, plane.from, plane.y, n);
    } else {
      const auto last = map(LoadFrom<V>(plane.from + (n - kW)));
      ApplyVectors(map, plane.from, plane.y, n);
      V::Store(plane.y + n - kW, last);
    }
  }

  template <class Map, class From, class T>
  void ApplyVectors(const Map& map, From from, T* y, int64_t n) const {
    int64_t i = 0;
    if constexpr (kSorts<V, T>) {
      for (; i + 2 * kW <= n; i += 2 * kW) {
        typename From::Values a, b;
        LoadTwoFrom<V>(from + i, &a, &b);
        PutTwo<V, kStream>(y + i, map(a), map(b));
      }
    }
    for (; i + kW <= n; i += kW) Put<V, kStream>(y + i, map(LoadFrom<V>(from + i)));
  }
};

// A part (at_once_inl.h).
template <class V, class Way, class Planes>
struct FewPlanes {
  using Reg = typename V::Reg;

  const Way& way;
  Planes planes;
  Reg inverse, shift, tau;

  Reg Mean() const { return V::Mul(way.Totals(planes), inverse); }
  Reg Mean(Reg factor) const {
    typename V::Elem factors[V::kLanes];
    V::Store(factors, factor);
    const Scaled<V, 1> ins = {factors};
    return V::Mul(TotalsOfPlanes<V>(ins, planes.from.x, planes.count, planes.n), inverse);
  }
  void Apply(Plain<V> in, Reg scale) const { way.Apply(planes, in, scale, shift, tau); }
  void Apply(Factor<V, 2> in, Reg scale) const {
    typename V::Elem factors[V::kLanes];
    V::Store(factors, in.factor);
    way.Apply(planes, Scaled<V, 2>{factors}, scale, shift, tau);
  }
};

// Not inlined: three of these in one function leave too few registers to each.
template <class V, class T, class Way, class Planes>
[[gnu::noinline]] void ApplyPlanesAtOnce(const Way& way, const Planes& planes,
                                         const typename V::Elem* gamma,
                                         const typename V::Elem* beta, const typename V::Elem* tau,
                                         const typename V::Elem* epsilon) {
  using Elem = typename V::Elem;
  const auto inverse = V::Set(static_cast<Elem>(1) / static_cast<Elem>(planes.n));
  Elem guess = 1;
  for (int64_t first = 0; first < planes.count; first += V::kLanes) {
    const int64_t left = planes.count - first;
    const Lanes<V> lanes = {first, left < V::kLanes ? static_cast<int>(left) : 0};
    const FewPlanes<V, Way, Planes> part = {way, planes.At(first), inverse, lanes.Load(beta),
                                            lanes.Load(tau)};
    guess = ApplyAtOnce<V, T>(part, lanes.Load(gamma), lanes.LoadFilled(epsilon), guess);
  }
}

template <class V, class T>
void ApplySmallPlanes(const T* x, const T* residual, T* y, int64_t planes, int64_t n,
                      const typename V::Elem* gamma, const typename V::Elem* beta,
                      const typename V::Elem* tau, const typename V::Elem* epsilon, bool large) {
  const int64_t bytes = n * static_cast<int64_t>(sizeof(T));
  const bool lines = bytes % kLineBytes == 0 && reinterpret_cast<uintptr_t>(y) % kLineBytes == 0;
  WithOperands<V>(x, residual, [=](auto from) {
    const auto apply = [&](const auto& way) {
      const SomePlanes<decltype(from), T> all = {from, y, planes, n};
      ApplyPlanesAtOnce<V, T>(way, all, gamma, beta, tau, epsilon);
    };
    if (n < V::kLanes) {
      apply(ShortWay<V>{ShortPlaneTable<V>(n)});
    } else if (large && lines && x != y && residual != y) {
      apply(WholeWay<V, true>{});
    } else {
      apply(WholeWay<V, false>{});
    }
  });
}
