// Sums of squares of planes. Included by kernels_inl.h alone, which says how.

// The squares of kPlanes planes of n <= kBlock * kLanes elements, side by side, each still spread
// over the lanes: the planes' chains of additions hide one another's latency. kRoom: kLanes
// elements may be read from the last plane on, too.
template <class V, int kPlanes, bool kRoom, class Ins, class T>
void SquaresOfPlanes(Ins ins, const T* x, int64_t n, typename V::Reg* sum) {
  constexpr int64_t kW = V::kLanes;
  const int rest = static_cast<int>(n % kW);
  const auto first = [&](int p, typename V::Reg v) {
    v = ins.Of(p)(v);
    sum[p] = V::Mul(v, v);
  };
  const auto next = [&](int p, typename V::Reg v) {
    v = ins.Of(p)(v);
    sum[p] = V::Fma(v, v, sum[p]);
  };
  if (n < kW) {
    typename V::Elem index[kW];
    for (int i = 0; i < kW; ++i) index[i] = static_cast<typename V::Elem>(i);
    const auto lane = V::Load(index), count = V::Set(static_cast<typename V::Elem>(n));
    for (int p = 0; p < kPlanes; ++p) {
      const T* plane = x + p * n;
      first(p, kRoom ? V::Less(lane, count, V::Load(plane), V::Zero()) : V::LoadPart(plane, rest));
    }
    return;
  }
  for (int p = 0; p < kPlanes; ++p) first(p, V::Load(x + p * n));
  for (int64_t i = kW; i + kW <= n; i += kW) {
    for (int p = 0; p < kPlanes; ++p) next(p, V::Load(x + p * n + i));
  }
  if (rest == 0) return;
  for (int p = 0; p < kPlanes; ++p) next(p, V::LoadLast(x + p * n + n, rest));
}

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

template <class V, class Ins, class T>
void SumShortPlanes(Ins ins, const T* x, int64_t planes, int64_t n, double* sums) {
  constexpr int kW = V::kLanes;
  constexpr int kBeside = kW < 4 ? kW : 4;  // of more planes, memory's prefetchers lose the thread
  typename V::Reg spread[kW];
  typename V::Sum total;
  for (; planes >= kW; planes -= kW, x += kW * n, sums += kW, ins = ins.From(kW)) {
    const bool room = (planes - kW + 1) * n >= kW;
    for (int p = 0; p < kW; p += kBeside) {
      if (room) {
        SquaresOfPlanes<V, kBeside, true>(ins.From(p), x + p * n, n, spread + p);
      } else {
        SquaresOfPlanes<V, kBeside, false>(ins.From(p), x + p * n, n, spread + p);
      }
    }
    total.Clear();
    total.Add(V::Totals(spread));
    total.AddTo(sums);
  }
  if (planes == 0) return;
  for (int p = 0; p < kW; ++p) spread[p] = V::Zero();
  for (int p = 0; p < planes; ++p)
    SquaresOfPlanes<V, 1, false>(ins.From(p), x + p * n, n, spread + p);
  total.Clear();
  total.Add(V::Totals(spread));
  total.AddPartTo(sums, static_cast<int>(planes));
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
