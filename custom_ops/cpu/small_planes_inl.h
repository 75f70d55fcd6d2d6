// FRN of planes of a few elements that are one behind the other: all of it, kLanes planes at once.
// Included by kernels_inl.h alone, which says how.

// `planes` planes of n elements, of which the first kLanes are taken: n < kLanes,
template <class V, class From, class T>
struct ShortPlanes {
  using Reg = typename V::Reg;
  static constexpr int64_t kW = V::kLanes;

  const ShortPlaneTable<V>& table;
  From from;
  T* y;
  int64_t planes, n;

  Reg Totals() const { return TotalsOfShortPlanes<V>(Plain<V>{}, from.x, planes, n); }
  template <class Ins>
  void Apply(Ins ins, Reg scale, Reg shift, Reg tau) const {
    table.Apply(ins, from, y, static_cast<int>(planes < kW ? planes : kW), scale, shift, tau);
  }
};

// and n >= kLanes. kStream: they are whole lines of memory, written past the caches.
template <class V, bool kStream, class From, class T>
struct WholePlanes {
  using Reg = typename V::Reg;
  static constexpr int64_t kW = V::kLanes;

  From from;
  T* y;
  int64_t planes, n;

  Reg Totals() const { return TotalsOfWholePlanes<V>(Plain<V>{}, from.x, planes, n); }
  template <class Ins>
  void Apply(Ins ins, Reg scale, Reg shift, Reg tau) const {
    typename V::Elem scales[kW], shifts[kW], taus[kW];
    V::Store(scales, scale);
    V::Store(shifts, shift);
    V::Store(taus, tau);
    for (int64_t p = 0; p < kW && p < planes; ++p) {
      const Affine<V, decltype(ins.Of(p))> map = {ins.Of(p), V::Set(scales[p]), V::Set(shifts[p]),
                                                  V::Set(taus[p])};
      ApplyFew(map, from + p * n, y + p * n);
    }
  }

  template <class Map>
  void ApplyFew(const Map& map, From from, T* y) const {
    if (n % kW == 0) {
      ApplyVectors(map, from, y);
    } else {
      const auto last = map(LoadFrom<V>(from + (n - kW)));
      ApplyVectors(map, from, y);
      V::Store(y + n - kW, last);
    }
  }

  template <class Map>
  void ApplyVectors(const Map& map, From from, T* y) const {
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
template <class V, class Planes>
struct FewPlanes {
  using Reg = typename V::Reg;
  using Elem = typename V::Elem;

  Planes planes;
  Reg inverse, shift, tau;

  Reg Mean() const { return V::Mul(planes.Totals(), inverse); }
  Reg Mean(Reg factor) const {
    Elem factors[V::kLanes];
    V::Store(factors, factor);
    const auto totals =
        TotalsOfPlanes<V>(Scaled<V, 1>{factors}, planes.from.x, planes.planes, planes.n);
    return V::Mul(totals, inverse);
  }
  void Apply(Plain<V> in, Reg scale) const { planes.Apply(in, scale, shift, tau); }
  void Apply(Factor<V, 2> in, Reg scale) const {
    Elem factors[V::kLanes];
    V::Store(factors, in.factor);
    planes.Apply(Scaled<V, 2>{factors}, scale, shift, tau);
  }
};

// take(first): the planes from this one on.
template <class V, class T, class Take>
void ApplyPlanesAtOnce(Take take, int64_t planes, int64_t n, const typename V::Elem* gamma,
                       const typename V::Elem* beta, const typename V::Elem* tau,
                       const typename V::Elem* epsilon) {
  using Elem = typename V::Elem;
  const auto inverse = V::Set(static_cast<Elem>(1) / static_cast<Elem>(n));
  Elem guess = 1;
  for (int64_t first = 0; first < planes; first += V::kLanes) {
    const int64_t left = planes - first;
    const Lanes<V> lanes = {first, left < V::kLanes ? static_cast<int>(left) : 0};
    const FewPlanes<V, decltype(take(first))> part = {take(first), inverse, lanes.Load(beta),
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
  const bool stream = large && lines && x != y && residual != y;
  WithOperands<V>(x, residual, [=](auto from) {
    using From = decltype(from);
    if (n < V::kLanes) {
      const ShortPlaneTable<V> table(n);
      const auto take = [&](int64_t p) {
        return ShortPlanes<V, From, T>{table, from + p * n, y + p * n, planes - p, n};
      };
      ApplyPlanesAtOnce<V, T>(take, planes, n, gamma, beta, tau, epsilon);
    } else if (stream) {
      const auto take = [&](int64_t p) {
        return WholePlanes<V, true, From, T>{from + p * n, y + p * n, planes - p, n};
      };
      ApplyPlanesAtOnce<V, T>(take, planes, n, gamma, beta, tau, epsilon);
    } else {
      const auto take = [&](int64_t p) {
        return WholePlanes<V, false, From, T>{from + p * n, y + p * n, planes - p, n};
      };
      ApplyPlanesAtOnce<V, T>(take, planes, n, gamma, beta, tau, epsilon);
    }
  });
}
