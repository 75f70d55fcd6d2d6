// FRN of rows: the channels of a pixel are adjacent (inner == 1).

#ifndef FRN_ONNX_CPU_ROWS_H_
#define FRN_ONNX_CPU_ROWS_H_

#include <cstdint>

#include "cpu/frn_call.h"

namespace frn {

// How many pixels at most make one row: if possible so many that its columns fill whole vectors.
// narrow_columns: of the kernels. The call's parameters must be repeated so often.
int64_t MostPixelsPerRow(int64_t narrow_columns, int64_t channels);

template <class T>
void ComputeRows(const FrnCall<T>& call);

}  // namespace frn

#endif  // FRN_ONNX_CPU_ROWS_H_
