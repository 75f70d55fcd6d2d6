#include "cpu/tiny.h"

#include <algorithm>
#include <vector>

#include "cpu/scales.h"

namespace frn {
namespace {

// How a call is cut: `samples` samples together, or `channels` channels of one. The channels of a
// cut are those of its samples one behind the other.
struct Cut {
  explicit Cut(const FrnShape& shape) : plane(shape.plane()), rows(shape.inner == 1) {
    samples = std::clamp<int64_t>(kMaxColumns / (plane * shape.channels), 1, shape.batch);
    channels = std::min(shape.channels, kMaxColumns / plane);
  }

  // visit(channel, element) for each element of `count` samples of `width` channels, those of one
  // channel in the order of memory. The innermost loop is the longest.
  template <class F>
  void ForEach(int64_t count, int64_t width, F&& visit) const {
    if (rows) {
      const int64_t sample = plane * width;
      for (int64_t i = 0; i < sample; i += width) {
        for (int64_t c = 0; c < width; ++c) {
          for (int64_t n = 0; n < count; ++n) visit(n * width + c, n * sample + i + c);
        }
      }
    } else {
      for (int64_t i = 0; i < plane; ++i) {
        for (int64_t p = 0; p < count * width; ++p) visit(p, p * plane + i);
      }
    }
  }

  // Adds to sums, one per channel, the values of their elements.
  void Reduce(const double* values, int64_t count, int64_t width, double* sums) const {
    ForEach(count, width, [&](int64_t channel, int64_t i) { sums[channel] += values[i]; });
  }

  // The other way.
  template <class A>
  void Spread(const A* values, int64_t count, int64_t width, A* out) const {
    ForEach(count, width, [&](int64_t channel, int64_t i) { out[i] = values[channel]; });
  }

  int64_t plane;  // elements
  bool rows;      // NHWC
  int64_t samples;
  int64_t channels;
};

template <class A>
std::vector<A> Repeated(const A* values, int64_t count, int64_t times) {
  std::vector<A> all(count * times);
  for (int64_t t = 0; t < times; ++t) std::copy_n(values, count, &all[t * count]);
  return all;
}

template <class A>
Parameters<A> RepeatedParameters(const Parameters<A>& params, int64_t channels, int64_t times) {
  const std::vector<A> gamma = Repeated(params.gamma(), channels, times);
  const std::vector<A> epsilon = Repeated(params.epsilon(), channels, times);
  FrnParams<A> repeated;
  repeated.gamma = gamma.data();
  repeated.epsilon = epsilon.data();
  return {repeated, channels * times, 1};
}

// beta and tau as the elements of a cut want them.
template <class A>
std::vector<A> SpreadParameter(const Cut& cut, const A* values, int64_t channels) {
  const std::vector<A> all = Repeated(values, channels, cut.samples);
  std::vector<A> spread(all.size() * cut.plane);
  cut.Spread(all.data(), cut.samples, channels, spread.data());
  return spread;
}

}  // namespace

template <class T>
bool IsTiny(const FrnCall<T>& call) {
  const FrnShape& shape = call.shape;
  if (shape.plane() == 1) return false;
  const int64_t lanes = call.kernels.narrow_columns / 4;
  const bool small = shape.plane() * shape.channels <= kTinySample;
  if (shape.inner == 1) return small && shape.channels % lanes != 0;
  // Parts of vectors of two-byte elements are slow, whatever the size of a sample.
  return shape.outer == 1 && shape.inner < lanes && (small || sizeof(T) == 2);
}

template <class T>
void ComputeTiny(const FrnCall<T>& call) {
  using A = ComputeType<T>;
  const FrnShape& shape = call.shape;
  const Cut cut(shape);
  const Parameters<A> repeated = RepeatedParameters(call.params, shape.channels, cut.samples);
  const std::vector<A> shift = SpreadParameter(cut, call.params.shift(), shape.channels);
  const std::vector<A> tau = SpreadParameter(cut, call.params.tau(), shape.channels);
  const FrnCall<T> all{call.kernels, shape, call.x, call.y, repeated, call.executor, call.large};

  const int64_t parts = CeilDiv(shape.channels, cut.channels);
  const int64_t bytes = cut.samples * cut.channels * shape.plane() * sizeof(T);
  call.RunUnits(CeilDiv(shape.batch, cut.samples) * parts, bytes, [&](int64_t unit) {
    const int64_t n = unit / parts * cut.samples, c = unit % parts * cut.channels;
    const int64_t samples = std::min(cut.samples, shape.batch - n);
    const int64_t width = std::min(cut.channels, shape.channels - c);
    const int64_t channels = samples * width, columns = channels * shape.plane();
    const int64_t at = call.Offset(n, 0, c), from = c * shape.plane();
    double squares[kMaxColumns], sums[kMaxColumns], spare[kMaxColumns];
    A factor[kMaxColumns], scale[kMaxColumns], factors[kMaxColumns], scales[kMaxColumns];

    std::fill_n(squares, columns, 0.0);
    call.kernels.sum_rows(call.x + at, 1, columns, columns, squares, call.large);
    std::fill_n(sums, channels, 0.0);
    cut.Reduce(squares, samples, width, sums);
    const auto sum_again = [&](const A* factor, double* again) {
      cut.Spread(factor, samples, width, factors);
      std::fill_n(squares, columns, 0.0);
      call.kernels.sum_rows_scaled(call.x + at, 1, columns, columns, factors, squares);
      std::fill_n(again, channels, 0.0);
      cut.Reduce(squares, samples, width, again);
    };
    const bool factored = ScalesOf(all, c, channels, sums, spare, factor, scale, sum_again);
    cut.Spread(scale, samples, width, scales);
    if (!factored) {
      call.kernels.apply_rows(call.x + at, call.y + at, 1, columns, columns, 0, scales,
                              &shift[from], &tau[from], call.large);
      return;
    }
    cut.Spread(factor, samples, width, factors);
    call.kernels.apply_rows_scaled(call.x + at, call.y + at, 1, columns, columns, factors, scales,
                                   &shift[from], &tau[from]);
  });
}

#define FRN_INSTANTIATE(T)                 \
  template bool IsTiny(const FrnCall<T>&); \
  template void ComputeTiny(const FrnCall<T>&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
