// Which instruction set the CPU kernels run on: chosen when a session is created, among those
// compiled in and supported by this machine.

#ifndef FRN_ONNX_CPU_CPU_TARGET_H_
#define FRN_ONNX_CPU_CPU_TARGET_H_

#include <vector>

#include "cpu/kernels.h"

namespace frn {

struct CpuTarget {
  const char* name;            // "zen4", "avx512", "avx2", "neon", "baseline"
  const KernelTable* kernels;  // nullptr: not compiled in
  bool supported;              // by this machine
};

// Best first.
const std::vector<CpuTarget>& CpuTargets();

// The best target, or the one that the environment variable FRN_ONNX_CPU_TARGET names. Throws
// FrnError if that is unknown, not compiled in, or not supported here.
const CpuTarget& SelectCpuTarget();

}  // namespace frn

#endif  // FRN_ONNX_CPU_CPU_TARGET_H_
