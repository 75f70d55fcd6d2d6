#include "cpu/frn_cpu.h"

#include "cpu/frn_call.h"
#include "cpu/planes.h"
#include "cpu/rows.h"
#include "cpu/tiny.h"

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
  if (IsTiny(call)) {
    ComputeTiny(call);
  } else if (shape.inner == 1) {
    ComputeRows(call);
  } else {
    ComputePlanes(call);
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
