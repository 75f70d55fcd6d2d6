// The kernels of blocked tensors, as part of kernel_test.

#ifndef FRN_ONNX_TESTS_BLOCKED_CHECK_H_
#define FRN_ONNX_TESTS_BLOCKED_CHECK_H_

#include "cpu/cpu_target.h"
#include "cpu/executor.h"

namespace frn_test {

// How many cases this target gets wrong, each of which is printed. A read or write outside of the
// tensors ends the program.
int CheckBlocked(const frn::CpuTarget& target, frn::Executor& executor);

}  // namespace frn_test

#endif  // FRN_ONNX_TESTS_BLOCKED_CHECK_H_
