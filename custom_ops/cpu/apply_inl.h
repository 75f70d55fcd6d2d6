// The second pass: y = max(x * scale + shift, tau). Included by kernels_inl.h alone, which says
// how.

// kStream: past the caches; p is aligned to a vector.
template <class V, bool kStream, class T>
void Put(T* p, typename V::Reg r) {
  if constexpr (kStream) {
    V::Stream(p, r);
  } else {
    V::Store(p, r);
  }
}

template <class V, class T>
bool IsAligned(const T* p) {
  return reinterpret_cast<uintptr_t>(p) % (V::kLanes * sizeof(T)) == 0;
}

// The cache lines of kVectors vectors from p on, which need not be memory of ours.
template <class V, int kVectors, class T>
void Prefetch(const T* p) {
  constexpr int kBytes = kVectors * V::kLanes * static_cast<int>(sizeof(T));
  for (int at = 0; at < kBytes; at += 64) {
    __builtin_prefetch(reinterpret_cast<const char*>(p) + at);
  }
}

// A plane of n >= kLanes elements.
template <class V, bool kStream, class T>
void ApplyPlane(const T* x, T* y, int64_t n, int64_t ahead, typename V::Reg s, typename V::Reg b,
                typename V::Reg t) {
  constexpr int64_t kW = V::kLanes;
  const auto last = V::Max(V::Fma(V::Load(x + n - kW), s, b), t);
  int64_t i = 0;
  if constexpr (kStream) {
    V::Store(y, V::Max(V::Fma(V::Load(x), s, b), t));
    while (!IsAligned<V>(y + i)) ++i;
  }
  for (; i + 4 * kW <= n; i += 4 * kW) {
    if constexpr (kStream) Prefetch<V, 4>(x + i + ahead);
    const auto x0 = V::Load(x + i), x1 = V::Load(x + i + kW), x2 = V::Load(x + i + 2 * kW),
               x3 = V::Load(x + i + 3 * kW);
    Put<V, kStream>(y + i, V::Max(V::Fma(x0, s, b), t));
    Put<V, kStream>(y + i + kW, V::Max(V::Fma(x1, s, b), t));
    Put<V, kStream>(y + i + 2 * kW, V::Max(V::Fma(x2, s, b), t));
    Put<V, kStream>(y + i + 3 * kW, V::Max(V::Fma(x3, s, b), t));
  }
  for (; i + kW <= n; i += kW) {
    Put<V, kStream>(y + i, V::Max(V::Fma(V::Load(x + i), s, b), t));
  }
  if (i < n) V::Store(y + n - kW, last);
}

template <class V, class T>
void ApplyPlanes(const T* x, T* y, int64_t planes, int64_t n, int64_t ahead,
                 const typename V::Elem* scale, const typename V::Elem* shift,
                 const typename V::Elem* tau, bool large) {
  const bool stream = large && x != y;
  for (int64_t p = 0; p < planes; ++p, x += n, y += n) {
    const auto s = V::Set(scale[p]), b = V::Set(shift[p]), t = V::Set(tau[p]);
    if (n < V::kLanes) {
      const int count = static_cast<int>(n);
      V::StorePart(y, V::Max(V::Fma(V::LoadPart(x, count), s, b), t), count);
    } else if (stream) {
      ApplyPlane<V, true>(x, y, n, ahead, s, b, t);
    } else {
      ApplyPlane<V, false>(x, y, n, ahead, s, b, t);
    }
  }
}

// Rows of kVectors * kLanes columns: scale, shift and tau stay in registers.
template <class V, int kVectors, bool kStream, class T>
void ApplyNarrowRows(const T* x, T* y, int64_t rows, int64_t stride, int64_t ahead,
                     const typename V::Elem* scale, const typename V::Elem* shift,
                     const typename V::Elem* tau) {
  constexpr int64_t kW = V::kLanes;
  typename V::Reg s[kVectors], b[kVectors], t[kVectors];
  for (int k = 0; k < kVectors; ++k) {
    s[k] = V::Load(scale + k * kW);
    b[k] = V::Load(shift + k * kW);
    t[k] = V::Load(tau + k * kW);
  }
  for (int64_t r = 0; r < rows; ++r, x += stride, y += stride) {
    if constexpr (kStream) Prefetch<V, kVectors>(x + ahead);
    for (int k = 0; k < kVectors; ++k) {
      Put<V, kStream>(y + k * kW, V::Max(V::Fma(V::Load(x + k * kW), s[k], b[k]), t[k]));
    }
  }
}

// kRows rows of at least kLanes columns: scale, shift and tau are loaded once for all of them.
template <class V, int kRows, bool kStream, class T>
void ApplyWideRows(const T* x, T* y, int64_t cols, int64_t stride, int64_t ahead,
                   const typename V::Elem* scale, const typename V::Elem* shift,
                   const typename V::Elem* tau) {
  constexpr int64_t kW = V::kLanes;
  const int64_t end = cols - kW;
  typename V::Reg last[kRows];
  const auto se = V::Load(scale + end), be = V::Load(shift + end), te = V::Load(tau + end);
  for (int r = 0; r < kRows; ++r) {
    last[r] = V::Max(V::Fma(V::Load(x + r * stride + end), se, be), te);
  }
  for (int64_t c = 0; c <= end; c += kW) {
    const auto s = V::Load(scale + c), b = V::Load(shift + c), t = V::Load(tau + c);
    for (int r = 0; r < kRows; ++r) {
      const int64_t i = r * stride + c;
      if constexpr (kStream) Prefetch<V, 1>(x + i + ahead);
      Put<V, kStream>(y + i, V::Max(V::Fma(V::Load(x + i), s, b), t));
    }
  }
  if (cols % kW == 0) return;
  for (int r = 0; r < kRows; ++r) V::Store(y + r * stride + end, last[r]);
}

// Rows of fewer than kLanes columns.
template <class V, class T>
void ApplyShortRows(const T* x, T* y, int64_t rows, int64_t cols, int64_t stride,
                    const typename V::Elem* scale, const typename V::Elem* shift,
                    const typename V::Elem* tau) {
  const int n = static_cast<int>(cols);
  const auto s = V::LoadPart(scale, n), b = V::LoadPart(shift, n), t = V::LoadPart(tau, n);
  for (int64_t r = 0; r < rows; ++r, x += stride, y += stride) {
    V::StorePart(y, V::Max(V::Fma(V::LoadPart(x, n), s, b), t), n);
  }
}

template <class V, bool kStream, class T>
void ApplyLongRows(const T* x, T* y, int64_t rows, int64_t cols, int64_t stride, int64_t ahead,
                   const typename V::Elem* scale, const typename V::Elem* shift,
                   const typename V::Elem* tau, bool large) {
  if (cols == 4 * V::kLanes) {
    ApplyNarrowRows<V, 4, kStream>(x, y, rows, stride, ahead, scale, shift, tau);
    return;
  }
  if (V::kRegisters > 16 && cols == 8 * V::kLanes) {
    ApplyNarrowRows<V, (V::kRegisters > 16 ? 8 : 1), kStream>(x, y, rows, stride, ahead, scale,
                                                              shift, tau);
    return;
  }
  if (!large) {  // as in SumWideBlock
    for (; rows >= 2; rows -= 2, x += 2 * stride, y += 2 * stride) {
      ApplyWideRows<V, 2, kStream>(x, y, cols, stride, ahead, scale, shift, tau);
    }
  }
  for (; rows > 0; --rows, x += stride, y += stride) {
    ApplyWideRows<V, 1, kStream>(x, y, cols, stride, ahead, scale, shift, tau);
  }
}

template <class V, class T>
void ApplyRows(const T* x, T* y, int64_t rows, int64_t cols, int64_t stride, int64_t ahead,
               const typename V::Elem* scale, const typename V::Elem* shift,
               const typename V::Elem* tau, bool large) {
  if (cols < V::kLanes) {
    ApplyShortRows<V>(x, y, rows, cols, stride, scale, shift, tau);
  } else if (large && x != y && stride % V::kLanes == 0 && IsAligned<V>(y)) {
    ApplyLongRows<V, true>(x, y, rows, cols, stride, ahead, scale, shift, tau, large);
  } else {
    ApplyLongRows<V, false>(x, y, rows, cols, stride, ahead, scale, shift, tau, large);
  }
}

// x / sqrt(x^2 + epsilon) in double, for the lanes whose square is no good float.
template <class V>
typename V::Reg ExactUnit(typename V::Reg x, typename V::Reg epsilon) {
  typename V::Elem value[V::kLanes], added[V::kLanes];
  V::Store(value, x);
  V::Store(added, epsilon);
  for (int i = 0; i < V::kLanes; ++i) {
    const double wide = value[i];
    value[i] = static_cast<typename V::Elem>(wide / __builtin_sqrt(wide * wide + added[i]));
  }
  return V::Load(value);
}

template <class V>
typename V::Reg Single(typename V::Reg x, typename V::Reg gamma, typename V::Reg beta,
                       typename V::Reg tau, typename V::Reg epsilon) {
  const auto radicand = V::Fma(x, x, epsilon);
  const auto unit =
      V::Trusted(radicand) ? V::Mul(x, V::InvSqrt(radicand)) : ExactUnit<V>(x, epsilon);
  return V::Max(V::Fma(unit, gamma, beta), tau);
}

template <class V, int kRows, class T>
void SingleRowBlock(const T* x, T* y, int64_t cols, const typename V::Elem* gamma,
                    const typename V::Elem* beta, const typename V::Elem* tau,
                    const typename V::Elem* epsilon) {
  constexpr int64_t kW = V::kLanes;
  int64_t c = 0;
  for (; c + kW <= cols; c += kW) {
    const auto g = V::Load(gamma + c), b = V::Load(beta + c), t = V::Load(tau + c),
               e = V::Load(epsilon + c);
    for (int64_t i = c; i < kRows * cols; i += cols) {
      V::Store(y + i, Single<V>(V::Load(x + i), g, b, t, e));
    }
  }
  if (c == cols) return;
  const int rest = static_cast<int>(cols - c);
  typename V::Elem padded[kW];  // epsilon of the lanes not used, which would make 0 / 0
  for (int64_t i = 0; i < kW; ++i) padded[i] = i < rest ? epsilon[c + i] : 1;
  const auto g = V::LoadPart(gamma + c, rest), b = V::LoadPart(beta + c, rest),
             t = V::LoadPart(tau + c, rest), e = V::Load(padded);
  for (int64_t i = c; i < kRows * cols; i += cols) {
    V::StorePart(y + i, Single<V>(V::LoadPart(x + i, rest), g, b, t, e), rest);
  }
}

template <class V, class T>
void ApplySingle(const T* x, T* y, int64_t rows, int64_t cols, const typename V::Elem* gamma,
                 const typename V::Elem* beta, const typename V::Elem* tau,
                 const typename V::Elem* epsilon) {
  for (; rows >= 4; rows -= 4, x += 4 * cols, y += 4 * cols) {
    SingleRowBlock<V, 4>(x, y, cols, gamma, beta, tau, epsilon);
  }
  for (; rows > 0; --rows, x += cols, y += cols) {
    SingleRowBlock<V, 1>(x, y, cols, gamma, beta, tau, epsilon);
  }
}
