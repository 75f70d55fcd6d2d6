// FRN at once of what is at hand: planes or columns, one in each lane of a vector. Included by
// kernels_inl.h alone, which says how.
//
// A part of the tensor that is normalised so has
//   Mean() Mean(factor)   the means of the squares of x, or of x * factor
//   Apply(in, scale)      sets y = max(in(x) * scale + beta + residual, tau)

// mean: of the squares as they are. False, and nothing is done, where it is not to be relied on.
template <class V, class T, class Part>
[[gnu::always_inline]] inline bool ApplyUsual(const Part& part, typename V::Reg gamma,
                                              typename V::Reg epsilon, typename V::Reg mean) {
  const auto radicand = V::Add(mean, epsilon);
  const auto scale = V::Div(gamma, V::Sqrt(radicand));
  if (!Reliable<V, T>(radicand, scale, gamma)) return false;
  part.Apply(Plain<V>{}, scale);
  return true;
}

// Where the scale is not to be relied on, or is not expected to be. guess: the factor to be tried;
// where it is 1, mean is that of the squares as they are. Returns the factor that all lanes ask
// for, or 1.
template <class V, class T, class Part>
[[gnu::noinline]] typename V::Elem ApplyScaled(const Part& part, typename V::Reg gamma,
                                               typename V::Reg epsilon, typename V::Elem guess,
                                               typename V::Reg mean) {
  auto factor = V::Set(guess);
  if (guess != 1) {
    mean = part.Mean(factor);
    if (!IsFactor<V>(mean, epsilon, guess)) {
      mean = part.Mean();
      guess = 1;
    }
  }
  if (guess == 1) {
    factor = SumFactor<V, T>(mean, epsilon);
    if (!AllOf<V>(factor, 1)) mean = part.Mean(factor);
    guess = AllOf<V>(factor, kTiny) ? kTiny : AllOf<V>(factor, kHuge) ? kHuge : 1;
  }
  typename V::Reg scale;
  Rescale<V, T>(mean, gamma, epsilon, &factor, &scale);
  if (AllOf<V>(factor, 1)) {
    part.Apply(Plain<V>{}, scale);
  } else {
    part.Apply(Factor<V, 2>{factor}, scale);
  }
  return guess;
}

// guess: what the part before asked for. Whatever made it huge, tiny or dead is likely to go on;
// what a part becomes does not depend on it. Returns what this one asked for.
template <class V, class T, class Part>
[[gnu::always_inline]] inline typename V::Elem ApplyAtOnce(const Part& part, typename V::Reg gamma,
                                                           typename V::Reg epsilon,
                                                           typename V::Elem guess) {
  auto mean = V::Zero();
  if (guess == 1) {
    mean = part.Mean();
    if (ApplyUsual<V, T>(part, gamma, epsilon, mean)) return 1;
  }
  return ApplyScaled<V, T>(part, gamma, epsilon, guess, mean);
}
