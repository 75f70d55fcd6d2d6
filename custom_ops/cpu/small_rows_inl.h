// FRN of planes of a few elements, of which rows are adjacent: all of it, vector by vector of
// columns. Included by kernels_inl.h alone, which says how.

// How a vector of columns is read and written: all kLanes of them;
template <class V>
struct AllColumns {
  using Reg = typename V::Reg;

  template <class X>
  Reg Load(const X* x) const {
    return V::Load(x);
  }
  template <class From>
  typename From::Values Values(From from) const {
    return LoadFrom<V>(from);
  }
  template <class Y>
  void Store(Y* y, Reg r) const {
    V::Store(y, r);
  }
};

// the first n alone;
template <class V>
struct FirstColumns {
  using Reg = typename V::Reg;

  int n;

  template <class X>
  Reg Load(const X* x) const {
    return V::LoadPart(x, n);
  }
  template <class From>
  typename From::Values Values(From from) const {
    return LoadPartFrom<V>(from, n);
  }
  template <class Y>
  void Store(Y* y, Reg r) const {
    V::StorePart(y, r, n);
  }
};

// the first n, where there are kLanes: the others are stored as they were. Many CPUs take several
// times as long for less than a vector.
template <class V>
struct FirstColumnsOfMore : AllColumns<V> {
  using Reg = typename V::Reg;

  Reg lane, n;

  explicit FirstColumnsOfMore(int columns) : lane(LaneNumbers<V>()), n(V::Set(columns)) {}
  template <class Y>
  void Store(Y* y, Reg r) const {
    V::Store(y, V::Less(lane, n, r, V::Load(y)));
  }
};

// A vector of columns of samples. x and y are of T, or widened.
template <class V, class T, class C>
struct FewRows {
  using Reg = typename V::Reg;
  using Elem = typename V::Elem;

  int64_t rows, stride;
  C columns;
  Reg inverse, gamma, beta, tau, epsilon;

  // No aggregate: compilers clear one before they set it, which takes as long as a small sample.
  FewRows(int64_t rows, int64_t stride, C columns, Reg inverse, Reg gamma, Reg beta, Reg tau,
          Reg epsilon)
      : rows(rows),
        stride(stride),
        columns(columns),
        inverse(inverse),
        gamma(gamma),
        beta(beta),
        tau(tau),
        epsilon(epsilon) {}

  template <class X>
  Reg Mean(const X* x, Reg factor) const {
    auto a = V::Zero(), b = V::Zero(), c = V::Zero(), d = V::Zero();
    const auto next = [&](Reg* sum) {
      const auto v = V::Mul(columns.Load(x), factor);
      *sum = V::Fma(v, v, *sum);
      x += stride;
    };
    int64_t r = rows;
    for (; r >= 4; r -= 4) {
      next(&a);
      next(&b);
      next(&c);
      next(&d);
    }
    if (r > 0) next(&a);
    if (r > 1) next(&b);
    if (r > 2) next(&c);
    return V::Mul(V::Add(V::Add(a, b), V::Add(c, d)), inverse);
  }

  // Several rows are loaded before the first of them is stored: in place, a load that a store
  // before it might reach into waits for that.
  template <int kRows, class Map, class From, class Y>
  void ApplyTo(const Map& map, From* from, Y** y) const {
    typename From::Values v[kRows];
    for (int r = 0; r < kRows; ++r) v[r] = columns.Values(*from + r * stride);
    for (int r = 0; r < kRows; ++r) columns.Store(*y + r * stride, map(v[r]));
    *from = *from + kRows * stride;
    *y += kRows * stride;
  }

  template <class In, class From, class Y>
  void Apply(In in, Reg scale, From from, Y* y) const {
    const Affine<V, In> map = {in, scale, beta, tau};
    int64_t r = rows;
    for (; r >= 4; r -= 4) ApplyTo<4>(map, &from, &y);
    for (; r > 0; --r) ApplyTo<1>(map, &from, &y);
  }

  // A part (at_once_inl.h): one sample.
  template <class From, class Y>
  struct Sample {
    const FewRows& few;
    From from;
    Y* y;

    Reg Mean() const { return few.Mean(from.x, V::Set(1)); }
    Reg Mean(Reg factor) const { return few.Mean(from.x, factor); }
    template <class In>
    void Apply(In in, Reg scale) const {
      few.Apply(in, scale, from, y);
    }
  };

  // guess: as ApplyAtOnce has it.
  template <class From, class Y>
  Elem Samples(From from, Y* y, int64_t samples, Elem guess) const {
    const int64_t size = rows * stride;
    for (; samples > 0; --samples, from = from + size, y += size) {
      guess = ApplyAtOnce<V, T>(Sample<From, Y>{*this, from, y}, gamma, epsilon, guess);
    }
    return guess;
  }
};

// Of samples whose pixels are less than a vector, kLanes are taken at once, one in each lane.
// Theirs are tiles: element i of all of them is at i * kLanes.

constexpr int64_t kTileSize = 1024;  // the most elements of such a sample

// f(i) for vectors that cover `size` >= kLanes elements; the last one may overlap.
template <class V, class F>
void ForVectors(int64_t size, F&& f) {
  int64_t i = 0;
  for (; i + V::kLanes < size; i += V::kLanes) f(i);
  f(size - V::kLanes);
}

// A sample shorter than a vector is loaded and stored with the beginning of the next one, which is
// stored after it. Whether that is still in the tile.
template <class V>
bool HasNext(int64_t n, int64_t size) {
  return n * size + V::kLanes <= V::kLanes * size;
}

template <class V, class T>
[[gnu::noinline]] void LoadShortTile(const T* x, int64_t size, typename V::Elem* tile) {
  typename V::Reg r[V::kLanes];
  for (int64_t n = 0; n < V::kLanes; ++n) {
    const T* sample = x + n * size;
    r[n] = HasNext<V>(n, size) ? V::Load(sample) : V::LoadPart(sample, static_cast<int>(size));
  }
  V::Transpose(r);
  for (int64_t k = 0; k < size; ++k) V::Store(tile + k * V::kLanes, r[k]);
}

template <class V, class T>
[[gnu::noinline]] void StoreShortTile(const typename V::Elem* tile, int64_t size, T* y) {
  typename V::Reg r[V::kLanes];
  for (int64_t k = 0; k < V::kLanes; ++k) r[k] = V::Load(tile + (k < size ? k : 0) * V::kLanes);
  V::Transpose(r);
  for (int64_t n = 0; n < V::kLanes; ++n) {
    if (HasNext<V>(n, size)) {
      V::Store(y + n * size, r[n]);
    } else {
      V::StorePart(y + n * size, r[n], static_cast<int>(size));
    }
  }
}

template <class V, class T>
void LoadTile(const T* x, int64_t size, typename V::Elem* tile) {
  if (size < V::kLanes) return LoadShortTile<V>(x, size, tile);
  ForVectors<V>(size, [=](int64_t i) {
    typename V::Reg r[V::kLanes];
    for (int64_t n = 0; n < V::kLanes; ++n) r[n] = V::Load(x + n * size + i);
    V::Transpose(r);
    for (int64_t k = 0; k < V::kLanes; ++k) V::Store(tile + (i + k) * V::kLanes, r[k]);
  });
}

template <class V, class T>
void StoreTile(const typename V::Elem* tile, int64_t size, T* y) {
  if (size < V::kLanes) return StoreShortTile<V>(tile, size, y);
  ForVectors<V>(size, [=](int64_t i) {
    typename V::Reg r[V::kLanes];
    for (int64_t k = 0; k < V::kLanes; ++k) r[k] = V::Load(tile + (i + k) * V::kLanes);
    V::Transpose(r);
    for (int64_t n = 0; n < V::kLanes; ++n) V::Store(y + n * size + i, r[n]);
  });
}

// Loads what there is; room is for two tiles.
template <class V, class T, class Elem>
XAlone<V, Elem> LoadTiles(XAlone<V, T> from, int64_t size, Elem* room) {
  LoadTile<V>(from.x, size, room);
  return {room};
}
template <class V, class T, class Elem>
XAndResidual<V, Elem> LoadTiles(XAndResidual<V, T> from, int64_t size, Elem* room) {
  Elem* const residual = room + size * V::kLanes;
  LoadTile<V>(from.x, size, room);
  LoadTile<V>(from.residual, size, residual);
  return {room, residual};
}

// Vectors of 16 lanes come with masks: more than half of one is faster by itself, but not in place,
// where loads wait for stores.
template <class V>
bool AreTilesFaster(bool in_place, int64_t cols) {
  if (V::kLanes == 16 && !in_place) return cols * 2 <= V::kLanes;
  return cols < V::kLanes;
}

// As many times kLanes samples as there are: how many that is.
template <class V, class From, class T>
int64_t ApplyByTiles(From from, T* y, int64_t samples, int64_t rows, int64_t cols,
                     typename V::Reg inverse, const typename V::Elem* gamma,
                     const typename V::Elem* beta, const typename V::Elem* tau,
                     const typename V::Elem* epsilon) {
  constexpr int64_t kW = V::kLanes;
  const int64_t size = rows * cols;
  alignas(64) typename V::Elem room[2 * kTileSize * kW];
  typename V::Elem guess = 1;
  int64_t n = 0;
  for (; n + kW <= samples; n += kW, from = from + kW * size, y += kW * size) {
    const auto tiles = LoadTiles(from, size, room);
    for (int64_t c = 0; c < cols; ++c) {
      const FewRows<V, T, AllColumns<V>> few(rows, cols * kW, {}, inverse, V::Set(gamma[c]),
                                             V::Set(beta[c]), V::Set(tau[c]), V::Set(epsilon[c]));
      guess = few.Samples(tiles + c * kW, room + c * kW, 1, guess);
    }
    StoreTile<V>(room, size, y);
  }
  return n;
}

template <class V, class T>
void ApplyFewRows(const T* x, const T* residual, T* y, int64_t samples, int64_t rows, int64_t cols,
                  const typename V::Elem* gamma, const typename V::Elem* beta,
                  const typename V::Elem* tau, const typename V::Elem* epsilon) {
  using Elem = typename V::Elem;
  constexpr int64_t kW = V::kLanes;
  const auto inverse = V::Set(static_cast<Elem>(1) / static_cast<Elem>(rows));
  WithOperands<V>(x, residual, [&](auto from) {
    if constexpr (sizeof(Elem) == sizeof(float)) {
      const int64_t size = rows * cols;
      if (size <= kTileSize && AreTilesFaster<V>(x == y || residual == y, cols)) {
        const int64_t done =
            ApplyByTiles<V>(from, y, samples, rows, cols, inverse, gamma, beta, tau, epsilon);
        from = from + done * size;
        y += done * size;
        samples -= done;
      }
    }
    int64_t c = 0;
    for (; c + kW <= cols; c += kW) {
      const FewRows<V, T, AllColumns<V>> few(rows, cols, {}, inverse, V::Load(gamma + c),
                                             V::Load(beta + c), V::Load(tau + c),
                                             V::Load(epsilon + c));
      few.Samples(from + c, y + c, samples, 1);
    }
    if (c == cols) return;
    const int rest = static_cast<int>(cols - c);
    const auto apply = [&](auto columns, auto from, T* y, int64_t samples, Elem guess) {
      const FewRows<V, T, decltype(columns)> few(
          rows, cols, columns, inverse, V::LoadPart(gamma + c, rest), V::LoadPart(beta + c, rest),
          V::LoadPart(tau + c, rest), FillUp<V>(epsilon + c, rest));
      return few.Samples(from, y, samples, guess);
    };
    // Behind the last columns of a sample those of the next begin. Where a vector would reach into
    // its own next row's, loads would wait for the stores before them.
    const int64_t size = rows * cols, first = cols > kW ? samples - 1 : 0;
    const auto guess =
        apply(FirstColumnsOfMore<V>(rest), from + c, y + c, first, static_cast<Elem>(1));
    apply(FirstColumns<V>{rest}, from + (first * size + c), y + first * size + c, samples - first,
          guess);
  });
}
