#include "cpu/small_rows.h"

#include <algorithm>

namespace frn {
namespace {

// Planes of one element: no sums. Several samples at once.
template <class T>
void Singles(const FrnCall<T>& call) {
  const int64_t columns = call.shape.channels, batch = call.shape.batch;
  const int64_t bytes = columns * static_cast<int64_t>(sizeof(T));
  const int64_t rows = std::max<int64_t>(1, kTaskBytes / bytes);
  call.RunUnits(CeilDiv(batch, rows), rows * bytes, [&](int64_t unit) {
    const int64_t n = unit * rows, at = n * columns;
    call.kernels.apply_single(call.x + at, call.ResidualAt(at), call.y + at,
                              std::min(rows, batch - n), columns, call.params.gamma(n),
                              call.params.shift(n), call.params.tau(n), call.params.epsilon(n));
  });
}

// Planes of a few elements. Several samples at once, as many as stay in L1.
template <class T>
void FewRows(const FrnCall<T>& call) {
  const int64_t rows = call.shape.outer, columns = call.shape.channels, batch = call.shape.batch;
  const int64_t bytes = rows * columns * static_cast<int64_t>(sizeof(T));
  // A tile of narrow samples takes one for each lane.
  const int64_t lanes = call.kernels.lanes();
  const int64_t step = columns < lanes ? lanes : 1;
  const int64_t samples = CeilDiv(std::max<int64_t>(1, kChunkBytes / bytes), step) * step;
  call.RunUnits(CeilDiv(batch, samples), samples * bytes, [&](int64_t unit) {
    const int64_t n = unit * samples, at = n * rows * columns;
    call.kernels.apply_few_rows(call.x + at, call.ResidualAt(at), call.y + at,
                                std::min(samples, batch - n), rows, columns, call.params.gamma(n),
                                call.params.shift(n), call.params.tau(n), call.params.epsilon(n));
  });
}

}  // namespace

bool AreRowsSmall(const FrnShape& shape, int64_t narrow_columns) {
  const int64_t channels = shape.channels;
  const bool narrow = narrow_columns % channels == 0 || channels % narrow_columns == 0;
  const int64_t most =
      narrow ? std::min(kSmallNarrowSample, kSmallNarrowRows * narrow_columns) : kSmallSample;
  return shape.plane() == 1 || (shape.outer <= kFewRows && shape.outer * channels <= most);
}

template <class T>
void ComputeSmallRows(const FrnCall<T>& call) {
  if (call.shape.plane() == 1) {
    Singles(call);
  } else {
    FewRows(call);
  }
}

#define FRN_INSTANTIATE(T) template void ComputeSmallRows(const FrnCall<T>&);
FRN_FOR_EACH_ELEMENT(FRN_INSTANTIATE)
#undef FRN_INSTANTIATE

}  // namespace frn
