// FRN of planes that fill no vector, whatever their layout.

#ifndef FRN_ONNX_CPU_TINY_H_
#define FRN_ONNX_CPU_TINY_H_

#include "cpu/frn_call.h"

namespace frn {

// Where planes or samples are so small that vectors of one plane, or calls for one sample, would be
// what takes the time. From the shape of a sample alone: it decides in which order squares are
// added.
template <class T>
bool IsTiny(const FrnCall<T>& call);

// Takes samples one behind the other, or a part of one, as a single row of up to kMaxColumns
// columns, each with parameters of its own.
template <class T>
void ComputeTiny(const FrnCall<T>& call);

}  // namespace frn

#endif  // FRN_ONNX_CPU_TINY_H_
