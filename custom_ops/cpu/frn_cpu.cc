#include "cpu/frn_cpu.h"

#include <algorithm>
#include <numeric>

#include "cpu/frn_call.h"
#include "cpu/planes.h"
#include "cpu/rows.h"
#include "cpu/small_rows.h"

namespace frn {
namespace {

// Where there is one channel, every layout is one plane per sample.
FrnShape Canonical(FrnShape shape) {
  if (shape.channels == 1) {
    shape.inner *= shape.outer;
    shape.outer = 1;
  }
  return shape;
}

// Where a sample is a few small planes one behind the other, several of them are as one of more
// channels: how many, 1 where there is nothing to gain. No matter for the bits.
template <class T>
int64_t MergedSamples(const FrnCall<T>& call) {
  const FrnShape& shape = call.shape;
  const bool small = shape.outer == 1 && shape.channels * 2 <= kMerged && shape.inner <= kMerged;
  if (!small) return 1;
  const int64_t lanes = call.kernels.lanes();
  const int64_t step = lanes / std::gcd(lanes, shape.channels);  // so many fill vectors
  const int64_t most = std::min(shape.batch, kMerged / shape.channels);
  return most >= step ? most / step * step : most;
}

template <class T>
void Compute(const FrnCall<T>& call) {
  if (call.shape.inner > 1) {
    ComputePlanes(call);
  } else if (AreRowsSmall(call.shape, call.kernels.narrow_columns)) {
    ComputeSmallRows(call);
  } else {
    ComputeRows(call);
  }
}

template <class T>
void ComputeMerged(const FrnCall<T>& call, int64_t samples) {
  const FrnShape& shape = call.shape;
  const Parameters<ComputeType<T>> params = call.params.Repeated(samples);
  const int64_t rest = shape.batch % samples,
                at = (shape.batch - rest) * shape.channels * shape.inner;
  const auto compute = [&](int64_t batch, int64_t merged, int64_t from) {
    const FrnShape part = {batch, 1, merged * shape.channels, shape.inner};
    const T* residual = call.ResidualAt(from);
    Compute(FrnCall<T>{call.kernels, part, call.x + from, residual, call.y + from, params,
                       call.executor, call.large});
  };
  compute(shape.batch / samples, samples, 0);
  if (rest > 0) compute(1, rest, at);
}

}  // namespace

template <class T>
Parameters<ComputeType<T>> PrepareParameters(const Kernels<T>& kernels,
                                             const FrnParams<ComputeType<T>>& params,
                                             int64_t channels) {
  return {params, channels, MostPixelsPerRow(kernels.narrow_columns, channels)};
}

template <class T>
void ComputeFrn(const Kernels<T>& kernels, const FrnShape& given, const T* x, const T* residual,
                T* y, const Parameters<ComputeType<T>>& params, Executor& executor) {
  if (given.elements() == 0) return;
  const FrnShape shape = Canonical(given);
  const bool large = IsLarge(shape, y);
  const FrnCall<T> call{kernels, shape, x, residual, y, params, executor, large};
  const int64_t merged = MergedSamples(call);
  if (merged > 1) {
    ComputeMerged(call, merged);
  } else {
    Compute(call);
  }
}

#define FRN_INSTANTIATE(T)                                                             \
  template Parameters<ComputeType<T>> PrepareParameters(                               \
      const Kernels<T>&, const FrnParams<ComputeType<T>>&, int64_t);                   \
  template void ComputeFrn(const Kernels<T>&, const FrnShape&, const T*, const T*, T*, \
                           const Parameters<ComputeType<T>>&, Executor&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
