#include "cpu/tiny.h"

#include <algorithm>
#include <vector>

#include "cpu/scales.h"

namespace frn {
namespace {

// How a call is cut: `samples` samples together, or `channels` channels of one. The channels of a
// cut are those of its samples one behind the other.
struct Cut {
  static constexpr int64_t kPad = 8;
  static constexpr int64_t kRoom = kMaxColumns + kPad;  // for the elements, or channels, of one cut

  explicit Cut(const FrnShape& shape) : plane(shape.plane()), rows(shape.inner == 1) {
    samples = std::clamp<int64_t>(kMaxColumns / (plane * shape.channels), 1, shape.batch);
    channels = std::min(shape.channels, kMaxColumns / plane);
  }

  // Sets sums, one per channel, to those of the values of their elements, for `count` samples of
  // `width` channels. Of rows, kPad channels are taken at once: values and sums have kPad more.
  void Reduce(const double* values, int64_t count, int64_t width, double* sums) const {
    if (!rows) {
      std::fill_n(sums, count * width, 0.0);
      for (int64_t i = 0; i < plane; ++i) {
        for (int64_t p = 0; p < count * width; ++p) sums[p] += values[p * plane + i];
      }
      return;
    }
    for (int64_t n = 0; n < count; ++n, values += plane * width, sums += width) {
      for (int64_t c = 0; c < width; c += kPad) {
        double sum[kPad] = {};
        for (int64_t i = 0; i < plane; ++i) {
          for (int64_t k = 0; k < kPad; ++k) sum[k] += values[i * width + c + k];
        }
        std::copy_n(sum, kPad, sums + c);  // those beyond are set anew by the next
      }
    }
  }

  // The other way, with the same room.
  template <class A>
  void Spread(const A* values, int64_t count, int64_t width, A* out) const {
    if (!rows) {
      for (int64_t i = 0; i < plane; ++i) {
        for (int64_t p = 0; p < count * width; ++p) out[p * plane + i] = values[p];
      }
      return;
    }
    for (int64_t n = 0; n < count; ++n, values += width) {
      for (int64_t i = 0; i < plane; ++i, out += width) {
        for (int64_t c = 0; c < width; c += kPad) std::copy_n(values + c, kPad, out + c);
      }
    }
  }

  int64_t plane;  // elements
  bool rows;      // NHWC
  int64_t samples;
  int64_t channels;
};

template <class A>
std::vector<A> Repeated(const A* values, int64_t count, int64_t times) {
  std::vector<A> all(count * times + Cut::kPad);
  for (int64_t t = 0; t < times; ++t) std::copy_n(values, count, &all[t * count]);
  return all;
}

template <class A>
Parameters<A> RepeatedParameters(const Parameters<A>& params, int64_t channels, int64_t times) {
  const std::vector<A> gamma = Repeated(params.gamma(0), channels, times);
  const std::vector<A> epsilon = Repeated(params.epsilon(0), channels, times);
  FrnParams<A> repeated;
  repeated.gamma = gamma.data();
  repeated.epsilon = epsilon.data();
  return {repeated, channels * times, 1};
}

// beta and tau as the elements of a cut want them.
template <class A>
std::vector<A> SpreadParameter(const Cut& cut, const A* values, int64_t channels) {
  const std::vector<A> all = Repeated(values, channels, cut.samples);
  std::vector<A> spread(cut.samples * channels * cut.plane + Cut::kPad);
  cut.Spread(all.data(), cut.samples, channels, spread.data());
  return spread;
}

}  // namespace

template <class T>
bool IsTiny(const FrnCall<T>& call) {
  const FrnShape& shape = call.shape;
  if (shape.plane() == 1) return false;
  const int64_t lanes = call.kernels.narrow_columns / 4;
  const bool small = shape.batch > 1 && shape.plane() * shape.channels <= kTinySample;
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
  const std::vector<A> shift = SpreadParameter(cut, call.params.shift(0), shape.channels);
  const std::vector<A> tau = SpreadParameter(cut, call.params.tau(0), shape.channels);
  const FrnCall<T> all{call.kernels, shape,    call.x,        call.residual,
                       call.y,       repeated, call.executor, call.large};

  const int64_t parts = CeilDiv(shape.channels, cut.channels);
  const int64_t bytes = cut.samples * cut.channels * shape.plane() * sizeof(T);
  call.RunUnits(CeilDiv(shape.batch, cut.samples) * parts, bytes, [&](int64_t unit) {
    const int64_t n = unit / parts * cut.samples, c = unit % parts * cut.channels;
    const int64_t samples = std::min(cut.samples, shape.batch - n);
    const int64_t width = std::min(cut.channels, shape.channels - c);
    const int64_t channels = samples * width, columns = channels * shape.plane();
    const int64_t at = call.Offset(n, 0, c), from = c * shape.plane();
    const T *x = call.x + at, *residual = call.ResidualAt(at);
    T* y = call.y + at;
    double squares[Cut::kRoom], sums[Cut::kRoom], spare[Cut::kRoom];
    A factor[Cut::kRoom], scale[Cut::kRoom], factors[Cut::kRoom], scales[Cut::kRoom];

    std::fill_n(squares, columns + Cut::kPad, 0.0);
    call.kernels.sum_rows(x, 1, columns, columns, squares, call.large);
    cut.Reduce(squares, samples, width, sums);
    const auto sum_again = [&](const A* factor, double* again) {
      cut.Spread(factor, samples, width, factors);
      std::fill_n(squares, columns, 0.0);
      call.kernels.sum_rows_scaled(x, 1, columns, columns, factors, squares);
      cut.Reduce(squares, samples, width, again);
    };
    const bool factored = ScalesOf(all, 0, c, channels, sums, spare, factor, scale, sum_again);
    cut.Spread(scale, samples, width, scales);
    if (!factored) {
      call.kernels.apply_rows(x, residual, y, 1, columns, columns, 0, scales, &shift[from],
                              &tau[from], call.large);
      return;
    }
    cut.Spread(factor, samples, width, factors);
    call.kernels.apply_rows_scaled(x, residual, y, 1, columns, columns, factors, scales,
                                   &shift[from], &tau[from]);
  });
}

#define FRN_INSTANTIATE(T)                 \
  template bool IsTiny(const FrnCall<T>&); \
  template void ComputeTiny(const FrnCall<T>&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
