// Transposition. Included by kernels_inl.h alone, which says how.

// At any address, as all that callers give.
template <class Elem>
[[gnu::always_inline]] inline void CopyElement(const Elem* from, Elem* to) {
  __builtin_memcpy(to, from, sizeof(Elem));
}

template <class V, class Elem = typename V::Elem>
void Transpose(const Elem* in, int64_t rows, int64_t cols, int64_t in_stride, Elem* out,
               int64_t out_stride) {
  constexpr int64_t kW = V::kLanes;
  int64_t r = 0;
  for (; r + kW <= rows; r += kW, in += kW * in_stride, out += kW) {
    int64_t c = 0;
    for (; c + kW <= cols; c += kW) {
      typename V::Reg tile[kW];
      for (int64_t i = 0; i < kW; ++i) tile[i] = V::Load(in + i * in_stride + c);
      V::Transpose(tile);
      for (int64_t i = 0; i < kW; ++i) V::Store(out + (c + i) * out_stride, tile[i]);
    }
    for (; c < cols; ++c) {
      for (int64_t i = 0; i < kW; ++i)
        CopyElement(in + i * in_stride + c, out + c * out_stride + i);
    }
  }
  for (; r < rows; ++r, in += in_stride, ++out) {
    for (int64_t c = 0; c < cols; ++c) CopyElement(in + c, out + c * out_stride);
  }
}
