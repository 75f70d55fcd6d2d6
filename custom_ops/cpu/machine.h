// What is to be known of the machine.

#ifndef FRN_ONNX_CPU_MACHINE_H_
#define FRN_ONNX_CPU_MACHINE_H_

#include <algorithm>
#include <cstdint>
#include <thread>

namespace frn {

// An upper bound for the threads of the pool, which ONNX Runtime does not tell. A constant of the
// machine, not of the call: results have the same bits for every number of threads.
inline int64_t HardwareThreads() {
  static const int64_t threads = std::max<int64_t>(1, std::thread::hardware_concurrency());
  return threads;
}

}  // namespace frn

#endif  // FRN_ONNX_CPU_MACHINE_H_
