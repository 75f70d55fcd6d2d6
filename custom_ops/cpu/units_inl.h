// Pixels of blocked tensors: rows of kChannels adjacent columns. Included by kernels_inl.h alone,
// which says how.

// sums[c] += sum of x[i * kChannels + c]^2. Chains of additions as in planes: kBlock squares in
// each, several side by side, which are added to one another, and then in double.
template <class V, int kChannels, class Ins>
void SumPixelsOf(Ins ins, const float* x, int64_t pixels, double* sums) {
  constexpr int kW = V::kLanes, kVectors = kChannels / kW;
  if constexpr (kVectors == 0) {
    SumRowsBy<V>(ins, x, pixels, kChannels, kChannels, sums, false);
  } else {
    constexpr int kChains = kVectors < 4 ? 4 / kVectors : 1;
    const auto add = [&](const float* from, typename V::Reg* sum) {
      for (int k = 0; k < kVectors; ++k) {
        const auto v = ins.At(k * kW)(V::Load(from + k * kW));
        sum[k] = V::Fma(v, v, sum[k]);
      }
    };
    typename V::Sum wide[kVectors];
    for (int k = 0; k < kVectors; ++k) wide[k].Clear();
    for (int64_t rest = pixels; rest > 0; rest -= kChains * kBlock) {
      typename V::Reg sum[kChains][kVectors];
      for (int j = 0; j < kChains; ++j) {
        for (int k = 0; k < kVectors; ++k) sum[j][k] = V::Zero();
      }
      int64_t left = rest < kChains * kBlock ? rest : kChains * kBlock;
      for (; left >= kChains; left -= kChains) {
        for (int j = 0; j < kChains; ++j, x += kChannels) add(x, sum[j]);
      }
      for (int j = 0; j < kChains - 1; ++j) {
        if (j < left) add(x + j * kChannels, sum[j]);
      }
      for (int k = 0; k < kVectors; ++k) {
        for (int j = 1; j < kChains; ++j) sum[0][k] = V::Add(sum[0][k], sum[j][k]);
        wide[k].Add(sum[0][k]);
      }
    }
    for (int k = 0; k < kVectors; ++k) wide[k].AddTo(sums + k * kW);
  }
}

template <class V, int kChannels, bool kStream, class C, class From>
void ApplyPixelsOf(const C& columns, From from, float* y, int64_t pixels) {
  constexpr int kW = V::kLanes, kVectors = kChannels / kW;
  if constexpr (kVectors == 0) {
    ApplyShortRows<V>(columns, from, y, pixels, kChannels, kChannels);
  } else {
    constexpr int kOnce = kVectors < 4 ? 4 / kVectors : 1;
    Affine<V, typename C::In> map[kVectors];
    for (int k = 0; k < kVectors; ++k) map[k] = columns.At(k * kW);
    const auto apply = [&](int64_t i) {
      for (int k = 0; k < kVectors; ++k) {
        const int64_t at = i * kChannels + k * kW;
        Put<V, kStream>(y + at, map[k](LoadFrom<V>(from + at)));
      }
    };
    int64_t i = 0;
    for (; i + kOnce <= pixels; i += kOnce) {
      for (int j = 0; j < kOnce; ++j) apply(i + j);
    }
    for (; i < pixels; ++i) apply(i);
  }
}

// factor: one for each channel, or nullptr.
template <class V>
void SumPixels(const float* x, int64_t pixels, int64_t block, const float* factor, double* sums) {
  const auto sum = [&](auto ins) {
    if (block == 8) {
      SumPixelsOf<V, 8>(ins, x, pixels, sums);
    } else {
      SumPixelsOf<V, 16>(ins, x, pixels, sums);
    }
  };
  if (factor == nullptr) {
    sum(Plain<V>{});
  } else {
    sum(Scaled<V, 1>{factor});
  }
}

template <class V, bool kStream, class Ins>
void ApplyPixelsBy(const Columns<V, Ins>& columns, const float* x, const float* residual, float* y,
                   int64_t pixels, int64_t block) {
  WithOperands<V>(x, residual, [&](auto from) {
    if (block == 8) {
      ApplyPixelsOf<V, 8, kStream>(columns, from, y, pixels);
    } else {
      ApplyPixelsOf<V, 16, kStream>(columns, from, y, pixels);
    }
  });
}

template <class V>
void ApplyPixels(const float* x, const float* residual, float* y, int64_t pixels, int64_t block,
                 const float* factor, const float* scale, const float* shift, const float* tau,
                 bool large) {
  const bool apart = x != y && residual != y;
  if (factor != nullptr) {
    const Columns<V, Scaled<V, 2>> columns = {{factor}, scale, shift, tau};
    ApplyPixelsBy<V, false>(columns, x, residual, y, pixels, block);
    return;
  }
  const Columns<V, Plain<V>> columns = {{}, scale, shift, tau};
  if (large && apart && block % V::kLanes == 0 && Past(y, V::kLanes) == 0) {
    ApplyPixelsBy<V, true>(columns, x, residual, y, pixels, block);
  } else {
    ApplyPixelsBy<V, false>(columns, x, residual, y, pixels, block);
  }
}
