// Sums of squares of planes. Included by kernels_inl.h alone, which says how.

// The squares of n <= 4 * kBlock * kLanes elements, spread over the lanes.
template <class V, class In, class T>
typename V::Reg SquaresOfBlock(In in, const T* x, int64_t n) {
  constexpr int64_t kW = V::kLanes;
  const T* end = x + n;
  const int rest = static_cast<int>(n % kW);
  auto a = V::Zero(), b = V::Zero(), c = V::Zero(), d = V::Zero();
  if (rest > 0) {
    const auto v = in(n < kW ? V::LoadPart(x, rest) : V::LoadLast(end, rest));
    a = V::Fma(v, v, a);
  }
  for (; end - x >= 4 * kW; x += 4 * kW) {
    const auto x0 = in(V::Load(x)), x1 = in(V::Load(x + kW)), x2 = in(V::Load(x + 2 * kW)),
               x3 = in(V::Load(x + 3 * kW));
    a = V::Fma(x0, x0, a);
    b = V::Fma(x1, x1, b);
    c = V::Fma(x2, x2, c);
    d = V::Fma(x3, x3, d);
  }
  for (; end - x >= kW; x += kW) {
    const auto v = in(V::Load(x));
    a = V::Fma(v, v, a);
  }
  return V::Add(V::Add(a, b), V::Add(c, d));
}

// Of planes of four elements, vectors of which hold several.
template <class V>
constexpr bool kAddsFours = V::kLanes > 4 && sizeof(typename V::Elem) == sizeof(float);

template <class V, class T>
typename V::Reg TotalsOfFours(const T* x) {
  constexpr int kW = V::kLanes;
  typename V::Reg v[4];
  for (int i = 0; i < 4; ++i) {
    v[i] = V::Load(x + i * kW);
    v[i] = V::Mul(v[i], v[i]);
  }
  int32_t order[kW];  // plane p is quarter p % (kW / 4) of vector p / (kW / 4)
  for (int p = 0; p < kW; ++p) order[p] = p % (kW / 4) * 4 + p / (kW / 4);
  return Permute<V>(V::AddFours(v), order);
}

// The squares of a plane of n elements, kLanes or a few more, spread over the lanes.
template <class V, class In, class T>
typename V::Reg SquaresOfFew(In in, const T* x, int64_t n) {
  constexpr int64_t kW = V::kLanes;
  auto v = in(V::Load(x));
  auto sum = V::Mul(v, v);
  for (int64_t i = kW; i + kW <= n; i += kW) {
    v = in(V::Load(x + i));
    sum = V::Fma(v, v, sum);
  }
  const int rest = static_cast<int>(n % kW);
  if (rest == 0) return sum;
  v = in(V::LoadLast(x + n, rest));
  return V::Fma(v, v, sum);
}

// The sums of the squares of `planes` planes of n elements, one behind the other, of which the
// first kLanes are taken: one in each lane, 0 in lanes that are not used. n < kLanes,
template <class V, class Ins, class T>
[[gnu::always_inline]] inline typename V::Reg TotalsOfShortPlanes(Ins ins, const T* x,
                                                                  int64_t planes, int64_t n) {
  constexpr int64_t kW = V::kLanes;
  const bool room = (planes - kW + 1) * n >= kW;  // for a vector from the last one on, too
  if constexpr (kAddsFours<V> && std::is_same_v<Ins, Plain<V>>) {
    if (n == 4 && room) return TotalsOfFours<V>(x);
  }
  const auto lane = LaneNumbers<V>(), end = V::Set(static_cast<typename V::Elem>(n));
  typename V::Reg spread[kW];
#pragma GCC unroll 16
  for (int64_t p = 0; p < kW; ++p, x += n) {
    auto v = V::Zero();
    if (room) {
      v = V::Less(lane, end, V::Load(x), v);
    } else if (p < planes) {
      v = V::LoadPart(x, static_cast<int>(n));
    }
    v = ins.Of(p)(v);
    spread[p] = V::Mul(v, v);
  }
  return V::Totals(spread);
}

// and n from kLanes to 4 * kBlock * kLanes.
template <class V, class Ins, class T>
[[gnu::always_inline]] inline typename V::Reg TotalsOfWholePlanes(Ins ins, const T* x,
                                                                  int64_t planes, int64_t n) {
  constexpr int64_t kW = V::kLanes;
  typename V::Reg spread[kW];
  if (n >= 4 * kW) {
    for (int64_t p = 0; p < kW; ++p, x += n) {
      spread[p] = p < planes ? SquaresOfBlock<V>(ins.Of(p), x, n) : V::Zero();
    }
  } else if (planes < kW) {
    for (int64_t p = 0; p < kW; ++p, x += n) {
      spread[p] = p < planes ? SquaresOfFew<V>(ins.Of(p), x, n) : V::Zero();
    }
  } else {
#pragma GCC unroll 16
    for (int64_t p = 0; p < kW; ++p) spread[p] = SquaresOfFew<V>(ins.Of(p), x + p * n, n);
  }
  return V::Totals(spread);
}

// Of any of these.
template <class V, class Ins, class T>
[[gnu::noinline]] typename V::Reg TotalsOfPlanes(Ins ins, const T* x, int64_t planes, int64_t n) {
  return n < V::kLanes ? TotalsOfShortPlanes<V>(ins, x, planes, n)
                       : TotalsOfWholePlanes<V>(ins, x, planes, n);
}

template <class V, class Ins, class T>
void SumShortPlanes(Ins ins, const T* x, int64_t planes, int64_t n, double* sums) {
  constexpr int64_t kW = V::kLanes;
  for (; planes > 0; planes -= kW, x += kW * n, sums += kW, ins = ins.From(kW)) {
    typename V::Sum total;
    total.Clear();
    total.Add(TotalsOfPlanes<V>(ins, x, planes, n));
    if (planes >= kW) {
      total.AddTo(sums);
    } else {
      total.AddPartTo(sums, static_cast<int>(planes));
    }
  }
}

template <class V, class In, class T>
double SumLongPlane(In in, const T* x, int64_t n) {
  constexpr int64_t kLength = 4 * kBlock * V::kLanes;
  typename V::Sum total;
  total.Clear();
  for (; n > kLength; n -= kLength, x += kLength) total.Add(SquaresOfBlock<V>(in, x, kLength));
  total.Add(SquaresOfBlock<V>(in, x, n));
  return total.Total();
}

template <class V, class Ins, class T>
void SumPlanesBy(Ins ins, const T* x, int64_t planes, int64_t n, double* sums) {
  constexpr int64_t kW = V::kLanes;
  if (n <= kBlock * kW) {
    SumShortPlanes<V>(ins, x, planes, n, sums);
  } else {
    for (int64_t p = 0; p < planes; ++p) sums[p] += SumLongPlane<V>(ins.Of(p), x + p * n, n);
  }
}

template <class V, class T>
void SumPlanes(const T* x, int64_t planes, int64_t n, double* sums) {
  SumPlanesBy<V>(Plain<V>{}, x, planes, n, sums);
}

template <class V, class T>
void SumPlanesScaled(const T* x, int64_t planes, int64_t n, const typename V::Elem* factor,
                     double* sums) {
  SumPlanesBy<V>(Scaled<V, 1>{factor}, x, planes, n, sums);
}
