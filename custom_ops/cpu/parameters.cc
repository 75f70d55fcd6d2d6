#include "cpu/parameters.h"

#include <algorithm>
#include <cstring>
#include <limits>

namespace frn {
namespace {

// `values` from `first` on, which need no alignment, or `absent` for every channel.
template <class A>
void Fill(const A* values, int64_t first, A absent, int64_t channels, A* out) {
  if (values == nullptr) {
    std::fill_n(out, channels, absent);
  } else if (channels > 0) {
    std::memcpy(out, values + first, channels * sizeof(A));
  }
}

// Any NaN becomes the usual one. Written so that the compiler makes vectors of it.
template <class A>
void SettleNans(A* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    values[i] = values[i] == values[i] ? values[i] : std::numeric_limits<A>::quiet_NaN();
  }
}

}  // namespace

template <class A>
Parameters<A>::Parameters(const FrnParams<A>& params, int64_t channels, int64_t repeats,
                          int64_t groups)
    : channels_(channels),
      repeats_(repeats),
      groups_(groups),
      values_(new A[groups * 2 * (1 + repeats) * channels]) {
  for (int64_t g = 0; g < groups; ++g) {
    Set(params, g * channels, values_.get() + g * 2 * (1 + repeats) * channels);
  }
}

template <class A>
void Parameters<A>::Set(const FrnParams<A>& params, int64_t first, A* values) const {
  const int64_t channels = channels_;
  A* const gamma = values;
  A* const epsilon = gamma + channels;
  A* const shift = epsilon + channels;
  A* const tau = shift + repeats_ * channels;
  Fill(params.gamma, first, A{0}, channels, gamma);
  Fill(params.epsilon, first, params.epsilon_scalar, channels, epsilon);
  Fill(params.beta, first, A{0}, channels, shift);
  Fill(params.tau, first, -std::numeric_limits<A>::infinity(), channels, tau);
  for (int64_t c = 0; c < channels; ++c) shift[c] = tau[c] == tau[c] ? shift[c] : tau[c];
  SettleNans(gamma, 3 * channels);
  for (int64_t i = channels; i < repeats_ * channels; ++i) {
    shift[i] = shift[i - channels];
    tau[i] = tau[i - channels];
  }
}

template <class A>
Parameters<A> Parameters<A>::Repeated(int64_t times) const {
  const int64_t channels = times * channels_;
  std::unique_ptr<A[]> values(new A[4 * channels]);
  const A* const from[] = {gamma(0), epsilon(0), shift(0), tau(0)};
  for (int64_t i = 0; i < 4 * times; ++i) {
    std::copy_n(from[i / times], channels_, &values[i * channels_]);
  }
  return {channels, std::move(values)};
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace frn
