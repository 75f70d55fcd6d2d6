// Where the second pass reads what an element of y is made of: x alone, or x and a residual. Both
// move as a pointer does, and what they give is what Affine maps. Included by kernels_inl.h alone,
// which says how.

template <class V, class T>
struct XAlone {
  using Reg = typename V::Reg;
  using Values = Reg;

  const T* x;

  XAlone operator+(int64_t n) const { return {x + n}; }
  // With what x became: of the kLanes elements from here on, of the first n < kLanes, and of
  // 2 * kLanes in the order in which LoadTwo loads T.
  Values With(Reg v) const { return v; }
  Values WithPart(Reg v, int) const { return v; }
  void WithTwo(Reg v, Reg w, Values* a, Values* b) const {
    *a = v;
    *b = w;
  }
};

template <class V, class T>
struct XAndResidual {
  using Reg = typename V::Reg;
  struct Values {
    Reg x, residual;
  };

  const T *x, *residual;

  XAndResidual operator+(int64_t n) const { return {x + n, residual + n}; }
  Values With(Reg v) const { return {v, V::Load(residual)}; }
  Values WithPart(Reg v, int n) const { return {v, V::LoadPart(residual, n)}; }
  void WithTwo(Reg v, Reg w, Values* a, Values* b) const {
    a->x = v;
    b->x = w;
    LoadTwo<V>(residual, &a->residual, &b->residual);
  }
};

// x as it is, with what belongs to it.
template <class V, class From>
typename From::Values LoadFrom(From from) {
  return from.With(V::Load(from.x));
}
template <class V, class From>
typename From::Values LoadPartFrom(From from, int n) {
  return from.WithPart(V::LoadPart(from.x, n), n);
}
template <class V, class From>
void LoadTwoFrom(From from, typename From::Values* a, typename From::Values* b) {
  typename V::Reg v, w;
  LoadTwo<V>(from.x, &v, &w);
  from.WithTwo(v, w, a, b);
}

// apply(from) with what there is; a residual of nullptr is none.
template <class V, class T, class F>
void WithOperands(const T* x, const T* residual, F&& apply) {
  if (residual == nullptr) {
    apply(XAlone<V, T>{x});
  } else {
    apply(XAndResidual<V, T>{x, residual});
  }
}

// What becomes of the elements of one plane, or of a vector of columns.
template <class V, class In>
struct Affine {
  using Reg = typename V::Reg;

  In in;
  Reg scale, shift, tau;

  Reg operator()(Reg x) const { return V::Max(V::Fma(in(x), scale, shift), tau); }
  // Of x and a residual.
  template <class Values>
  Reg operator()(const Values& v) const {
    return V::Max(V::Add(V::Fma(in(v.x), scale, shift), v.residual), tau);
  }
};
