#include "cpu/frn_cpu.h"

#include "cpu/frn_call.h"
#include "cpu/planes.h"
#include "cpu/rows.h"

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
void ComputeFrn(const Kernels<T>& kernels, const FrnShape& given, const T* x, T* y,
                const FrnParams<ComputeType<T>>& given_params, Executor& executor) {
  if (given.elements() == 0) return;
  const FrnShape shape = Canonical(given);
  const bool rows = shape.inner == 1;
  const Parameters<ComputeType<T>> params(
      given_params, shape.channels,
      rows ? PixelsPerRow(kernels.narrow_columns, shape.channels, shape.outer) : 1);
  const bool large = shape.elements() * static_cast<int64_t>(sizeof(T)) >= kLargeBytes;
  const FrnCall<T> call{kernels, shape, x, y, params, executor, large};
  if (rows) {
    ComputeRows(call);
  } else {
    ComputePlanes(call);
  }
}

#define FRN_INSTANTIATE(T)                                                   \
  template void ComputeFrn(const Kernels<T>&, const FrnShape&, const T*, T*, \
                           const FrnParams<ComputeType<T>>&, Executor&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
