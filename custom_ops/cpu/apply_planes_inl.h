// The second pass over planes: y = max(x * scale + shift + residual, tau). Included by
// kernels_inl.h alone, which says how.

// n >= kLanes elements of a plane. kStream: they are whole lines of memory.
template <class V, bool kStream, class Map, class From, class T>
void ApplyRun(const Map& map, From from, T* y, int64_t n, int64_t ahead) {
  constexpr int64_t kW = V::kLanes;
  const auto last = map(LoadFrom<V>(from + (n - kW)));
  int64_t i = 0;
  typename From::Values v0, v1, v2, v3;
  for (; i + 4 * kW <= n; i += 4 * kW) {
    if constexpr (kStream) Prefetch<V, 4>(from.x + i + ahead);
    LoadTwoFrom<V>(from + i, &v0, &v1);
    LoadTwoFrom<V>(from + (i + 2 * kW), &v2, &v3);
    PutTwo<V, kStream>(y + i, map(v0), map(v1));
    PutTwo<V, kStream>(y + i + 2 * kW, map(v2), map(v3));
  }
  if (i + 2 * kW <= n) {
    LoadTwoFrom<V>(from + i, &v0, &v1);
    PutTwo<V, kStream>(y + i, map(v0), map(v1));
    i += 2 * kW;
  }
  if (i + kW <= n) {
    Put<V, kStream>(y + i, map(LoadFrom<V>(from + i)));
    i += kW;
  }
  if (i < n) V::Store(y + n - kW, last);
}

// A plane of n >= kLanes elements, past the caches: its whole lines, without those that have less
// than a vector before or behind them in the plane. A line that is written in both ways costs 300
// ns, which pays off in longer planes alone.
template <class V, class Map, class From, class T>
void StreamPlane(const Map& map, From from, T* y, int64_t n, int64_t ahead) {
  constexpr int64_t kW = V::kLanes, kLine = kLineBytes / sizeof(T), kFewest = 32 * kLine;
  const int64_t head = (kLine - Past(y, kLine)) % kLine, tail = Past(y + n, kLine);
  const int64_t begin = head > 0 && head < kW ? head + kLine : head;
  const int64_t end = n - (tail > 0 && tail < kW ? tail + kLine : tail);
  if (end - begin < n && end - begin < kFewest) {
    ApplyRun<V, false>(map, from, y, n, 0);
    return;
  }
  if (begin > 0) ApplyRun<V, false>(map, from, y, begin, 0);
  ApplyRun<V, true>(map, from + begin, y + begin, end - begin, ahead);
  if (end < n) ApplyRun<V, false>(map, from + end, y + end, n - end, 0);
}

// To which of kLanes planes of n < kLanes elements each of their elements belongs.
template <class V>
struct ShortPlaneTable {
  static constexpr int64_t kW = V::kLanes;

  int64_t n;
  int32_t plane_of[kW * kW];

  explicit ShortPlaneTable(int64_t n) : n(n) {
    for (int64_t p = 0, i = 0; p < kW; ++p) {
      for (int64_t k = 0; k < n; ++k, ++i) plane_of[i] = static_cast<int32_t>(p);
    }
  }

  // kLanes planes are n vectors, whose lanes take what belongs to them from the vectors of planes.
  // Of the first `count` planes, with what belongs to them and the factors of all.
  template <class Ins, class From, class T>
  [[gnu::always_inline]] void Apply(Ins ins, From from, T* y, int count, typename V::Reg scale,
                                    typename V::Reg shift, typename V::Reg tau) const {
    for (int64_t i = 0; i < count * n; i += kW, from = from + kW, y += kW) {
      const int32_t* of = plane_of + i;
      const Affine<V, decltype(ins.Of(0))> map = {ins.Permuted(count, of), Permute<V>(scale, of),
                                                  Permute<V>(shift, of), Permute<V>(tau, of)};
      const int64_t left = count * n - i;
      if (left >= kW) {
        V::Store(y, map(LoadFrom<V>(from)));
      } else {
        V::StorePart(y, map(LoadPartFrom<V>(from, static_cast<int>(left))), static_cast<int>(left));
      }
    }
  }
};

template <class V, class Ins, class From, class T>
void ApplyShortPlanes(Ins ins, From from, T* y, int64_t planes, int64_t n,
                      const typename V::Elem* scale, const typename V::Elem* shift,
                      const typename V::Elem* tau) {
  constexpr int64_t kW = V::kLanes;
  const ShortPlaneTable<V> table(n);
  for (int64_t first = 0; first < planes; first += kW, from = from + kW * n, y += kW * n) {
    const int count = static_cast<int>(planes - first < kW ? planes - first : kW);
    const Lanes<V> lanes = {first, count % static_cast<int>(kW)};
    table.Apply(ins.From(first), from, y, count, lanes.Load(scale), lanes.Load(shift),
                lanes.Load(tau));
  }
}

template <class V, bool kStream, class Ins, class From, class T>
void ApplyPlanesBy(Ins ins, From from, T* y, int64_t planes, int64_t n, int64_t ahead,
                   const typename V::Elem* scale, const typename V::Elem* shift,
                   const typename V::Elem* tau) {
  if (n < V::kLanes) {
    ApplyShortPlanes<V>(ins, from, y, planes, n, scale, shift, tau);
    return;
  }
  for (int64_t p = 0; p < planes; ++p, from = from + n, y += n) {
    const Affine<V, decltype(ins.Of(p))> map = {ins.Of(p), V::Set(scale[p]), V::Set(shift[p]),
                                                V::Set(tau[p])};
    if constexpr (kStream) {
      StreamPlane<V>(map, from, y, n, ahead);
    } else {
      ApplyRun<V, false>(map, from, y, n, 0);
    }
  }
}

template <class V, class T>
void ApplyPlanes(const T* x, const T* residual, T* y, int64_t planes, int64_t n, int64_t ahead,
                 const typename V::Elem* scale, const typename V::Elem* shift,
                 const typename V::Elem* tau, bool large) {
  WithOperands<V>(x, residual, [&](auto from) {
    if (large && x != y && residual != y && IsElementAligned(y)) {
      ApplyPlanesBy<V, true>(Plain<V>{}, from, y, planes, n, ahead, scale, shift, tau);
    } else {
      ApplyPlanesBy<V, false>(Plain<V>{}, from, y, planes, n, ahead, scale, shift, tau);
    }
  });
}

template <class V, class T>
void ApplyPlanesScaled(const T* x, const T* residual, T* y, int64_t planes, int64_t n,
                       const typename V::Elem* factor, const typename V::Elem* scale,
                       const typename V::Elem* shift, const typename V::Elem* tau) {
  WithOperands<V>(x, residual, [&](auto from) {
    ApplyPlanesBy<V, false>(Scaled<V, 2>{factor}, from, y, planes, n, 0, scale, shift, tau);
  });
}
