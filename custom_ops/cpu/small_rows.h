// FRN of rows (NHWC) where planes are one element, or samples a few rows.

#ifndef FRN_ONNX_CPU_SMALL_ROWS_H_
#define FRN_ONNX_CPU_SMALL_ROWS_H_

#include "cpu/frn_call.h"

namespace frn {

// Whether they are so small that sums need no place of their own: each vector of columns is summed
// and normalised at once. From the shape of a sample alone: it decides in which order squares are
// added. narrow_columns: of the kernels.
bool AreRowsSmall(const FrnShape& shape, int64_t narrow_columns);

template <class T>
void ComputeSmallRows(const FrnCall<T>& call);

}  // namespace frn

#endif  // FRN_ONNX_CPU_SMALL_ROWS_H_
