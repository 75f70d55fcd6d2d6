// The second pass over planes: y = max(x * scale + shift, tau). Included by kernels_inl.h alone,
// which says how.

// What becomes of the elements of one plane, or of a vector of columns.
template <class V, class In>
struct Affine {
  In in;
  typename V::Reg scale, shift, tau;

  typename V::Reg operator()(typename V::Reg x) const {
    return V::Max(V::Fma(in(x), scale, shift), tau);
  }
};

// A plane of n >= kLanes elements.
template <class V, bool kStream, class Map, class T>
void ApplyPlane(const Map& map, const T* x, T* y, int64_t n, int64_t ahead) {
  constexpr int64_t kW = V::kLanes;
  const auto last = map(V::Load(x + n - kW));
  int64_t i = 0;
  if constexpr (kStream) {
    V::Store(y, map(V::Load(x)));
    i = ElementsToAligned<V>(y);
  }
  typename V::Reg x0, x1, x2, x3;
  for (; i + 4 * kW <= n; i += 4 * kW) {
    if constexpr (kStream) Prefetch<V, 4>(x + i + ahead);
    LoadTwo<V>(x + i, &x0, &x1);
    LoadTwo<V>(x + i + 2 * kW, &x2, &x3);
    PutTwo<V, kStream>(y + i, map(x0), map(x1));
    PutTwo<V, kStream>(y + i + 2 * kW, map(x2), map(x3));
  }
  if (i + 2 * kW <= n) {
    LoadTwo<V>(x + i, &x0, &x1);
    PutTwo<V, kStream>(y + i, map(x0), map(x1));
    i += 2 * kW;
  }
  if (i + kW <= n) {
    Put<V, kStream>(y + i, map(V::Load(x + i)));
    i += kW;
  }
  if (i < n) V::Store(y + n - kW, last);
}

template <class V, bool kStream, class Ins, class T>
void ApplyPlanesBy(Ins ins, const T* x, T* y, int64_t planes, int64_t n, int64_t ahead,
                   const typename V::Elem* scale, const typename V::Elem* shift,
                   const typename V::Elem* tau) {
  for (int64_t p = 0; p < planes; ++p, x += n, y += n) {
    const Affine<V, decltype(ins.Of(p))> map = {ins.Of(p), V::Set(scale[p]), V::Set(shift[p]),
                                                V::Set(tau[p])};
    if (n < V::kLanes) {
      const int count = static_cast<int>(n);
      V::StorePart(y, map(V::LoadPart(x, count)), count);
    } else {
      ApplyPlane<V, kStream>(map, x, y, n, ahead);
    }
  }
}

template <class V, class T>
void ApplyPlanes(const T* x, T* y, int64_t planes, int64_t n, int64_t ahead,
                 const typename V::Elem* scale, const typename V::Elem* shift,
                 const typename V::Elem* tau, bool large) {
  if (large && x != y && IsElementAligned(y)) {
    ApplyPlanesBy<V, true>(Plain<V>{}, x, y, planes, n, ahead, scale, shift, tau);
  } else {
    ApplyPlanesBy<V, false>(Plain<V>{}, x, y, planes, n, ahead, scale, shift, tau);
  }
}

template <class V, class T>
void ApplyPlanesScaled(const T* x, T* y, int64_t planes, int64_t n, const typename V::Elem* factor,
                       const typename V::Elem* scale, const typename V::Elem* shift,
                       const typename V::Elem* tau) {
  ApplyPlanesBy<V, false>(Scaled<V, 2>{factor}, x, y, planes, n, 0, scale, shift, tau);
}
