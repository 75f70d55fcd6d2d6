// FRN of planes: a channel's elements are adjacent, or in segments of more than one (inner > 1).

#ifndef FRN_ONNX_CPU_PLANES_H_
#define FRN_ONNX_CPU_PLANES_H_

#include "cpu/frn_call.h"

namespace frn {

template <class T>
void ComputePlanes(const FrnCall<T>& call);

}  // namespace frn

#endif  // FRN_ONNX_CPU_PLANES_H_
